"""Ranges of patients: as Dagster gives them, read once where that is said, and never longer."""

from collections.abc import Iterator
from contextlib import ExitStack

import dagster as dg
import pytest
from dagster._core.definitions.partitions.snap import PartitionsSnap

from cspine_assets.defs.partitions import patients, ranges_remembered


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("patient", ["p1", "p3", "p2", "p4"])
        yield instance


def of_range(instance: dg.DagsterInstance, first: str, last: str) -> list[str]:
    with dg.partition_loading_context(dynamic_partitions_store=instance):
        return list(patients.get_partition_keys_in_range(dg.PartitionKeyRange(first, last)))


@pytest.mark.parametrize("remembered", [False, True])
def test_a_range_follows_the_order_in_which_patients_came(instance: dg.DagsterInstance, remembered: bool):
    with ExitStack() as stack:
        if remembered:
            stack.enter_context(ranges_remembered())
        for _ in range(2):
            assert of_range(instance, "p1", "p2") == ["p1", "p3", "p2"]
            assert of_range(instance, "p3", "p3") == ["p3"]
            assert of_range(instance, "p4", "p1") == []
            with pytest.raises(dg.DagsterInvalidInvocationError, match="p9"):
                of_range(instance, "p1", "p9")


def test_patients_are_to_dagster_the_definition_of_that_name():
    plain = dg.DynamicPartitionsDefinition(name="patient")
    assert {patients} == {plain}
    assert PartitionsSnap.from_def(patients) == PartitionsSnap.from_def(plain)


def test_a_range_is_read_once_and_forgotten_after(instance: dg.DagsterInstance):
    with ranges_remembered():
        before = of_range(instance, "p1", "p4")
        instance.delete_dynamic_partition("patient", "p3")
        assert of_range(instance, "p1", "p4") == before == ["p1", "p3", "p2", "p4"]
    assert of_range(instance, "p1", "p4") == ["p1", "p2", "p4"]


def test_metadata_of_each_patient_asks_for_the_range_once(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
):
    asked = []
    read = dg.DynamicPartitionsDefinition.get_partition_keys_in_range
    monkeypatch.setattr(
        dg.DynamicPartitionsDefinition,
        "get_partition_keys_in_range",
        lambda self, of: asked.append(of) or read(self, of),
    )

    @dg.asset(partitions_def=patients, backfill_policy=dg.BackfillPolicy.single_run())
    def scans(context: dg.AssetExecutionContext) -> None:
        keys = context.partition_keys
        asked.clear()
        with ranges_remembered():
            for key in keys:
                context.add_asset_metadata({"own": key}, partition_key=key)
        assert len(asked) == 1

    tags = {"dagster/asset_partition_range_start": "p1", "dagster/asset_partition_range_end": "p4"}
    assert dg.materialize([scans], instance=instance, tags=tags).success
    records = instance.fetch_materializations(scans.key, limit=10).records
    events = [record.asset_materialization for record in records]
    assert {event.partition: event.metadata["own"].value for event in events} == {
        key: key for key in ("p1", "p2", "p3", "p4")
    }
