"""Publishing a full study and asking it: 1,255 exams, scored for three predictors.

Change a budget only with its reason. Cohort and scores are synthetic; only their number and their files are real.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from types import MappingProxyType
from typing import Final

import duckdb

from benchmarks.catalog import Size
from benchmarks.full_home import store, write_full_home
from benchmarks.ingest import RELEASE
from benchmarks.results import Column, Results, Row, cost_table
from benchmarks.results import Table as ResultTable
from benchmarks.runner import Cost, measure
from cspine_assets.defs.resources import Study
from cspine_assets.defs.warehouse import PUBLISHED, TablesOf
from cspine_assets.domain.home import Home
from cspine_assets.domain.tables.base import Table
from cspine_assets.domain.tables.cohort import Exams
from cspine_assets.domain.tables.evaluation import ExamMetrics, LevelMetrics, Morphometry
from cspine_assets.domain.warehouse.publish import publish_database

PUBLISHING_S = 3.0
QUERY_MS = 50


@dataclass(frozen=True)
class Work:
    """How much is done.

    Attributes:
        patients: Of the study; the release has 1,232.
        epochs: Of each of the ten trainings.
        repeats: Of each query.
    """

    patients: int
    epochs: int
    repeats: int


WORK: Final[Mapping[Size, Work]] = MappingProxyType(
    {
        Size.SMALLEST: Work(patients=20, epochs=5, repeats=1),
        Size.USUAL: Work(patients=RELEASE.patients, epochs=1000, repeats=9),
        Size.LARGE: Work(patients=3 * RELEASE.patients, epochs=1000, repeats=9),
    }
)

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


def ask_cold(database: Path, statement: str, *, repeats: int) -> float:
    """Returns milliseconds from opening the database to the answer, in a process of its own each time: the median."""
    taken = []
    for _ in range(repeats):
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


def publishing(home: Home, *, apart: bool) -> list[Cost]:
    """Returns what publishing costs, from the worst case to the usual one."""
    root = home.root
    cost_of = partial(measure, apart=apart)
    costs = [cost_of("publish, every patient's file opened", publish_unread, root, budget_s=PUBLISHING_S)]
    shutil.rmtree(home.lake.root / ".gathered", ignore_errors=True)  # a small study has none
    read_all(root, unread=[Morphometry])
    costs.append(cost_of("publish first, after checks and summaries", publish, root, budget_s=PUBLISHING_S))
    costs.append(cost_of("publish again", publish, root, budget_s=PUBLISHING_S))
    score_again(home, 100)
    costs.append(cost_of("publish, 100 patients scored anew", publish, root, budget_s=PUBLISHING_S))
    costs.append(cost_of("read all tables into pandas", read_all, root))
    return costs


def contents(home: Home) -> str:
    """Return in a sentence how much there is of what takes the time."""
    rows = {table.full_name(): home.lake.read_arrow(table).num_rows for table in PUBLISHED}
    files = sum(1 for _ in home.lake.root.glob("[!.]*/*/*.parquet"))
    largest = sorted(rows, key=lambda name: -rows[name])[:4]
    most = ", ".join(f"{name} {rows[name]:,}" for name in largest)
    size_mb = home.database.stat().st_size / 1e6
    return f"{files:,} files, {len(rows)} tables, {sum(rows.values()):,} rows ({most}); database {size_mb:.0f} MB."


def asking(home: Home, repeats: int) -> ResultTable:
    """Query the published database, and the files."""
    questions = {
        "subgroups by manufacturer and sex": SUBGROUPS.format(metrics="evaluation.exam_metrics", exams="cohort.exams"),
        "dice_by_group": "from dice_by_group",
        "worst_exams, ten": "from worst_exams where rank_from_worst <= 10",
        "level_profile": "from level_profile",
        "model_deltas": "from model_deltas",
        "cohort_flow": "from cohort_flow",
    }
    taken_ms = {name: ask_cold(home.database, asked, repeats=repeats) for name, asked in questions.items()}
    rows = [Row(name, (ms, None)) for name, ms in taken_ms.items()]
    subgroups_ms = taken_ms["subgroups by manufacturer and sex"]
    rows[0] = Row(rows[0].what, (subgroups_ms, QUERY_MS), subgroups_ms <= QUERY_MS)
    rows.append(Row("the same subgroups over the files of the patients", (ask_files(home), None)))
    return ResultTable("Queries on a connection just opened", (Column("wall ms", 1), Column("budget, ms", 0)), rows)


def run(size: Size, folder: Path) -> Results:
    """Write a study's tables, publish them, and query them."""
    work = WORK[size]
    home = write_full_home(folder, replace(RELEASE, patients=work.patients), epochs=work.epochs)
    costs = cost_table(
        f"Publishing a study of {work.patients:,} patients", publishing(home, apart=size is not Size.SMALLEST)
    )
    return Results((costs, asking(home, work.repeats)), (contents(home),))
