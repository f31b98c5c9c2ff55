"""Agreement of what Dagster records with what stands: tables that are up to date, and that Dagster calls stale.

The two differ after a kill between a file and its record, or where a table was made on the page while its parent was
not recorded. Change it when they differ for another reason. How a record is written is said by ``versions``.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import dagster as dg

from cspine_assets.defs.fingerprints import Described, Fingerprints, is_current, standing_stamp
from cspine_assets.defs.io import asset_key, row_counts
from cspine_assets.defs.partitions import CUT
from cspine_assets.defs.resources import Study
from cspine_assets.defs.stages import in_order, loaded_definitions
from cspine_assets.defs.versions import (
    called_stale,
    current_tags,
    last_records,
    materialization,
    recorded_places,
    recorded_version,
    recorded_versions,
    standing_metadata,
)
from cspine_assets.domain.files import fingerprint_text
from cspine_assets.domain.tables.base import Table

_AGREED = "cspine/agreed"
"""Dagster's last record, and the versions of the code, when everything agreed last."""


def agree(study: Study, instance: dg.DagsterInstance, tables: Collection[type[Table]] | None = None) -> list[str]:
    """Records again what is up to date and stale in Dagster's view alone, and returns the names of those tables.

    Parents come first, so that their children are looked at as they are then. Where nothing has been recorded since
    all agreed last, nothing is looked at.

    Args:
        study: The study, as it stands after the work.
        instance: Where the records are.
        tables: Only these tables; None for all.
    """
    if instance.daemon_cursor_storage.get_cursor_values({_AGREED}).get(_AGREED) == _now(instance):
        return []
    graph = loaded_definitions().resolve_asset_graph()
    fingerprints = Fingerprints(study)
    recorded = []
    for item in in_order():
        if tables is not None and item.table not in tables:
            continue
        doubtful = [(key, fingerprints.inputs(item, key)) for key in _doubtful(study, instance, graph, item)]
        current = [key for key, inputs in doubtful if inputs and is_current(study, item, key, inputs)]
        if current:
            record_again(study, instance, item, current)
            recorded.append(item.table.full_name())
    if tables is None:
        instance.daemon_cursor_storage.set_cursor_values({_AGREED: _now(instance)})
    return recorded


def record_again(study: Study, instance: dg.DagsterInstance, item: Described, keys: Sequence[str | None]) -> None:
    """Records what stands of a table, or of some of its partitions, once more, with all that was recorded of it."""
    asset = asset_key(item.table)
    tags = current_tags(instance, loaded_definitions().resolve_asset_graph(), asset)
    rows = study.home.lake.count(item.table)
    for key in keys:
        stamp = standing_stamp(study, item, key)
        if stamp is not None:
            told = standing_metadata(instance, asset, key, stamp.fingerprint)
            shown = {**told, **row_counts(item, stamp, rows)}
            instance.report_runless_asset_event(materialization(asset, key, stamp.fingerprint, shown, tags))


def record_last_again(study: Study, instance: dg.DagsterInstance, item: Described) -> None:
    """Records the newest part of a table once more; nothing happens where none is recorded."""
    record = last_records(instance, [asset_key(item.table)]).get(asset_key(item.table))
    made = record.asset_materialization if record else None
    if made is None:
        return
    keys: dict[str | None, str | None] = {None: None}
    if item.partitions_def is not None:
        known = item.partitions_def.get_partition_keys(dynamic_partitions_store=instance)
        keys = {str(key): key for key in known}
    if made.partition in keys:
        record_again(study, instance, item, [keys[made.partition]])


def _now(instance: dg.DagsterInstance) -> str:
    versions = "|".join(f"{item.table.full_name()}={item.version}" for item in in_order())
    return f"{instance.event_log_storage.get_maximum_record_id()} {fingerprint_text(versions)}"


def _doubtful(study: Study, instance: dg.DagsterInstance, graph: Any, item: Described) -> Iterator[str | None]:  # noqa: ANN401
    """Yields what of a table is recorded as other content than stands, or is stale in Dagster's view."""
    asset = asset_key(item.table)
    # only what has a parent that was recorded after it can be stale: to ask Dagster takes milliseconds a partition
    parents = [_Places(instance, parent, item) for parent in item.deps]
    if item.partitions_def is None:
        stamp, record = standing_stamp(study, item, None), last_records(instance, [asset]).get(asset)
        if stamp is None or record is None:
            return
        later_parent = any(parent.of(None) > record.storage_id for parent in parents)
        if recorded_version(record) != stamp.fingerprint or (later_parent and called_stale(instance, graph, asset)):
            yield None
        return
    versions, places = recorded_versions(instance, asset), recorded_places(instance, asset)
    later = []
    for key in item.partitions_def.get_partition_keys(dynamic_partitions_store=instance):
        stamp = standing_stamp(study, item, key)
        if stamp is None or not stamp.complete or key not in places:
            continue
        if versions.get(key) != stamp.fingerprint:
            yield key
        elif any(parent.of(key) > places[key] for parent in parents):
            later.append(key)
    yield from called_stale(instance, graph, asset, later) if later else ()


class _Places:
    """Where a parent of a table was recorded last, as far as a partition of the table is made from it."""

    def __init__(self, instance: dg.DagsterInstance, parent: type[Table], child: Described) -> None:
        asset = asset_key(parent)
        own = parent in CUT and CUT[parent] is child.partitions_def
        last = last_records(instance, [asset]).get(asset)
        self._by_key = recorded_places(instance, asset) if own else {}
        self._whole = 0 if own or last is None else last.storage_id

    def of(self, key: str | None) -> int:
        """Returns the place for a partition, or for a table without partitions; 0 where nothing is recorded."""
        return self._whole if key is None else self._by_key.get(key, self._whole)
