"""What Dagster records of a materialization: its data version, what it was made from, and how to record it again.

Change it with Dagster alone: it holds the one use of what Dagster keeps to itself about versions. What this project
takes for stale is decided by ``fingerprints``; where the two views differ, ``agreement`` records again.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
from dagster._core.definitions.data_version import (
    DATA_VERSION_IS_USER_PROVIDED_TAG,
    DATA_VERSION_TAG,
    DEFAULT_DATA_VERSION,
    CachingStaleStatusResolver,
    StaleStatus,
)
from dagster._core.definitions.partitions.utils.multi import get_tags_from_multi_partition_key
from dagster._core.definitions.source_asset import SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION
from dagster._core.execution.plan.execute_step import _build_data_version_tags, _get_input_provenance_data
from dagster._core.loader import LoadingContext

UP_TO_DATE = "up_to_date"
"""Metadata by which earlier releases marked a record that had lost all other metadata."""

_RECORDS_READ = 25
"""How many records of a partition are looked through for the one that describes what stands."""


class _Loading(LoadingContext):
    """What Dagster's resolver asks records of; it lasts as long as one table is looked at."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self._instance = instance
        self._loaders: dict[Any, Any] = {}

    @property
    def instance(self) -> dg.DagsterInstance:
        """The instance that keeps the records."""
        return self._instance

    @property
    def loaders(self) -> dict[Any, Any]:
        """Records that were read already."""
        return self._loaders


def version_tags(context: dg.AssetExecutionContext) -> dict[str, str]:
    """Returns the tags that say what a step's asset was made from, without the data version of the result.

    In a run of many patients Dagster gives one data version to all of them, and another one to the same patients in
    another range. So each patient is recorded by the step itself, with the fingerprint of its own rows.
    """
    step = context.op_execution_context.get_step_execution_context()
    code_version = step.job_def.asset_layer.get(context.asset_key).code_version or context.run.run_id
    inputs = _get_input_provenance_data(context.asset_key, step)
    tags = _build_data_version_tags(dg.DataVersion(""), code_version, inputs, data_version_is_user_provided=True)
    return {name: value for name, value in tags.items() if name != DATA_VERSION_TAG}


def recorded_already() -> dg.Output[None]:
    """Returns a step's result of which Dagster records nothing: the step has recorded its partitions itself."""
    return dg.Output(None, metadata={SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION: True})


def materialization(
    key: dg.AssetKey, partition: str | None, version: str, metadata: Mapping[str, Any], tags: Mapping[str, str]
) -> dg.AssetMaterialization:
    """Returns the record of a table or partition.

    Args:
        key: The asset.
        partition: Its partition, or None.
        version: Fingerprint of what stands.
        metadata: What to show.
        tags: What it was made from, as ``version_tags`` and ``current_tags`` say it.
    """
    dimensions = get_tags_from_multi_partition_key(partition) if isinstance(partition, dg.MultiPartitionKey) else {}
    return dg.AssetMaterialization(
        key, partition=partition, metadata=metadata, tags={**tags, **dimensions, DATA_VERSION_TAG: version}
    )


def current_tags(instance: dg.DagsterInstance, graph: Any, key: dg.AssetKey) -> dict[str, str]:  # noqa: ANN401
    """Returns the tags that say that an asset was made from what is recorded of its parents now."""
    node = graph.get(key)
    records = last_records(instance, list(node.parent_keys))
    inputs: dict[dg.AssetKey, Any] = {}
    for parent in node.parent_keys:
        record = records.get(parent)
        version = recorded_version(record)
        inputs[parent] = {
            "data_version": DEFAULT_DATA_VERSION if version is None else dg.DataVersion(version),
            "storage_id": record.storage_id if record else None,
        }
    return _build_data_version_tags(
        dg.DataVersion(""), str(node.code_version), inputs, data_version_is_user_provided=True
    )


def standing_metadata(
    instance: dg.DagsterInstance, key: dg.AssetKey, partition: str | None, version: str
) -> Mapping[str, Any]:
    """Returns what is recorded of what stands: tables, pictures, numbers; nothing where no record describes it.

    Args:
        instance: Where the records are.
        key: The asset.
        partition: Its partition, or None.
        version: Fingerprint of what stands; a record of other content does not describe it. Records of earlier
            releases give patients no version of their own: the newest one is taken.
    """
    wanted = dg.AssetRecordsFilter(key, asset_partitions=[str(partition)] if partition else None)
    for record in instance.fetch_materializations(wanted, limit=_RECORDS_READ).records:
        made = record.asset_materialization
        if made is None or UP_TO_DATE in made.metadata:
            continue
        tags = made.tags or {}
        if tags.get(DATA_VERSION_TAG) == version or DATA_VERSION_IS_USER_PROVIDED_TAG not in tags:
            return made.metadata
    return {}


def last_records(instance: dg.DagsterInstance, keys: Sequence[dg.AssetKey]) -> dict[dg.AssetKey, dg.EventLogRecord]:
    """Returns the last record of each asset that has one, of whatever partition."""
    found = {
        record.asset_entry.asset_key: record.asset_entry.last_materialization_record
        for record in instance.get_asset_records(list(keys))
    }
    return {key: record for key, record in found.items() if record is not None}


def recorded_version(record: dg.EventLogRecord | None) -> str | None:
    """Returns the data version of a record, or None where it has none."""
    made = record.asset_materialization if record else None
    return (made.tags or {}).get(DATA_VERSION_TAG) if made else None


def recorded_versions(instance: dg.DagsterInstance, key: dg.AssetKey) -> Mapping[str, str]:
    """Returns the data version that is recorded last of each partition of an asset."""
    tags = instance.event_log_storage.get_latest_tags_by_partition(
        key, dg.DagsterEventType.ASSET_MATERIALIZATION, [DATA_VERSION_TAG]
    )
    return {partition: of_partition.get(DATA_VERSION_TAG, "") for partition, of_partition in tags.items()}


def recorded_places(instance: dg.DagsterInstance, key: dg.AssetKey) -> Mapping[str, int]:
    """Returns the place of the last record of each partition of an asset among all records."""
    return instance.event_log_storage.get_latest_storage_id_by_partition(key, dg.DagsterEventType.ASSET_MATERIALIZATION)


def called_stale(
    instance: dg.DagsterInstance,
    graph: Any,  # noqa: ANN401
    key: dg.AssetKey,
    partitions: list[str] | None = None,
) -> list[str | None]:
    """Returns those of some partitions that Dagster calls stale; of an asset without partitions, None or nothing."""
    resolver = CachingStaleStatusResolver(instance, graph, _Loading(instance))
    asked: list[str | None] = [None] if partitions is None else [*partitions]
    return [partition for partition in asked if resolver.get_status(key, partition) is StaleStatus.STALE]
