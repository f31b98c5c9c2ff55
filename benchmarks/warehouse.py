"""Publishing a full study and asking it: 1,255 exams, scored for three predictors.

Change a budget only with its reason. Cohort and scores are synthetic; only their number and their files are real.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection
from pathlib import Path
from statistics import median

import duckdb

from benchmarks.full_home import store, write_full_home
from benchmarks.ingest import RELEASE
from benchmarks.runner import Cost, measure, print_costs
from cspine_assets.defs.resources import Study
from cspine_assets.defs.warehouse import PUBLISHED, TablesOf
from cspine_assets.domain.home import Home
from cspine_assets.domain.tables.base import Table
from cspine_assets.domain.tables.cohort import Exams
from cspine_assets.domain.tables.evaluation import ExamMetrics, LevelMetrics, Morphometry
from cspine_assets.domain.warehouse.publish import publish_database

PUBLISHING_S = 3.0
QUERY_MS = 50
REPEATS = 9

SUBGROUPS = """
select manufacturer, sex, predictor, structure, count(*) as exams,
       avg(dice_volumetric) as mean_dice, median(dice_volumetric) as median_dice
from {metrics} join {exams} using (exam_id)
group by all order by all
"""

ASK = """
import sys, time
from pathlib import Path
from cspine_assets.domain.warehouse.read import ask, connect_read_only
start = time.perf_counter()
with connect_read_only(Path(sys.argv[1])) as connection:
    rows = ask(connection, sys.argv[2]).num_rows
print(time.perf_counter() - start, rows)
"""


def publish(root: Path) -> None:
    """Publishes every table of a lake, as the asset does."""
    publish_database(TablesOf(Study(Home(root))), Home(root).database, keep=1)


def publish_unread(root: Path) -> None:
    """Publishes a lake that nobody has read from yet, so that every file of every patient is opened."""
    shutil.rmtree(Home(root).lake.root / ".gathered", ignore_errors=True)
    publish(root)


def read_all(root: Path, unread: Collection[type[Table]] = ()) -> None:
    """Reads every table into pandas, as checks and summaries do; of a study's, no asset reads morphometry whole."""
    for table in PUBLISHED:
        if table not in unread:
            Study(Home(root)).read(table)


def score_again(home: Home, patients: int) -> None:
    """Writes the scores of some patients anew, as a re-evaluation does."""
    for table in (ExamMetrics, LevelMetrics, Morphometry):
        for patient in home.lake.partitions(table)[:patients]:
            store(home.lake, table, home.lake.read(table, [patient]), patient)


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


def publishing(home: Home) -> list[Cost]:
    """Returns what publishing costs, from the worst case to the usual one."""
    root = home.root
    costs = [measure("publish, every patient's file opened", publish_unread, root, budget_s=PUBLISHING_S)]
    shutil.rmtree(home.lake.root / ".gathered")
    read_all(root, unread=[Morphometry])
    costs.append(measure("publish first, after checks and summaries", publish, root, budget_s=PUBLISHING_S))
    costs.append(measure("publish again", publish, root, budget_s=PUBLISHING_S))
    score_again(home, 100)
    costs.append(measure("publish, 100 patients scored anew", publish, root, budget_s=PUBLISHING_S))
    costs.append(measure("read all tables into pandas", read_all, root))
    return costs


def count_rows(home: Home) -> None:
    """Prints how much there is of what takes the time."""
    rows = {table.full_name(): home.lake.read_arrow(table).num_rows for table in PUBLISHED}
    files = sum(1 for _ in home.lake.root.glob("[!.]*/*/*.parquet"))
    largest = sorted(rows, key=lambda name: -rows[name])[:4]
    said = ", ".join(f"{name} {rows[name]:,}" for name in largest)
    size = home.database.stat().st_size / 1e6
    print(f"{files:,} files, {len(rows)} tables, {sum(rows.values()):,} rows ({said}); database {size:.0f} MB")


def asking(home: Home) -> None:
    """Asks the published database, and the files, and prints how long it took."""
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
        over = "  OVER" if budget and taken > budget else ""
        print(f"{name:<40}{taken:>8.1f}{budget or '':>6}{over}")
    files = ask_files(home)
    ratio = files / asked["subgroups by manufacturer and sex"]
    print(f"{'the same subgroups over 1,232 files':<40}{files:>8.1f}   ({ratio:.0f} times the published table)")


def main() -> None:
    """Writes a study's tables, publishes them, and asks."""
    with tempfile.TemporaryDirectory(prefix="cspine-bench-") as folder:
        home = write_full_home(Path(folder), RELEASE)
        print_costs(publishing(home))
        count_rows(home)
        asking(home)


if __name__ == "__main__":
    main()
