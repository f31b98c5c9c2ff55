"""Models in force while others are trained: tables and predictions go on with the old ones until all are finished."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest

from cspine_assets.defs.execution import run_once
from cspine_assets.defs.in_force import models_in_force
from cspine_assets.defs.instance import open_instance
from cspine_assets.defs.io import asset_key
from cspine_assets.defs.partitions import trainings
from cspine_assets.defs.resources import Study
from cspine_assets.defs.stages import Order, known_tables, stale_keys
from cspine_assets.domain.errors import ModelError
from cspine_assets.domain.home import Home, HomeSettings
from cspine_assets.domain.tables.nnunet import Plans, TrainedFolds
from cspine_assets.nnunet import training
from cspine_assets.nnunet.settings import TrainingSettings, write_settings
from cspine_assets_tests.nnunet.fake_training import FakeTraining, fake_plans

KEYS = trainings.get_partition_keys()
FLAT = [key for key in KEYS if str(key).startswith("2d|")]

Run = Callable[..., list[str]]


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> FakeTraining:
    fake = FakeTraining()
    monkeypatch.setattr(training, "run_child", fake)
    return fake


@pytest.fixture
def home(tmp_path: Path) -> Home:
    opened = Home(tmp_path / "home")
    opened.open(HomeSettings("demo", "/nowhere"))
    fake_plans(Study(opened).nnunet_folders, folds=5)
    choose(opened, epochs=2)
    plan = {"configuration": "2d", "profile": "demo", "data_fingerprint": "d", "split_sha256": "s"}
    plan |= {"plans_sha256": "p", "cases": 6, "patch_size": "1x1", "spacing_mm": "1x1", "batch_size": 2, "stages": 3}
    opened.lake.write(Plans, pd.DataFrame([plan]))
    return opened


def choose(home: Home, *, epochs: int) -> None:
    write_settings(home.root, TrainingSettings(num_epochs=epochs, devices=("cpu:0",)))


@pytest.fixture
def instance(home: Home) -> Iterator[dg.DagsterInstance]:
    with open_instance(home) as opened:
        looked = dg.AssetCheckEvaluation(
            asset_key=asset_key(TrainedFolds), check_name="schema", passed=True, metadata={}
        )
        opened.report_runless_asset_event(looked)
        yield opened


@pytest.fixture
def train(home: Home, instance: dg.DagsterInstance, child: FakeTraining) -> Run:
    def run(*keys: str) -> list[str]:
        return [
            error
            for key in keys
            for error in run_once(home, instance, [asset_key(TrainedFolds)], {}, key, checked=False).errors
        ]

    return run


def stale(home: Home, instance: dg.DagsterInstance) -> list[str]:
    return [str(key) for key in stale_keys(Study(home), known_tables()[TrainedFolds], instance, Order())]


def test_an_interrupted_retraining_that_is_taken_back_leaves_everything_as_it_was(
    home: Home, instance: dg.DagsterInstance, train: Run, child: FakeTraining
):
    assert train(*KEYS) == []
    before, models = home.lake.read(TrainedFolds), models_in_force(Study(home))
    choose(home, epochs=8)
    assert len(stale(home, instance)) == len(KEYS)
    child.killed_in = {0, 1}
    assert len(train(*FLAT[:2])) == 2
    assert models_in_force(Study(home)) == models, "predictions go on with the models in force"

    choose(home, epochs=2)
    assert stale(home, instance) == [], "everything is up to date"
    pd.testing.assert_frame_equal(home.lake.read(TrainedFolds), before)
    assert models_in_force(Study(home)) == models


def test_models_of_another_choice_take_the_place_together(
    home: Home, instance: dg.DagsterInstance, train: Run, child: FakeTraining
):
    train(*KEYS)
    before = home.lake.read(TrainedFolds)
    choose(home, epochs=8)
    assert train(*FLAT[:4]) == []
    pd.testing.assert_frame_equal(home.lake.read(TrainedFolds), before)
    seen = instance.fetch_observations(asset_key(TrainedFolds), limit=10).records
    told = {record.asset_observation.partition: record.asset_observation.metadata for record in seen}
    assert set(told) == {str(key) for key in FLAT[:4]}
    assert told["2d|3"]["waits_for_folds"].value == "4"

    assert train(FLAT[4]) == []
    after = home.lake.read(TrainedFolds).set_index(["configuration", "fold"])
    assert after.loc["2d", "epochs"].tolist() == [8] * 5
    assert after.loc["3d_fullres", "epochs"].tolist() == [2] * 5
    assert stale(home, instance) == [str(key) for key in KEYS if key not in FLAT]
    recorded = instance.fetch_materializations(asset_key(TrainedFolds), limit=5).records
    assert {record.asset_materialization.partition for record in recorded} == {str(key) for key in FLAT}
    assert all(record.asset_materialization.metadata["epochs"].value == 8 for record in recorded)


def test_other_folds_are_not_trained_again_to_write_their_rows(home: Home, train: Run, child: FakeTraining):
    train(*KEYS)
    choose(home, epochs=8)
    train(*FLAT)
    choose(home, epochs=2)
    child.asked = []
    assert train(FLAT[2]) == [], "the replaced models stand aside, complete"
    assert child.asked == []
    assert home.lake.read(TrainedFolds)["epochs"].tolist() == [2] * 10


@pytest.mark.parametrize("harm", ["removed", "changed"])
def test_a_model_whose_checkpoint_is_gone_or_changed_is_stale_and_predicts_nothing(
    home: Home, instance: dg.DagsterInstance, train: Run, child: FakeTraining, harm: str
):
    train(*KEYS)
    path = home.absolute(home.lake.read(TrainedFolds, ["2d-3"])["path"].iloc[0]) / "checkpoint_final.pth"
    content = path.read_bytes()
    if harm == "removed":
        path.unlink()
    else:
        path.write_bytes(content[::-1])
        os.utime(path, ns=(1, 1))
    with pytest.raises(ModelError, match=r"fold_3/checkpoint_final\.pth: expected the file that nnunet\.trained_folds"):
        models_in_force(Study(home))
    assert stale(home, instance) == ["2d|3"]
    child.asked = []
    assert train("2d|3") == []
    assert child.asked == [3]
    assert path.read_bytes() == content
    assert stale(home, instance) == []


def test_folds_of_two_trainings_are_no_model(home: Home, train: Run):
    train(*FLAT[:2])
    choose(home, epochs=8)
    train(*FLAT[2:], *(key for key in KEYS if key not in FLAT))
    with pytest.raises(ModelError, match="2d: expected folds of one training, got those of 2"):
        models_in_force(Study(home))
    train(*FLAT[:2])
    assert len(models_in_force(Study(home))) == 2
