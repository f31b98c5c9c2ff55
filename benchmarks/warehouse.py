"""Publishing a full study and asking it: 1,255 exams, scored for three predictors.

Change a budget only with its reason. Cohort and scores are synthetic; only their number and their files are real.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.ingest import RELEASE, examine_all, ingest, split
from benchmarks.runner import Cost, measure, print_costs
from cspine_assets.defs.warehouse import PUBLISHED, READERS
from cspine_assets.domain.anatomy import DISC_LEVELS, VERTEBRAE
from cspine_assets.domain.home import Home
from cspine_assets.domain.phantom.cohort import write_cohort
from cspine_assets.domain.tables.base import Table, arrow_schema, column_names
from cspine_assets.domain.tables.cohort import Exams
from cspine_assets.domain.tables.evaluation import STRUCTURES, ExamMetrics, LevelMetrics
from cspine_assets.domain.tables.imaging import Masks, Volumes
from cspine_assets.domain.tables.prediction import PREDICTORS, ExamPredictions
from cspine_assets.domain.warehouse.publish import publish_database

PUBLISHING_S = 3.0
QUERY_MS = 50.0
REPEATS = 9

SUBGROUPS = """
select manufacturer, sex, predictor, structure, count(*) as exams,
       avg(dice_volumetric) as mean_dice, median(dice_volumetric) as median_dice
from {metrics} join {exams} using (exam_id)
group by all order by all
"""

DISC, BODY = "intervertebral_disc", "vertebral_body"
LEVELS = [
    *(
        {"structure": structure, "level": level, "view": view, "protocol": "anatomical"}
        for structure, levels in ((DISC, DISC_LEVELS), (BODY, VERTEBRAE))
        for level in levels
        for view in ("mid_sagittal", "3d")
    ),
    *({"structure": DISC, "level": level, "view": "mid_sagittal", "protocol": "paper"} for level in DISC_LEVELS),
]
"""What an exam has for each predictor."""

ASK = """
import sys, time
from pathlib import Path
from cspine_assets.domain.warehouse.read import ask, connect_read_only
start = time.perf_counter()
with connect_read_only(Path(sys.argv[1])) as connection:
    rows = ask(connection, sys.argv[2]).num_rows
print(time.perf_counter() - start, rows)
"""


def write_scores(home: Home) -> None:
    """Writes one file per patient for every table that is cut by patient, as the study leaves them."""
    exams = home.lake.read(Exams)
    random = np.random.default_rng(1)
    for patient, rows in exams.groupby("patient_id"):
        ids = rows["exam_id"].tolist()
        for table in (Volumes, Masks, ExamPredictions, ExamMetrics, LevelMetrics):
            _write(home, table, str(patient), _keys(table, ids), random)


def _keys(table: type[Table], exam_ids: list[str]) -> list[dict[str, str]]:
    """Returns the key of every row that a patient has in a table."""
    exams = [{"exam_id": exam} for exam in exam_ids]
    if table in (Volumes, Masks):
        return exams
    scored = [{**exam, "predictor": predictor, "set": "test"} for exam in exams for predictor in PREDICTORS]
    if table is ExamMetrics:
        return [{**row, "structure": structure} for row in scored for structure in STRUCTURES]
    return [{**row, **level} for row in scored for level in LEVELS] if table is LevelMetrics else scored


def _write(
    home: Home, table: type[Table], patient: str, keys: list[dict[str, str]], random: np.random.Generator
) -> None:
    """Writes rows as fast as Arrow can; what the lake adds (checks, stamp) is not what is measured here."""
    schema = arrow_schema(table)
    frame = pd.DataFrame(keys).assign(patient_id=patient)
    usual = {"string": "ok", "int64": 1, "bool": False}
    for field in schema:
        if field.name not in frame:
            kind = str(field.type)
            frame[field.name] = random.uniform(0.7, 0.99, len(frame)) if kind == "double" else usual[kind]
    path = home.lake.path(table, patient)
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = pa.Table.from_pandas(frame[column_names(table)], schema=schema, preserve_index=False)
    pq.write_table(rows.replace_schema_metadata(schema.metadata), path)


def publish(root: Path) -> None:
    """Reads every table of the lake and publishes them."""
    home = Home(root)
    with ThreadPoolExecutor(READERS) as readers:
        frames = dict(zip(PUBLISHED, readers.map(home.lake.read, PUBLISHED), strict=True))
    start = time.perf_counter()
    publish_database(frames, home.database, keep=1)
    print(f"of it building, checking and renaming: {time.perf_counter() - start:.2f} s")


def ask_cold(database: Path, statement: str) -> float:
    """Returns milliseconds from opening the database to the answer, in a process of its own each time: the median."""
    taken = []
    for _ in range(REPEATS):
        command = [sys.executable, "-c", ASK, str(database), statement]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        if int(said[1]) == 0:
            raise RuntimeError(f"no rows for: {statement}")
        taken.append(float(said[0]) * 1000)
    return median(taken)


def ask_files(home: Home) -> float:
    """Returns milliseconds of the same question over the lake's own files."""
    places = {
        "metrics": f"read_parquet('{home.lake.folder(ExamMetrics)}/*.parquet')",
        "exams": f"read_parquet('{home.lake.path(Exams)}')",
    }
    taken = []
    for _ in range(3):
        start = time.perf_counter()
        with duckdb.connect() as connection:
            connection.sql(SUBGROUPS.format(**places)).to_arrow_table()
        taken.append((time.perf_counter() - start) * 1000)
    return median(taken)


def main() -> None:
    """Writes a study's tables, publishes them, and asks."""
    with tempfile.TemporaryDirectory(prefix="cspine-bench-") as folder:
        root = Path(folder)
        download = write_cohort(root / "download", RELEASE).destination
        home = Home(root / "home")
        ingest(download, home.root)
        examine_all(download, home.root)
        split(download, home.root)
        write_scores(home)
        costs: list[Cost] = [
            measure("read the lake and publish 1,255 exams x 3 predictors", publish, home.root, budget_s=PUBLISHING_S),
            measure("  the same again, over a standing database", publish, home.root, budget_s=PUBLISHING_S),
        ]
        print_costs(costs)
        rows = {table.full_name(): len(home.lake.read(table)) for table in (Exams, ExamMetrics, LevelMetrics)}
        print(", ".join(f"{name}: {count:,} rows" for name, count in rows.items()), end="; ")
        print(f"database: {home.database.stat().st_size / 1e6:.0f} MB")

        published = SUBGROUPS.format(metrics="evaluation.exam_metrics", exams="cohort.exams")
        asked = {
            "subgroups by manufacturer and sex": ask_cold(home.database, published),
            "dice_by_group": ask_cold(home.database, "from dice_by_group"),
            "worst_exams, ten": ask_cold(home.database, "from worst_exams where rank_from_worst <= 10"),
            "level_profile": ask_cold(home.database, "from level_profile"),
            "model_deltas": ask_cold(home.database, "from model_deltas"),
            "cohort_flow": ask_cold(home.database, "from cohort_flow"),
        }
        print(f"\n{'asked from a cold connection':<40}{'ms':>8}{'of':>6}")
        for name, taken in asked.items():
            budget = QUERY_MS if name.startswith("subgroups") else None
            print(f"{name:<40}{taken:>8.1f}{budget or 0:>6.0f}{'  OVER' if budget and taken > budget else ''}")
        files = ask_files(home)
        ratio = files / asked["subgroups by manufacturer and sex"]
        print(f"{'the same subgroups over 1,232 files':<40}{files:>8.1f}   ({ratio:.0f} times the published table)")


if __name__ == "__main__":
    main()
