"""What a range run of patients costs beside the work itself: volumes and masks of small matrices, all on disk.

Change a budget only with its reason. The work is what worker processes are asked for, all exams handed to them at once:
conversion with every check, or the look at a mask with its picture. All the rest counts as orchestration, also what has
to be done without Dagster: looking through the download, what is stale, fingerprints, rows, Parquet, metadata, events.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Final

import dagster as dg

from benchmarks.catalog import Size
from benchmarks.results import Column, Results, Row
from benchmarks.results import Table as ResultTable
from benchmarks.runner import Processor, cores, end_worker_server, in_a_process
from cspine_assets.defs.driver import carry_out, materialize
from cspine_assets.defs.exam_files import exams_of, mask_file, series_request
from cspine_assets.defs.instance import open_instance
from cspine_assets.defs.io import asset_key
from cspine_assets.defs.resources import Study
from cspine_assets.defs.stages import Order, loaded_definitions
from cspine_assets.domain.home import Home, HomeSettings
from cspine_assets.domain.imaging.batch import each_converted
from cspine_assets.domain.imaging.conversion import ConversionTask
from cspine_assets.domain.imaging.mask_batch import MaskTask, each_checked
from cspine_assets.domain.imaging.outcome import Failed
from cspine_assets.domain.imaging.sources import volume_path
from cspine_assets.domain.phantom.cohort import PROVENANCE_FILE, write_cohort
from cspine_assets.domain.phantom.settings import CohortSettings
from cspine_assets.domain.report.thumbnail import mid_sagittal_png
from cspine_assets.domain.tables.base import Table
from cspine_assets.domain.tables.imaging import Masks, Volumes

PATIENTS: Final[Mapping[Size, tuple[int, ...]]] = MappingProxyType(
    {Size.SMALLEST: (10,), Size.USUAL: (100, 300), Size.LARGE: (300, 1232)}
)
"""Cohorts of two sizes: a term that grows with the square of the patients would show. The release has 1,232."""

BUDGET_MS = 40.0
"""A patient may cost so much beside the work, in wall time and in processor time."""

TWO_EXAMS = 23 / 1232
"""Share of patients with two exams in the release."""


@dataclass(frozen=True)
class Cost:
    """What was spent, in seconds.

    Attributes:
        wall_s: Wall time.
        main_s: Processor time of the process that called.
        workers_s: Processor time of all its children.
    """

    wall_s: float
    main_s: float
    workers_s: float

    @property
    def processor_s(self) -> float:
        """Processor time of all."""
        return self.main_s + self.workers_s


def write_study(root: Path, patients: int) -> None:
    """Writes a download of small matrices and a home in which all is made that images come after."""
    write_cohort(
        root / "download",
        CohortSettings(patients=patients, seed=1, matrix=32, slices_min=5, slices_max=5, two_exam_fraction=TWO_EXAMS),
    )
    home = _home(root)
    home.open(HomeSettings("demo", str(root / "download"), str(root / "download" / PROVENANCE_FILE)))
    with open_instance(home) as instance:
        materialize(home, instance=instance, schemas=("midrc", "cohort"))


def orchestrated(root: Path, table: type[Table]) -> Cost:
    """Makes a table of all patients as ``cspine materialize`` does: one range run, all recorded on disk.

    Raises:
        RuntimeError: There was not one run, or a patient was not recorded with metadata of its own.
    """
    home, key = _home(root), asset_key(table)
    with open_instance(home) as instance:
        runs = instance.get_runs_count()
        with _measured() as spent:
            reports = carry_out(Order(tables=frozenset({table})), home, instance=instance)
        if instance.get_runs_count() != runs + 1 or any(report.failures for report in reports):
            raise RuntimeError(f"expected one range run of {table.full_name()} in which all goes well, got {reports}")
        _expect_all_recorded(instance, key)
    return spent[0]


def _expect_all_recorded(instance: dg.DagsterInstance, key: dg.AssetKey) -> None:
    keys = set(instance.get_dynamic_partitions("patient"))
    records = instance.fetch_materializations(key, limit=2 * len(keys)).records
    events = [record.asset_materialization for record in records]
    own = [
        event
        for event in events
        if event is not None and str(event.partition) in str(event.metadata[key.path[-1]].value)
    ]
    if len(events) != len(keys) or {event.partition for event in own} != keys:
        raise RuntimeError(f"expected {len(keys)} materializations of {key.path}, each with metadata of its own")


def looked_through(root: Path, table: type[Table]) -> Cost:
    """Finds that all patients of a table are up to date, and makes nothing."""
    home = _home(root)
    with open_instance(home) as instance:
        with _measured() as spent:
            reports = carry_out(Order(tables=frozenset({table})), home, instance=instance)
        if reports:
            raise RuntimeError(f"expected nothing to do of {table.full_name()}, got {reports}")
    return spent[0]


def bare(root: Path, table: type[Table]) -> Cost:
    """Does the work of a table alone, over all exams, with as many worker processes as the range run has.

    What it makes goes beside the home and is forgotten.
    """
    study, aside = Study(_home(root)), root / "aside"
    work = {Volumes: _convert, Masks: _check_masks}[table](study, aside)
    with _measured() as spent:
        made = work()
    shutil.rmtree(aside)
    if made != sum(len(exams_of(study, patient)) for patient in study.patient_ids):
        raise RuntimeError(f"expected an outcome for each exam, got {made}")
    return spent[0]


def _convert(study: Study, aside: Path) -> Callable[[], int]:
    tasks = []
    for patient in sorted(study.patient_ids):
        for exam in exams_of(study, patient):
            request = series_request(study, exam, aside)
            if isinstance(request, Failed):
                raise RuntimeError(request.reason)
            tasks.append(ConversionTask(request, volume_path(aside, request)))
    return lambda: sum(1 for _ in each_converted(tasks, aside / "scratch", workers=cores()))


def _check_masks(study: Study, aside: Path) -> Callable[[], int]:
    places = study.usable_volumes().set_index("exam_id")["path"]
    tasks = []
    for patient in sorted(study.patient_ids):
        for exam in exams_of(study, patient):
            shipped, made = mask_file(study, exam), aside / f"{exam.exam_id}_SEG.nii.gz"
            mask = shipped.materialize(aside) if shipped else None
            tasks.append(MaskTask(exam.exam_id, patient, mask, study.home.absolute(places[exam.exam_id]), made))
    return lambda: sum(1 for _ in each_checked(tasks, draw=mid_sagittal_png, workers=cores()))


def _home(root: Path) -> Home:
    return Home(root / "home")


@contextmanager
def _measured() -> Iterator[list[Cost]]:
    """Gives a list that holds the cost of what was done meanwhile, the worker processes' end included."""
    spent: list[Cost] = []
    start, before = time.perf_counter(), Processor.now()
    yield spent
    wall_s = time.perf_counter() - start
    own_s = Processor.now().since(before).own_s
    end_worker_server()
    spent.append(Cost(wall_s, own_s, Processor.now().since(before).children_s))


