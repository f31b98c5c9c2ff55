"""The driver: materializes through Dagster whatever of the study is missing or stale, and nothing else.

It works stage by stage in the order of the tables, so that patients who fail stop nobody below them, which one
backfill cannot do. Change it when the way of running changes; what is stale is decided by ``fingerprints``.
"""

import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from graphlib import TopologicalSorter
from itertools import groupby
from pathlib import Path

import dagster as dg
import psutil

from cspine_assets.defs.fingerprints import Described, Fingerprints, described_tables, is_current
from cspine_assets.defs.instance import open_instance
from cspine_assets.defs.io import FORCE_TAG, asset_key
from cspine_assets.defs.partitions import patients
from cspine_assets.defs.resources import Study
from cspine_assets.domain.errors import CSpineError
from cspine_assets.domain.home import Home
from cspine_assets.domain.workers import each_in_workers
from cspine_assets.nnunet.devices import training_slots

RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
DRIVER_TAG = "cspine/driver"
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True)
class Stage:
    """Tables that are made together: neighbours without partitions, or one table with all its stale partitions.

    Attributes:
        name: What to call it on a screen.
        tables: The tables, in order.
        keys: Stale partition keys; empty for tables without partitions.
    """

    name: str
    tables: tuple[Described, ...]
    keys: tuple[str, ...] = ()


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


@dataclass
class Watcher:
    """Whom the driver tells how far it is; every call comes from the driver's own thread."""

    began: Callable[[Stage], None] = lambda _stage: None
    advanced: Callable[[int], None] = lambda _done: None
    ended: Callable[[StageReport], None] = lambda _report: None


@dataclass(frozen=True)
class Outcome:
    """The result of one run.

    Attributes:
        errors: The reasons of the steps that failed; empty when all went well.
    """

    errors: tuple[str, ...] = field(default_factory=tuple)


def materialize(
    home: Home,
    *,
    instance: dg.DagsterInstance,
    schemas: Iterable[str] | None = None,
    force: bool = False,
    watcher: Watcher | None = None,
) -> list[StageReport]:
    """Makes what is missing or stale, in order; a second call with nothing changed makes nothing.

    Args:
        home: A home that has been opened.
        instance: Dagster's instance that records the runs.
        schemas: Only tables of these schemas; None for all.
        force: Also make what is up to date.
        watcher: Whom to tell.

    Returns:
        One report per stage that had anything to do. Failed patients are in the reports; everything else that
        fails ends the work.

    Raises:
        CSpineError: A table or a model could not be made, or a blocking check failed.
    """
    watcher = watcher or Watcher()
    _definitions()  # loading the assets describes the tables
    close_dead_runs(instance)
    try:
        return _materialize(home, instance, schemas, force, watcher)
    except BaseException:
        close_dead_runs(instance, also_own=True)
        raise


def _materialize(
    home: Home, instance: dg.DagsterInstance, schemas: Iterable[str] | None, force: bool, watcher: Watcher
) -> list[StageReport]:
    reports = []
    wanted = frozenset(schemas) if schemas is not None else None
    for group in _groups(wanted):
        stage = _stage(Study(home), group, instance, force)
        if stage is None:
            continue
        watcher.began(stage)
        start = time.perf_counter()
        failures = tuple(_run_stage(home, instance, stage, force, watcher))
        report = StageReport(stage, time.perf_counter() - start, failures)
        watcher.ended(report)
        reports.append(report)
        if failures and stage.tables[0].partitions_def is not patients:
            raise CSpineError(f"{stage.name} failed: " + "\n".join(failures))
    return reports


@cache
def _definitions() -> dg.Definitions:
    return dg.load_from_defs_folder(path_within_project=Path(__file__).parent)


@cache
def _job() -> dg.JobDefinition:
    return _definitions().resolve_implicit_global_asset_job_def()


def close_dead_runs(instance: dg.DagsterInstance, *, also_own: bool = False) -> list[str]:
    """Marks runs whose driver on this machine was killed as failed, frees their pool slots, and returns their ids.

    Nobody else would: to Dagster such a run is still going on, and the next one would wait for its slot for ever.

    Args:
        instance: Where the runs are recorded.
        also_own: Also those of this process, which is about to end.
    """
    running = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED]))
    closed = []
    for run in running:
        host, _, pid = run.tags.get(DRIVER_TAG, "").rpartition(":")
        if host != socket.gethostname():
            continue
        if not psutil.pid_exists(int(pid)) or (also_own and int(pid) == os.getpid()):
            instance.report_run_failed(run, "Its driver was ended before the run was over; what was written stands.")
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
            closed.append(run.run_id)
    return closed


def _driver_name() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def _groups(schemas: frozenset[str] | None) -> Iterator[list[Described]]:
    """Yields tables in an order in which parents come first; neighbours of one schema without partitions together."""
    described = described_tables()
    order = [
        described[table]
        for table in TopologicalSorter({table: item.deps for table, item in described.items()}).static_order()
        if schemas is None or table.full_name().split(".")[0] in schemas
    ]

    def cut(item: Described) -> str:
        return item.table.full_name() if item.partitions_def else item.table.full_name().split(".")[0]

    for _, group in groupby(order, key=cut):
        yield list(group)


def _stage(study: Study, group: list[Described], instance: dg.DagsterInstance, force: bool) -> Stage | None:
    """Returns what of a group has to be made, or None."""
    first = group[0]
    if first.partitions_def is None:
        stale = _stale_tables(study, group, instance, force)
        if not stale:
            return None
        names = [item.table.full_name() for item in stale]
        schema = names[0].split(".")[0]
        return Stage(names[0] if len(names) == 1 else f"{schema}: {len(names)} tables", tuple(stale))
    keys = tuple(stale_keys(study, first, instance, force=force))
    return Stage(first.table.full_name(), (first,), keys) if keys else None


