"""The asset of trained folds and its log, run through Dagster on the tiny study."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pandas as pd
import pyarrow.parquet as pq
import pytest

from cspine_assets.definitions import defs
from cspine_assets.defs.fingerprints import Fingerprints, described_tables, is_current
from cspine_assets.defs.instance import GPU_POOL, open_instance
from cspine_assets.defs.io import RunConfig
from cspine_assets.defs.resources import Study
from cspine_assets.defs.training import TrainingConfig
from cspine_assets.domain.home import Home, HomeSettings
from cspine_assets.domain.tables import nnunet as tables
from cspine_assets.domain.tables.nnunet import TrainedFolds, TrainingLog
from cspine_assets.nnunet.holds import held
from cspine_assets.nnunet.profiles import Configuration
from cspine_assets.nnunet.replacement import lock_file
from cspine_assets.nnunet.settings import TrainingSettings, write_settings
from cspine_assets.nnunet.training import running_trainings
from cspine_assets_tests.nnunet.breakable import family, left_of
from cspine_assets_tests.processes import within

KEY = "2d|0"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def home(planned_study, tmp_path_factory):
    """A home in which the tiny study is planned."""
    opened = Home(tmp_path_factory.mktemp("home") / "home")
    opened.open(HomeSettings("demo", "/nowhere"))
    shutil.copytree(planned_study.folders.preprocessed, opened.nnunet_preprocessed)
    plan = {"configuration": "2d", "profile": "demo", "data_fingerprint": "d", "split_sha256": "s"}
    plan |= {"plans_sha256": "p", "cases": 6, "patch_size": "1x1", "spacing_mm": "1x1", "batch_size": 2, "stages": 3}
    opened.lake.write(tables.Plans, pd.DataFrame([plan]))
    return opened


@pytest.fixture
def instance(home):
    with open_instance(home) as opened:
        yield opened


def materialize(home, instance, name, **config):
    return (
        defs()
        .resolve_implicit_global_asset_job_def()
        .execute_in_process(
            run_config={
                "resources": {"study": {"config": {"home": str(home.root)}}},
                **({"ops": {f"nnunet__{name}": {"config": config}}} if config else {}),
            },
            instance=instance,
            asset_selection=[dg.AssetKey(["nnunet", name])],
            partition_key=KEY,
            raise_on_error=False,
        )
    )


def stands(home):
    """Whether the driver would leave the model alone."""
    study, described = Study(home), described_tables()[TrainedFolds]
    return is_current(study, described, KEY, str(Fingerprints(study).inputs(described, KEY)))


def test_a_run_trains_as_it_was_told_and_every_epoch_is_in_its_log_and_in_the_table(home, instance):
    trained = materialize(home, instance, "trained_folds", num_epochs=2, save_every=1)
    assert trained.success
    row = home.lake.read(TrainedFolds, ["2d-0"]).iloc[0]
    assert (row["epochs"], row["device"], row["profile"]) == (2, "cpu:0", "demo")
    shown = trained.asset_materializations_for_node("nnunet__trained_folds")[0].metadata
    assert "data:image/png;base64," in shown["curve"].value
    lines = [entry.user_message for entry in instance.all_logs(trained.run_id)]
    told = [line for line in lines if "epoch 2 of 2" in line]
    assert len(told) == 1
    assert all(word in told[0] for word in ("loss", "vertebral_body", "learning rate", " left"))

    assert materialize(home, instance, "training_log").success
    log = home.lake.read(TrainingLog, ["2d-0"])
    assert log["epoch"].tolist() == [1, 2]
    assert log["data_fingerprint"].unique().tolist() == [row["data_fingerprint"]]
    assert log["learning_rate"].is_monotonic_decreasing


def test_what_one_run_chose_for_itself_is_not_what_the_home_asks_for(home):
    assert not stands(home)
    write_settings(home.root, TrainingSettings(num_epochs=2, save_every=9))
    assert stands(home), "how often a checkpoint is written makes no other model"
    write_settings(home.root, TrainingSettings(num_epochs=3))
    assert not stands(home)


@pytest.mark.parametrize("changed", ["a column of the table", "the table of plans"])
def test_a_model_is_not_trained_again_for_a_column(home, instance, changed):
    write_settings(home.root, TrainingSettings(num_epochs=2))
    assert stands(home)
    row = home.lake.read(TrainedFolds, ["2d-0"])
    if changed == "a column of the table":
        path = home.lake.path(TrainedFolds, "2d-0")
        pq.write_table(pq.read_table(path).drop_columns(["device"]), path)
    else:
        home.lake.write(tables.Plans, home.lake.read(tables.Plans).assign(stages=4))
    assert not stands(home)
    again = materialize(home, instance, "trained_folds")
    assert again.asset_materializations_for_node("nnunet__trained_folds")[0].metadata["epochs_trained_now"].value == 0
    assert home.lake.read(TrainedFolds, ["2d-0"])[["checkpoint_sha256", "device"]].equals(
        row[["checkpoint_sha256", "device"]]
    )
    assert stands(home)


def test_a_second_launch_fails_with_the_name_of_the_first(home, instance):
    study = Study(home, {"num_epochs": 1})
    with held(
        lock_file(study.nnunet_folders, "Dataset108_CSpineSeg", Configuration.FLAT, 0), "somebody else's training"
    ):
        refused = materialize(home, instance, "trained_folds", num_epochs=1)
    assert not refused.success
    failure = next(event for event in refused.all_events if event.is_step_failure)
    assert "2d fold 0: process" in failure.step_failure_data.user_failure_data.description


def test_the_pool_has_as_many_slots_as_there_are_places(home):
    def slots():
        with open_instance(home) as opened:
            return opened.event_log_storage.get_concurrency_info(GPU_POOL).slot_count

    for devices, per_device in ((("cpu:0",), 1), (("cpu:0", "cpu:1"), 3)):
        write_settings(home.root, TrainingSettings(devices=devices, slots_per_device=per_device))
        assert slots() == len(Study(home).slots) == len(devices) * per_device


def test_a_run_can_choose_what_the_home_can_except_plans_code_and_devices():
    only_in_the_home = {"planner", "trainer", "devices", "slots_per_device"}
    of_every_run = set(RunConfig.model_fields)
    assert set(TrainingConfig.model_fields) - of_every_run == set(TrainingSettings.model_fields) - only_in_the_home


@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGTERM], ids=lambda blow: blow.name)
def test_a_cancelled_run_ends_the_training_and_its_workers(home, blow):
    write_settings(home.root, TrainingSettings(num_epochs=50, n_proc_DA=2))
    with open_instance(home):
        pass  # the settings of Dagster's instance are written
    select = ["--select", "key:nnunet/trained_folds", "--partition", KEY, "-m", "cspine_assets.definitions"]
    run = subprocess.Popen(
        [Path(sys.executable).with_name("dagster"), "asset", "materialize", *select],
        env=os.environ | {"CSPINE_HOME": str(home.root), "DAGSTER_HOME": str(home.dagster)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        folders = Study(home).nnunet_folders
        assert within(120, lambda: run.poll() is not None or any(one.epoch for one in running_trainings(folders)))
        assert run.poll() is None, "the run ended before its first epoch"
        struck = family(run.pid)
        assert len(struck) >= 3, "the child, and workers that augment"
        run.send_signal(blow)
        assert left_of(struck) == []
        run.wait(timeout=600)
        assert running_trainings(folders) == ()
    finally:
        run.kill()
        run.wait()
