"""The driver: materializes through Dagster whatever of the study is missing or stale, and nothing else.

It works stage by stage in the order of the tables, so that patients who fail stop nobody below them, which one
backfill cannot do. Change it when the way of running changes; what is stale is decided by ``stages``.
"""

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby

import dagster as dg

from cspine_assets.defs.agreement import agree, record_last_again
from cspine_assets.defs.conditions import is_watched
from cspine_assets.defs.dead_runs import DRIVER_TAG, close_dead_runs
from cspine_assets.defs.execution import Outcome, check_once, run_in_worker, run_once
from cspine_assets.defs.fingerprints import Fingerprints
from cspine_assets.defs.io import BEGAN_TAG, EVALUATION_TAG, FORCE_TAG, asset_key
from cspine_assets.defs.partitions import lake_partition, patients, register_patients, register_predictors
from cspine_assets.defs.resources import Study
from cspine_assets.defs.stages import (
    Order,
    Stage,
    fail_alone,
    groups,
    known_tables,
    loaded_definitions,
    stage_of,
    tables_of,
    unpassed_checks,
)
from cspine_assets.domain.errors import CSpineError
from cspine_assets.domain.home import Home
from cspine_assets.domain.housekeeping import tidy
from cspine_assets.domain.tables.benchmark import ExternalPredictions
from cspine_assets.domain.tables.cohort import Patients
from cspine_assets.domain.workers import each_in_workers

RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
MAX_RETRIES_TAG = "dagster/max_retries"
COUNT_EVERY_S = 2.0


@dataclass(frozen=True)
class StageReport:
    """How a stage went.

    Attributes:
        stage: The stage.
        seconds: Wall time.
        failures: What failed and why; a patient, a model or a table.
    """

    stage: Stage
    seconds: float
    failures: tuple[str, ...] = ()


class StageFailedError(CSpineError):
    """A stage failed on which the stages after it depend.

    Attributes:
        report: The stage with its failures.
    """

    def __init__(self, report: StageReport) -> None:
        super().__init__(f"{report.stage.name} failed: " + "\n".join(report.failures))
        self.report = report


@dataclass
class Watcher:
    """Whom the driver tells how far it is; ``advanced`` may be called from a thread of the driver's."""

    began: Callable[[Stage], None] = lambda _stage: None
    advanced: Callable[[int], None] = lambda _done: None
    ended: Callable[[StageReport], None] = lambda _report: None


def materialize(
    home: Home,
    *,
    instance: dg.DagsterInstance,
    schemas: Iterable[str] | None = None,
    force: bool = False,
    watcher: Watcher | None = None,
) -> list[StageReport]:
    """Makes what is missing or stale of some schemas, or of all; see ``carry_out``."""
    tables = None if schemas is None else tables_of(frozenset(schemas))
    return carry_out(Order(tables=tables, force=force), home, instance=instance, watcher=watcher)


def carry_out(
    order: Order, home: Home, *, instance: dg.DagsterInstance, watcher: Watcher | None = None
) -> list[StageReport]:
    """Makes what is missing or stale, in order; a second call with nothing changed makes nothing.

    Args:
        order: What to make.
        home: A home that has been opened.
        instance: Dagster's instance that records the runs.
        watcher: Whom to tell.

    Returns:
        One report per stage that had anything to do. Failed patients and external predictors are in the reports;
        everything else that fails ends the work.

    Raises:
        StageFailedError: A table or a model could not be made, or a blocking check failed.
    """
    watcher = watcher or Watcher()
    known_tables()
    close_dead_runs(instance)
    tidy(home)
    try:
        reports = list(_work(_Task(home, instance, order), watcher))
        agree(Study(home), instance, order.tables)
    except BaseException:
        close_dead_runs(instance, also_own=True)
        raise
    return reports


@dataclass(frozen=True)
class _Task:
    """An order in its home, and the tags that all its runs carry."""

    home: Home
    instance: dg.DagsterInstance
    order: Order
    began: float = field(default_factory=time.time)
    own_id: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def tags(self) -> dict[str, str]:
        return {
            DRIVER_TAG: f"{socket.gethostname()}:{os.getpid()}",
            EVALUATION_TAG: self.order.evaluation_id or self.own_id,
            BEGAN_TAG: str(self.began),
            MAX_RETRIES_TAG: "0",  # whoever called the driver calls it again, not the daemon
            **({FORCE_TAG: "true"} if self.order.force else {}),
        }


def _work(task: _Task, watcher: Watcher) -> Iterator[StageReport]:
    """Works stage by stage, and yields how each went."""
    standing = task.home.lake.read(Patients)
    if len(standing):  # Dagster's own storage may be a new one, and their table is up to date
        register_patients(task.instance, standing)
    refused = register_predictors(task.instance, task.home)
    if refused:
        nobody = Stage("external_predictions", (known_tables()[ExternalPredictions],))
        yield StageReport(nobody, 0.0, tuple(refused))
    for group in groups(task.order.tables):
        stage = stage_of(Study(task.home), group, task.instance, task.order)
        if stage is None:
            continue
        watcher.began(stage)
        start = time.perf_counter()
        failures = tuple(_run_stage(task, stage, watcher))
        report = StageReport(stage, time.perf_counter() - start, failures)
        watcher.ended(report)
        yield report
        if failures and (not fail_alone(stage.tables[0]) or unpassed_checks(task.instance, stage.tables[0])):
            raise StageFailedError(report)


