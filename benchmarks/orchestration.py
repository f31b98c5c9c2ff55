"""What a range run of patients costs beside the work itself: volumes and masks of small matrices, all on disk.

Change a budget only with its reason. The work is what worker processes are asked for, all exams handed to them at once:
conversion with every check, or the look at a mask with its picture. All the rest counts as orchestration, also what has
to be done without Dagster: looking through the download, what is stale, fingerprints, rows, Parquet, metadata, events.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.forkserver
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import dagster as dg

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

PATIENTS = (100, 300)
"""Two cohorts: a term that grows with the square of the patients would show. The release has 1,232, which a person may
ask for: ``python -m benchmarks orchestration 300 1232``."""

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
    return lambda: sum(1 for _ in each_converted(tasks, aside / "scratch", workers=_cores()))


def _check_masks(study: Study, aside: Path) -> Callable[[], int]:
    places = study.usable_volumes().set_index("exam_id")["path"]
    tasks = []
    for patient in sorted(study.patient_ids):
        for exam in exams_of(study, patient):
            shipped, made = mask_file(study, exam), aside / f"{exam.exam_id}_SEG.nii.gz"
            mask = shipped.materialize(aside) if shipped else None
            tasks.append(MaskTask(exam.exam_id, patient, mask, study.home.absolute(places[exam.exam_id]), made))
    return lambda: sum(1 for _ in each_checked(tasks, draw=mid_sagittal_png, workers=_cores()))


def _home(root: Path) -> Home:
    return Home(root / "home")


def _cores() -> int:
    return len(os.sched_getaffinity(0))


@contextmanager
def _measured() -> Iterator[list[Cost]]:
    """Gives a list that holds the cost of what was done meanwhile, the worker processes' end included."""
    spent: list[Cost] = []
    start, main, workers = time.perf_counter(), _processor_s(resource.RUSAGE_SELF), _children_s()
    yield spent
    wall, main = time.perf_counter() - start, _processor_s(resource.RUSAGE_SELF) - main
    # the server of worker processes, and all that it has waited for, counts once it has been waited for itself
    multiprocessing.forkserver._forkserver._stop()  # type: ignore[attr-defined]
    spent.append(Cost(wall, main, _children_s() - workers))


def _processor_s(who: int) -> float:
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def _children_s() -> float:
    return _processor_s(resource.RUSAGE_CHILDREN)


def in_a_process(work: Callable[[Path, type[Table]], Cost], root: Path, table: type[Table]) -> Cost:
    """Runs a function of this module in a process of its own; Dagster and the definitions are loaded before."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=_run, args=(sender, work, root, table))
    process.start()
    sender.close()
    try:
        cost: Cost = receiver.recv()
    except EOFError as error:
        raise RuntimeError(f"{work.__name__} of {table.full_name()} ended without a result") from error
    finally:
        process.join()
    return cost


def _run(sender: Connection, work: Callable[[Path, type[Table]], Cost], root: Path, table: type[Table]) -> None:
    loaded_definitions().resolve_implicit_global_asset_job_def()
    sender.send(work(root, table))


def main(*sizes: int) -> None:
    """Makes a cohort of each size and prints what a patient costs, with the work and beside it."""
    print(
        f"load at the start: {os.getloadavg()[0]:.1f} on {_cores()} cores; above that, wall time is waiting for a core"
    )
    print(f"ms a patient, {_cores()} workers{'':<21}{'wall':>8}{'cpu':>8}{'of it main':>12}{'workers':>9}")
    for patients in sizes or PATIENTS:
        with tempfile.TemporaryDirectory(prefix="cspine-bench-") as folder:
            root = Path(folder)
            write_study(root, patients)
            for table in (Volumes, Masks):
                whole = in_a_process(orchestrated, root, table)
                again = in_a_process(looked_through, root, table)
                _print_costs(f"{table.full_name()}, {patients}", patients, whole, in_a_process(bare, root, table))
                _print_row("  all up to date", patients, again)


def _print_costs(name: str, patients: int, whole: Cost, work: Cost) -> None:
    _print_row(f"{name}: range run", patients, whole)
    _print_row("  the work alone", patients, work)
    over_wall, over_cpu = (
        (one - other) / patients * 1e3
        for one, other in ((whole.wall_s, work.wall_s), (whole.processor_s, work.processor_s))
    )
    verdict = "held" if max(over_wall, over_cpu) <= BUDGET_MS else "MISSED"
    print(f"{'  orchestration':<42}{over_wall:>8.1f}{over_cpu:>8.1f}   of {BUDGET_MS:g}: {verdict}")


def _print_row(name: str, patients: int, cost: Cost) -> None:
    wall, cpu, main_ms, workers = (
        seconds / patients * 1e3 for seconds in (cost.wall_s, cost.processor_s, cost.main_s, cost.workers_s)
    )
    print(f"{name:<42}{wall:>8.1f}{cpu:>8.1f}{main_ms:>12.1f}{workers:>9.1f}")


if __name__ == "__main__":
    main()
