"""Assets of evaluation and warehouse follow what they are made from: once, and never in a circle."""

from collections import Counter

import dagster as dg
import pytest

from cspine_assets.definitions import defs
from cspine_assets.defs.conditions import is_watched
from cspine_assets.defs.io import asset_key
from cspine_assets.defs.partitions import patients
from cspine_assets.domain.tables.catalog import all_tables
from cspine_assets.domain.tables.evaluation import ExamMetrics
from cspine_assets.domain.tables.prediction import ExamPredictions

PATIENTS = [f"p{number}" for number in range(5)]
BROKEN = "p3"
FOLLOWERS = ("evaluation", "warehouse")


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as opened:
        opened.add_dynamic_partitions(str(patients.name), PATIENTS)
        yield opened


class Daemon:
    """Evaluates the conditions tick by tick, and makes what they ask for, all but the broken patient."""

    def __init__(self, instance: dg.DagsterInstance):
        self.instance, self.definitions = instance, defs()
        self.cursor = None

    def make(self, key: dg.AssetKey, partition: str | None = None) -> None:
        if partition != BROKEN or key != asset_key(ExamPredictions):
            self.instance.report_runless_asset_event(dg.AssetMaterialization(key, partition=partition))

    def make_everything(self) -> None:
        graph = self.definitions.resolve_asset_graph()
        for key in graph.materializable_asset_keys:
            cut = graph.get(key).partitions_def
            keys = cut.get_partition_keys(dynamic_partitions_store=self.instance) if cut else [None]
            for partition in keys:
                self.make(key, partition)

    def tick(self) -> list[tuple[str, str | None]]:
        result = dg.evaluate_automation_conditions(self.definitions, self.instance, cursor=self.cursor)
        self.cursor = result.cursor
        asked = [
            (node.key, partition)
            for node in self.definitions.resolve_asset_graph().asset_nodes
            for partition in sorted(result.get_requested_partitions(node.key), key=str)
        ]
        for key, partition in asked:
            self.make(key, partition)
        return [(key.to_user_string(), partition) for key, partition in asked]

    def until_quiet(self) -> Counter[tuple[str, str | None]]:
        """Ticks until three in a row ask for nothing: with nothing made in between, no later one has more to see."""
        asked: Counter[tuple[str, str | None]] = Counter()
        quiet = ticks = 0
        while quiet < 3:
            requests, ticks = self.tick(), ticks + 1
            asked.update(requests)
            quiet = 0 if requests else quiet + 1
            assert ticks < 20, asked
        return asked


@pytest.fixture
def daemon(instance: dg.DagsterInstance) -> Daemon:
    opened = Daemon(instance)
    opened.make_everything()
    assert opened.tick() == []
    return opened


def test_over_twenty_ticks_one_new_prediction_is_followed_once_by_all_below_and_nothing_asks_for_itself(daemon: Daemon):
    daemon.make(asset_key(ExamPredictions), "p1")
    asked = Counter(request for _ in range(20) for request in daemon.tick())
    assert asked[("evaluation/exam_metrics", "p1")] == 1
    assert asked[("warehouse/database", None)] >= 1
    assert {name.split("/")[0] for name, _ in asked} == set(FOLLOWERS)
    assert {partition for _, partition in asked} == {None, "p1"}
    assert max(asked.values()) <= 2, asked
    assert daemon.tick() == []


def test_a_broken_patient_is_not_asked_for(daemon: Daemon):
    for patient in PATIENTS:
        daemon.make(asset_key(ExamPredictions), patient)
    asked = daemon.until_quiet()
    scored = {partition for name, partition in asked if name == "evaluation/exam_metrics"}
    assert scored == set(PATIENTS) - {BROKEN}


def test_a_patient_whose_scoring_fails_is_asked_for_once(daemon: Daemon, monkeypatch: pytest.MonkeyPatch):
    good = daemon.make
    monkeypatch.setattr(
        daemon, "make", lambda key, partition=None: key == asset_key(ExamMetrics) or good(key, partition)
    )
    good(asset_key(ExamPredictions), "p1")
    asked = daemon.until_quiet()
    assert asked[("evaluation/exam_metrics", "p1")] == 1


def test_what_has_never_been_made_is_not_asked_for(instance: dg.DagsterInstance):
    daemon = Daemon(instance)
    assert [request for _ in range(3) for request in daemon.tick()] == []


def test_nothing_but_evaluation_and_warehouse_follows_by_itself():
    graph = defs().resolve_asset_graph()
    follow = {key.path[0] for key in graph.materializable_asset_keys if graph.get(key).automation_condition}
    assert follow == set(FOLLOWERS)
    assert all(
        graph.get(key).automation_condition.get_label()
        for key in graph.materializable_asset_keys
        if key.path[0] in FOLLOWERS
    )


def test_metrics_and_database_say_how_old_they_may_become():
    graph = defs().resolve_asset_graph()
    for table in all_tables():
        assert (graph.get(asset_key(table)).freshness_policy_or_from_metadata is not None) == is_watched(table)
    assert {table.full_name() for table in all_tables() if is_watched(table)} >= {
        "evaluation.exam_metrics",
        "warehouse.database",
    }