def _stale_tables(study: Study, group: list[Described], instance: dg.DagsterInstance, force: bool) -> list[Described]:
    """Returns the tables of a group to make: those stale, and those made from a stale one of the same group."""
    fingerprints = Fingerprints(study)
    stale: list[Described] = []
    for item in group:
        inputs = fingerprints.inputs(item, None)
        current = (
            not force
            and inputs is not None
            and is_current(study, item, None, inputs)
            and instance.get_latest_materialization_event(asset_key(item.table)) is not None
            and not unpassed_checks(instance, item)
        )
        if not current or any(parent in {s.table for s in stale} for parent in item.deps):
            stale.append(item)
    return stale


def stale_keys(study: Study, item: Described, instance: dg.DagsterInstance, *, force: bool = False) -> list[str]:
    """Returns the partitions of a table that can be made now and are not up to date, in their order.

    A patient who is missing further up cannot be made here and is left out.
    """
    if item.partitions_def is None:
        raise ValueError(f"{item.table.full_name()} has no partitions")
    keys = item.partitions_def.get_partition_keys(dynamic_partitions_store=instance)
    if item.partitions_def is patients:
        keys = [key for key in keys if key in study.patient_ids]
    recorded = instance.get_materialized_partitions(asset_key(item.table))
    recheck = bool(unpassed_checks(instance, item))
    fingerprints = Fingerprints(study)
    stale = []
    for key in keys:
        inputs = fingerprints.inputs(item, key)
        if inputs is None and item.partitions_def is patients:
            continue
        if force or key not in recorded or inputs is None or not is_current(study, item, key, inputs):
            stale.append(key)
    return list(keys[:1]) if recheck and not stale else stale


def unpassed_checks(instance: dg.DagsterInstance, item: Described) -> list[str]:
    """Returns the blocking checks of a table whose latest result is not a success, or that have none."""
    graph = _definitions().resolve_asset_graph()
    keys = [
        key for key in graph.get_check_keys_for_assets({asset_key(item.table)}) if graph.get_check_spec(key).blocking
    ]
    records = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys) if keys else {}
    return [key.name for key in keys if key not in records or records[key].status.value != "SUCCEEDED"]


def _run_stage(home: Home, instance: dg.DagsterInstance, stage: Stage, force: bool, watcher: Watcher) -> Iterator[str]:
    """Runs a stage and yields what failed."""
    assets = [asset_key(item.table) for item in stage.tables]
    tags = {DRIVER_TAG: _driver_name(), **({FORCE_TAG: "true"} if force else {})}
    if not stage.keys:
        yield from _run(home, instance, assets, tags).errors
    elif stage.tables[0].partitions_def is patients:
        done = 0
        for first, last, count in _stretches(stage.keys, instance):
            yield from _run(home, instance, assets, {**tags, RANGE_START: first, RANGE_END: last}).errors
            done += count
            watcher.advanced(done)
    else:
        work = partial(_run_in_worker, str(home.root), [key.path for key in assets], tags)
        outcomes = each_in_workers(
            [[key] for key in stage.keys],
            work,
            lost=lambda key: Outcome((f"{key}: the process that made it died twice; was there enough memory?",)),
            workers=min(len(training_slots()), len(stage.keys)),
            preload=[__name__],
        )
        for done, outcome in enumerate(outcomes, start=1):
            yield from outcome.errors
            watcher.advanced(done)


def _stretches(keys: tuple[str, ...], instance: dg.DagsterInstance) -> Iterator[tuple[str, str, int]]:
    """Cuts keys into runs of neighbours: first, last and number. A range names its ends, all between belong to it."""
    position = {key: i for i, key in enumerate(instance.get_dynamic_partitions(str(patients.name)))}
    ordered = sorted(keys, key=position.__getitem__)
    for _, group in groupby(enumerate(ordered), key=lambda pair: position[pair[1]] - pair[0]):
        stretch = [key for _, key in group]
        yield stretch[0], stretch[-1], len(stretch)


def _run(
    home: Home,
    instance: dg.DagsterInstance,
    assets: list[dg.AssetKey],
    tags: dict[str, str],
    partition_key: str | None = None,
) -> Outcome:
    """Runs assets once, in this process, and returns what failed."""
    result = _job().execute_in_process(
        run_config={**_QUIET, "resources": {"study": {"config": {"home": str(home.root)}}}},
        instance=instance,
        asset_selection=assets,
        partition_key=partition_key,
        tags=tags,
        raise_on_error=False,
    )
    if result.success:
        return Outcome()
    reasons = [_reason(event) for event in result.all_events if event.is_step_failure]
    return Outcome(tuple(reasons) or ("the run failed without a failed step; see it on the Dagster page",))


def _reason(event: dg.DagsterEvent) -> str:
    """Returns why a step failed, in the words of the error that caused it."""
    data = event.step_failure_data
    if data.user_failure_data is not None and data.user_failure_data.description:
        return str(data.user_failure_data.description)
    error = data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return f"{event.step_key}: {error.message.strip() if error else 'no reason given'}"


def _run_in_worker(
    home: str, assets: list[Sequence[str]], tags: dict[str, str], partition_keys: list[str]
) -> list[Outcome]:
    """Runs partitions in a worker process: Dagster cannot run twice in one process, not even in two threads."""
    opened = Home(Path(home))
    with open_instance(opened) as instance:
        keys = [dg.AssetKey(list(path)) for path in assets]
        outcomes = [_run(opened, instance, keys, tags, key) for key in partition_keys]
    return [
        Outcome(tuple(f"{key}: {error}" for error in outcome.errors))
        for key, outcome in zip(partition_keys, outcomes, strict=True)
    ]