def confirm(study: Study, instance: dg.DagsterInstance, reports: Sequence[StageReport]) -> None:
    """Records of metrics and database that they were looked at and found up to date, where they were not made.

    Without it the page would call old what nothing has changed of.
    """
    made = {item.table for report in reports for item in report.stage.tables}
    fingerprints = Fingerprints(study)
    for table, item in known_tables().items():
        if is_watched(table) and table not in made and fingerprints.whole(table) is not None:
            record_last_again(study, instance, item)


def _run_stage(task: _Task, stage: Stage, watcher: Watcher) -> Iterator[str]:
    """Runs a stage and yields what failed."""
    assets = [asset_key(item.table) for item in stage.tables]
    failures = list(_run_assets(task, stage, assets, watcher))
    yield from failures
    if failures and fail_alone(stage.tables[0]):
        yield from _run_checks(task, assets)


def _run_assets(task: _Task, stage: Stage, assets: list[dg.AssetKey], watcher: Watcher) -> Iterator[str]:
    """Runs the assets of a stage, their checks with them, and yields what failed."""
    if not stage.keys:
        yield from run_once(task.home, task.instance, assets, task.tags).errors
    elif stage.tables[0].partitions_def is patients:
        with _counted(task.home, stage, watcher):
            stretches = list(_stretches(stage.keys, task.instance))
            for number, (first, last) in enumerate(stretches, start=1):
                tags = {**task.tags, RANGE_START: first, RANGE_END: last}
                # the checks look at all patients: once is enough, with the last of what may be a hundred runs
                checked = number == len(stretches)
                yield from run_once(task.home, task.instance, assets, tags, checked=checked).errors
    elif fail_alone(stage.tables[0]) or not _takes_a_device(assets[0]):
        for done, key in enumerate(stage.keys, start=1):
            outcome = run_once(task.home, task.instance, assets, task.tags, key)
            yield from (f"{key}: {error}" for error in outcome.errors)
            watcher.advanced(done)
    else:
        yield from _run_in_workers(task, stage, assets, watcher)


@contextmanager
def _counted(home: Home, stage: Stage, watcher: Watcher) -> Iterator[None]:
    """Tells meanwhile how many patients of a stage are written: one range run holds many, and may take a day."""
    (table,) = (item.table for item in stage.tables)
    paths = [home.lake.path(table, lake_partition(key)) for key in stage.keys]
    began, over = time.time(), threading.Event()

    def count() -> None:
        taken_s = 0.0
        while not over.wait(max(COUNT_EVERY_S, 100 * taken_s)):  # of ten thousand patients it is no trifle
            start = time.perf_counter()
            watcher.advanced(sum(path.exists() and path.stat().st_mtime >= began for path in paths))
            taken_s = time.perf_counter() - start

    counting = threading.Thread(target=count, daemon=True, name="count-patients")
    counting.start()
    try:
        yield
    finally:
        over.set()
        counting.join()
        watcher.advanced(len(paths))


def _takes_a_device(key: dg.AssetKey) -> bool:
    """Whether the partitions of a table are long work for devices, and not each done in less than a process starts."""
    return bool(loaded_definitions().resolve_asset_graph().get(key).pools)


def _run_in_workers(task: _Task, stage: Stage, assets: list[dg.AssetKey], watcher: Watcher) -> Iterator[str]:
    """Runs the partitions of a table side by side, and yields what failed."""
    outcomes = each_in_workers(
        [[key] for key in stage.keys],
        partial(run_in_worker, str(task.home.root), [key.path for key in assets], task.tags),
        lost=lambda key: Outcome((f"{key}: the process that made it died twice; was there enough memory?",)),
        workers=min(len(Study(task.home).slots), len(stage.keys)),
        preload=[run_in_worker.__module__],
    )
    for done, outcome in enumerate(outcomes, start=1):
        yield from outcome.errors
        watcher.advanced(done)


def _stretches(keys: tuple[str, ...], instance: dg.DagsterInstance) -> Iterator[tuple[str, str]]:
    """Cuts keys into runs of neighbours: first and last. A range names its ends, all between belong to it."""
    position = {key: i for i, key in enumerate(instance.get_dynamic_partitions(str(patients.name)))}
    ordered = sorted(keys, key=position.__getitem__)
    for _, group in groupby(enumerate(ordered), key=lambda pair: position[pair[1]] - pair[0]):
        stretch = [key for _, key in group]
        yield stretch[0], stretch[-1]


def _run_checks(task: _Task, assets: list[dg.AssetKey]) -> Iterator[str]:
    """Looks at what stands of some tables, and yields what failed.

    In a run in which a patient failed Dagster plans the checks and then leaves them out, and a cohort of any size has
    such a patient: what the others have become would never be looked at.
    """
    yield from check_once(task.home, task.instance, assets, task.tags).errors
