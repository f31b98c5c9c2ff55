"""What the code location holds: nothing misspelt, everything described, and a graph that changes in sight only."""

from pathlib import Path

import dagster as dg
import pytest

from cspine_assets.definitions import defs
from cspine_assets.defs.io import asset_key
from cspine_assets.defs.partitions import patients
from cspine_assets.domain.tables.catalog import all_tables

SNAPSHOT = Path(__file__).with_name("asset_graph.txt")


@pytest.fixture(scope="module")
def graph():
    return defs().resolve_asset_graph()


def test_every_described_table_is_an_asset_and_every_asset_a_table(graph):
    assert {asset_key(table) for table in all_tables()} == set(graph.get_all_asset_keys())


def test_no_dependency_is_misspelt(graph):
    # Dagster takes an unknown key for an external asset, without a word
    assert graph.external_asset_keys == set()


def test_every_asset_says_what_it_is(graph):
    for key in graph.materializable_asset_keys:
        node = graph.get(key)
        assert node.description, key
        # the page shows an indented paragraph as code
        assert not any(line.startswith(" ") for line in node.description.splitlines()), key
        assert node.group_name == key.path[0], key
        assert node.kinds, key
        assert list(node.owners) == ["team:cspine-assets"], key
        assert node.code_version, key


def test_every_column_on_the_page_is_described(graph):
    for key in graph.materializable_asset_keys:
        columns = graph.get(key).metadata["dagster/column_schema"].columns
        assert all(column.description for column in columns), key


def test_every_table_has_a_blocking_schema_check(graph):
    for key in graph.materializable_asset_keys:
        specs = [graph.get_check_spec(check) for check in graph.get_check_keys_for_assets({key})]
        assert any(spec.name == "schema" and spec.blocking for spec in specs), key


def test_neighbouring_patient_assets_have_different_backfill_policies(graph):
    # with the same policy both go into one run, and the second runs for nobody when a patient fails in the first
    neighbours = [
        (graph.get(parent), graph.get(key))
        for key in graph.materializable_asset_keys
        for parent in graph.get(key).parent_keys
        if graph.get(parent).partitions_def == graph.get(key).partitions_def == patients
    ]
    assert neighbours
    for parent, child in neighbours:
        assert parent.backfill_policy != child.backfill_policy, (parent.key, child.key)


def test_trainings_and_predictions_take_a_slot_of_the_gpu_pool(graph):
    pooled = {key.to_user_string() for key in graph.materializable_asset_keys if "gpu" in graph.get(key).pools}
    assert pooled == {"nnunet/trained_folds", "prediction/exam_predictions", "prediction/fold_predictions"}


def test_schedules_and_sensors_are_off_until_switched_on():
    repository = defs().get_repository_def()
    assert {s.default_status for s in repository.schedule_defs} == {dg.DefaultScheduleStatus.STOPPED}
    assert {s.default_status for s in repository.sensor_defs} == {dg.DefaultSensorStatus.STOPPED}


def test_the_asset_graph_is_the_one_we_know(graph):
    lines = [
        f"{key.to_user_string()} <- {', '.join(sorted(p.to_user_string() for p in graph.get(key).parent_keys))}"
        for key in sorted(graph.get_all_asset_keys())
    ]
    found = "\n".join(lines) + "\n"
    assert found == SNAPSHOT.read_text(), (
        f"The asset graph has changed. If that is meant, write this to {SNAPSHOT}:\n{found}"
    )