def prepared(work: Callable[[Path, type[Table]], Cost], root: Path, table: type[Table]) -> Cost:
    """Runs a function of this module once Dagster and the definitions are loaded."""
    loaded_definitions().resolve_implicit_global_asset_job_def()
    return work(root, table)


def run(size: Size, folder: Path) -> Results:
    """Make a cohort of each size and return what a patient costs, with the work and beside it."""
    # each way starts without what another one remembers; in the smallest size that is not worth seven seconds a process
    apart = prepared if size is Size.SMALLEST else partial(in_a_process, prepared)
    rows = []
    for patients in PATIENTS[size]:
        root = folder / str(patients)
        write_study(root, patients)
        for table in (Volumes, Masks):
            costs = [apart(work, root, table) for work in (orchestrated, looked_through, bare)]
            rows += _rows(f"{table.full_name()}, {patients} patients", patients, *costs)
    columns = [Column(name, 1) for name in ("wall ms", "CPU ms", "of it main", "of it workers")]
    title = f"For each patient, with {cores()} workers"
    return Results((ResultTable(title, (*columns, Column("budget, ms", 0)), rows),))


def _rows(name: str, patients: int, whole: Cost, again: Cost, work: Cost) -> list[Row]:
    over_ms = [
        (one - other) / patients * 1e3
        for one, other in ((whole.wall_s, work.wall_s), (whole.processor_s, work.processor_s))
    ]
    return [
        _row(f"{name}: range run", patients, whole),
        _row(f"{name}: the work alone", patients, work),
        _row(f"{name}: all up to date", patients, again),
        Row(f"{name}: orchestration", (*over_ms, None, None, BUDGET_MS), max(over_ms) <= BUDGET_MS),
    ]


def _row(name: str, patients: int, cost: Cost) -> Row:
    spent_s = (cost.wall_s, cost.processor_s, cost.main_s, cost.workers_s)
    return Row(name, (*(seconds / patients * 1e3 for seconds in spent_s), None))
