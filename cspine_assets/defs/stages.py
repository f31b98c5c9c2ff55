"""What has to be made: the tables in their order, and of each what is missing or stale.

Change it when another thing makes a table stale, or tables are made together otherwise. How they are run is the
driver's; what a table is made from is said by ``fingerprints``.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from graphlib import TopologicalSorter
from itertools import groupby
from pathlib import Path

import dagster as dg

from cspine_assets.defs.fingerprints import Described, Fingerprints, described_tables, is_current, is_of, standing_stamp
from cspine_assets.defs.io import asset_key
from cspine_assets.defs.partitions import patients
from cspine_assets.defs.resources import Study
from cspine_assets.domain.errors import CSpineError
from cspine_assets.domain.tables.base import Table
from cspine_assets.domain.tables.cohort import Patients


@dataclass(frozen=True)
class Order:
    """What the driver is asked for.

    Attributes:
        tables: Only these tables; None for all.
        force: Also make what is up to date.
        retry_failed: Also try what failed on the very same inputs before; a person who calls again wants that, work
            that runs by itself would try for ever.
        evaluation_id: Name of this evaluation in the history; None for a new one.
    """

    tables: frozenset[type[Table]] | None = None
    force: bool = False
    retry_failed: bool = True
    evaluation_id: str | None = None


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


@cache
def loaded_definitions() -> dg.Definitions:
    """Returns everything in this folder."""
    return dg.load_from_defs_folder(path_within_project=Path(__file__).parent)


def tables_of(schemas: Collection[str]) -> frozenset[type[Table]]:
    """Returns the tables of some schemas.

    Raises:
        CSpineError: There is no schema of that name.
    """
    known: dict[str, set[type[Table]]] = {}
    for table in known_tables():
        known.setdefault(table.schema_name(), set()).add(table)
    if unknown := sorted(set(schemas) - known.keys()):
        raise CSpineError(f"expected schemas among {', '.join(sorted(known))}, got {', '.join(unknown)}.")
    return frozenset(table for name in schemas for table in known[name])


def tables_named(names: Collection[str]) -> frozenset[type[Table]]:
    """Returns the tables of some names; a schema's name stands for all its tables.

    Raises:
        CSpineError: There is no table and no schema of that name, or no name at all.
    """
    tables = {table.full_name(): table for table in known_tables()}
    schemas = {table.schema_name() for table in tables.values()}
    unknown = sorted(set(names) - tables.keys() - schemas)
    if unknown or not names:
        raise CSpineError(
            f"expected names of tables, such as evaluation.leaderboard, or schemas ({', '.join(sorted(schemas))}), "
            f"got {', '.join(unknown) or 'none'}."
        )
    return tables_of(set(names) & schemas) | {tables[name] for name in names if name in tables}


def known_tables() -> dict[type[Table], Described]:
    """Returns every table asset."""
    loaded_definitions()  # loading the assets describes the tables
    return described_tables()


def made_from(roots: Iterable[type[Table]]) -> frozenset[type[Table]]:
    """Returns the tables that are made from some others, by any number of steps; the others are not among them."""
    below: set[type[Table]] = set()
    for item in in_order():
        if {*roots, *below} & set(item.deps):
            below.add(item.table)
    return frozenset(below - set(roots))


def in_order() -> list[Described]:
    """Returns all tables, parents first, and the patients before whatever is cut by patient.

    Their table adds the partitions: a table cut by patient that came first would find nobody to be made for. Names
    decide among equals, so that the order does not hang on how a disk lists the modules.
    """
    described = known_tables()
    sorter: TopologicalSorter[type[Table]] = TopologicalSorter()
    for table, item in described.items():
        sorter.add(table, *item.deps, *((Patients,) if item.partitions_def is patients else ()))
    sorter.prepare()
    order: list[type[Table]] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready(), key=lambda table: table.full_name())
        order += ready
        sorter.done(*ready)
    return [described[table] for table in order]


def groups(wanted: Collection[type[Table]] | None) -> Iterator[list[Described]]:
    """Yields tables in an order in which parents come first; neighbours of one schema without partitions together."""
    order = [item for item in in_order() if wanted is None or item.table in wanted]

    def cut(item: Described) -> str:
        return item.table.full_name() if item.partitions_def else item.table.schema_name()

    for _, group in groupby(order, key=cut):
        yield list(group)


def stage_of(study: Study, group: list[Described], instance: dg.DagsterInstance, order: Order) -> Stage | None:
    """Returns what of a group has to be made, or None."""
    first = group[0]
    if first.partitions_def is None:
        stale = _stale_tables(study, group, instance, order.force)
        if not stale:
            return None
        names = [item.table.full_name() for item in stale]
        schema = names[0].split(".")[0]
        return Stage(names[0] if len(names) == 1 else f"{schema}: {len(names)} tables", tuple(stale))
    keys = tuple(stale_keys(study, first, instance, order))
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


def stale_keys(study: Study, item: Described, instance: dg.DagsterInstance, order: Order) -> list[str]:
    """Returns the partitions of a table that can be made now and are not up to date, in their order.

    A patient or external predictor that is missing further up cannot be made here and is left out, as is one that
    failed on the very same inputs where the order says so.
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
        if inputs is None and fail_alone(item):
            continue
        if not order.force and not order.retry_failed and _failed_before(study, item, key, inputs):
            continue
        if order.force or key not in recorded or inputs is None or not is_current(study, item, key, inputs):
            stale.append(key)
    return list(keys[:1]) if recheck and not stale else stale


def _failed_before(study: Study, item: Described, key: str, inputs: str | None) -> bool:
    """Whether what stands is the account of a failure on these very inputs."""
    stamp = standing_stamp(study, item, key)
    return stamp is not None and not stamp.complete and is_of(stamp, item, inputs)


def unpassed_checks(instance: dg.DagsterInstance, item: Described) -> list[str]:
    """Returns the blocking checks of a table whose latest result is not a success, or that have none."""
    graph = loaded_definitions().resolve_asset_graph()
    keys = [
        key for key in graph.get_check_keys_for_assets({asset_key(item.table)}) if graph.get_check_spec(key).blocking
    ]
    records = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys) if keys else {}
    return [key.name for key in keys if key not in records or records[key].status.value != "SUCCEEDED"]


def fail_alone(item: Described) -> bool:
    """Whether partitions of a table come from outside, patients and predictors, and none stops the others."""
    return isinstance(item.partitions_def, dg.DynamicPartitionsDefinition)
