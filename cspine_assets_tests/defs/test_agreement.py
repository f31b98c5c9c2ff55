"""Materializing what is up to date records it as it is, and nothing is stale after any sequence of page and driver."""

import os
import shutil
from collections.abc import Callable

import dagster as dg
import pytest

from cspine_assets.defs.agreement import agree
from cspine_assets.defs.driver import RANGE_END, RANGE_START, confirm, materialize
from cspine_assets.defs.execution import Outcome, run_once
from cspine_assets.defs.instance import open_instance
from cspine_assets.defs.io import asset_key
from cspine_assets.defs.resources import Study
from cspine_assets.defs.stages import in_order, loaded_definitions
from cspine_assets.defs.versions import called_stale
from cspine_assets.domain.home import Home
from cspine_assets.domain.tables.base import Table
from cspine_assets.domain.tables.cohort import Exams, Findings, Splits
from cspine_assets.domain.tables.imaging import Masks, Volumes

BEFORE_MODELS = ("midrc", "cohort", "imaging")
Launch = Callable[..., Outcome]


@pytest.fixture
def launch(home: Home, instance: dg.DagsterInstance) -> Launch:
    """Starts a run as the page does: without the driver."""

    def start(table: type[Table], *ends: str, force: bool = False) -> Outcome:
        tags = dict(zip((RANGE_START, RANGE_END), ends, strict=False))
        return run_once(home, instance, [asset_key(table)], tags, force=force)

    return start


@pytest.fixture
def shown(instance: dg.DagsterInstance) -> Callable[..., dict[str, object]]:
    """Returns what the page shows of the newest record, without numbers that belong to the table."""

    def read(table: type[Table], partition: str | None = None) -> dict[str, object]:
        wanted = dg.AssetRecordsFilter(asset_key(table), asset_partitions=[partition] if partition else None)
        (record,) = instance.fetch_materializations(wanted, limit=1).records
        made = record.asset_materialization
        assert made is not None
        return {**made.metadata, "version": (made.tags or {})["dagster/data_version"]}

    return read


def stale(instance: dg.DagsterInstance) -> list[tuple[str, str | None]]:
    graph = loaded_definitions().resolve_asset_graph()
    found = []
    for item in in_order():
        keys = item.partitions_def and item.partitions_def.get_partition_keys(dynamic_partitions_store=instance)
        key = asset_key(item.table)
        found += [(key.to_user_string(), part) for part in called_stale(instance, graph, key, keys and list(keys))]
    return found


def test_what_is_up_to_date_is_recorded_as_it_is(
    home: Home, instance: dg.DagsterInstance, launch: Launch, shown: Callable[..., dict[str, object]]
):
    materialize(home, instance=instance, schemas=BEFORE_MODELS)
    patients = home.lake.partitions(Masks)
    before = {key: shown(Masks, key) for key in patients}
    findings, path = shown(Findings), home.lake.path(Masks, patients[2])
    assert before[patients[1]]["dagster/partition_row_count"].value < before[patients[1]]["dagster/row_count"].value
    assert any("data:image/png" in str(value) for value in before[patients[1]].values()), "a picture"

    written = path.stat().st_mtime_ns
    assert launch(Masks, patients[1], patients[4]) == launch(Findings) == Outcome()
    assert path.stat().st_mtime_ns == written
    assert {key: shown(Masks, key) for key in patients} == before
    assert shown(Findings) == findings
    assert stale(instance) == []
    assert materialize(home, instance=instance, schemas=BEFORE_MODELS) == []

    assert launch(Masks, patients[1], patients[4], force=True) == Outcome()
    assert path.stat().st_mtime_ns > written
    assert {key: shown(Masks, key) for key in patients} == before
    assert stale(instance) == []


def test_a_home_without_dagsters_storage_is_recorded_again_and_not_made_again(home: Home):
    with open_instance(home) as lost:
        materialize(home, instance=lost, schemas=("midrc", "cohort", "imaging"))
    written = {path: path.stat().st_mtime_ns for path in home.lake.root.rglob("[!.]*.parquet")}
    shutil.rmtree(home.dagster)
    with open_instance(home) as instance:
        materialize(home, instance=instance, schemas=BEFORE_MODELS)
        assert set(instance.get_materialized_partitions(asset_key(Masks))) == set(home.lake.partitions(Masks)) != set()
        assert stale(instance) == []
    assert written == {path: path.stat().st_mtime_ns for path in home.lake.root.rglob("[!.]*.parquet")}


def test_a_confirmed_table_keeps_what_is_shown_of_it(
    home: Home, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, shown: Callable[..., dict[str, object]]
):
    materialize(home, instance=instance, schemas=("midrc", "cohort"))
    before = shown(Exams)
    monkeypatch.setattr("cspine_assets.defs.driver.is_watched", lambda table: table is Exams)
    confirm(Study(home), instance, [])
    assert shown(Exams) == before
    assert len(instance.fetch_materializations(asset_key(Exams), limit=9).records) == 2
    assert stale(instance) == []


def test_what_a_kill_left_unrecorded_is_recorded_in_the_end(
    home: Home, instance: dg.DagsterInstance, launch: Launch, shown: Callable[..., dict[str, object]]
):
    materialize(home, instance=instance, schemas=BEFORE_MODELS)
    patient = home.lake.partitions(Volumes)[0]
    stamp, frame = home.lake.stamp(Volumes, patient), home.lake.read(Volumes, [patient])
    assert stamp is not None
    written = home.lake.write(Volumes, frame.assign(warnings="new"), partition=patient, inputs=stamp.inputs)
    # made on the page from rows that Dagster knows nothing of, which are recorded only after it
    assert launch(Masks, patient, patient) == launch(Volumes, patient, patient) == Outcome()
    assert ("imaging/masks", patient) in stale(instance)
    masks = home.lake.path(Masks, patient).stat().st_mtime_ns

    assert materialize(home, instance=instance, schemas=BEFORE_MODELS) == []
    assert stale(instance) == []
    assert shown(Volumes, patient)["version"] == written.fingerprint
    assert home.lake.path(Masks, patient).stat().st_mtime_ns == masks
    # and nothing is looked at again where nothing has been recorded since
    agree(Study(home), instance)
    home.lake.write(Splits, home.lake.read(Splits).iloc[::-1], inputs=home.lake.stamp(Splits).inputs)
    assert agree(Study(home), instance) == []
    os.utime(home.lake.path(Splits))
