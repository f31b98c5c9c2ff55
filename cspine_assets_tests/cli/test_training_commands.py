"""`cspine training`, `cspine devices`, and the bars that show epochs."""

import os
import sys
from pathlib import Path

import pytest
from rich.console import Console
from rich.progress import Progress

from cspine_assets.cli.app import main
from cspine_assets.cli.epochs import EpochBars
from cspine_assets.cli.training import MEANINGS
from cspine_assets.domain.home import Home, HomeSettings
from cspine_assets.nnunet.devices import leased_slot
from cspine_assets.nnunet.environment import NnunetFolders
from cspine_assets.nnunet.fold_folder import ModelStamp, prepare_fold_folder
from cspine_assets.nnunet.holds import held
from cspine_assets.nnunet.profiles import PROFILES, Configuration
from cspine_assets.nnunet.replacement import folders_aside, lock_file
from cspine_assets.nnunet.settings import TrainingSettings, read_settings
from cspine_assets_tests.nnunet.machines import FIRST


@pytest.fixture
def cspine(monkeypatch, capsys):
    """Calls the command and returns its status and all it said."""
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["cspine", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out + said.err

    return call


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def test_looking_at_the_settings_of_a_home_makes_none(cspine, home):
    status, said = cspine("training", "--home", str(home.root))
    assert status == 0
    assert "ExperimentPlanner" in said
    assert not home.root.exists()


def test_the_values_in_force_are_shown_whole_in_a_narrow_terminal(cspine, home, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    home.open(HomeSettings("demo", "/nowhere"))
    _, said = cspine("training", "--home", str(home.root), "seed=7")
    rows = {cells[0]: cells[1] for cells in table_rows(said)}
    assert "profile demo" in said
    assert rows["num_epochs"] == str(PROFILES["demo"].recipes[Configuration.FLAT].epochs)
    assert rows["seed"] == "7 (yours)"
    assert "export_validation_probabilities" in rows


def table_rows(said: str) -> list[list[str]]:
    """Cells of each printed line of a table."""
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in said.splitlines() if line.startswith("│")]


def test_choices_are_kept_and_taken_back(cspine, home):
    cspine("training", "--home", str(home.root), "num_epochs=250", "compile=false", "devices=cpu:0,cpu:1")
    assert read_settings(home.root) == TrainingSettings(num_epochs=250, compile=False, devices=("cpu:0", "cpu:1"))
    status, said = cspine("training", "--home", str(home.root), "num_epochs=")
    assert status == 0
    assert "250" not in said
    assert read_settings(home.root).num_epochs is None


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ("epochs=3", "expected NAME=VALUE with a name among planner, trainer, num_epochs"),
        ("num_epochs=many", "num_epochs"),
        ("devices=gpu:0", "expected a device like cuda:0"),
        ("trainer=Mine", "expected --trainer-folder"),
    ],
)
def test_a_choice_that_cannot_be_is_one_clear_error_and_changes_nothing(cspine, home, choice, said):
    status, told = cspine("training", "--home", str(home.root), choice)
    assert status == 1
    assert said in told
    assert not home.root.exists()


def test_every_setting_is_explained():
    assert MEANINGS.keys() == TrainingSettings.model_fields.keys()


def test_devices_shows_who_holds_what_and_how_far_it_is(cspine, home):
    folders = NnunetFolders.under(home.root / "nnunet")
    lock = lock_file(folders, "Dataset108_CSpineSeg", "2d", 3)
    slots = TrainingSettings(devices=("cpu:0", "cpu:1")).slots()
    cspine("training", "--home", str(home.root), "devices=cpu:0,cpu:1")
    what = "training of 2d fold 3"
    with leased_slot(home.leases, slots, what=what), held(lock, what) as hold:
        hold.tell(device="cpu:0", epoch=12, epochs=1000, seconds_left=100_800.0)
        _, said = cspine("devices", "--home", str(home.root))
    first, second = (next(line for line in said.splitlines() if device in line) for device in ("cpu:0", "cpu:1"))
    assert f"process {os.getpid()}" in first
    assert what in first
    assert "free" in second
    assert "12 of 1000" in said
    assert "28 h 0 min" in said
    _, said = cspine("devices", "--home", str(home.root))
    assert "12 of 1000" not in said


def test_devices_says_why_a_gpu_is_not_used(cspine, home, machine):
    machine.nvidia(FIRST, driver="535.183.01")
    machine.torch(FIRST, error="The NVIDIA driver on your system is too old (found version 12020).")
    home.open(HomeSettings("demo", "/nowhere"))
    status, said = cspine("devices", "--home", str(home.root))
    said = " ".join(said.split())
    assert status == 0
    assert "cpu:0" in said
    assert "the NVIDIA driver 535.183.01 is too old" in said
    assert "install a torch for CUDA 12" in said


def test_bars_come_and_go_with_the_trainings(home):
    folders = NnunetFolders.under(home.root / "nnunet")
    lock = lock_file(folders, "Dataset108_CSpineSeg", "2d", 0)
    progress = Progress(console=Console(file=sys.stderr))
    bars = EpochBars(progress, folders)
    try:
        with held(lock, "training of 2d fold 0") as hold:
            hold.tell(device="cpu:1", epoch=3, epochs=8, seconds_left=50.0)
            bars.look()
            (task,) = progress.tasks
            assert (task.completed, task.total) == (3, 8)
            assert "cpu:1, 50 s left" in task.description
        bars.look()
        assert progress.tasks == []
    finally:
        bars.stop()


def test_what_lies_aside_is_shown_with_its_place_and_removed_on_request(cspine, home):
    folders = NnunetFolders.under(home.root / "nnunet")
    stamp = ModelStamp(
        fingerprint="1a2b" * 16,
        choice="9f8e" * 16,
        training_fingerprint="t",
        profile="demo",
        configuration=Configuration.FLAT,
        fold=3,
        seed=1,
        nnunetv2_version="2",
        torch_version="2",
    )
    aside = folders_aside(folders, stamp).results
    prepare_fold_folder(aside / "Dataset108_CSpineSeg" / "nnUNetTrainer__nnUNetPlans__2d" / "fold_3", stamp)
    _, said = cspine("training", "--home", str(home.root))
    assert all(word in said for word in ("2d fold 3", "9f8e9f8e", "not finished", aside.name, str(aside.parent)))
    with held(lock_file(folders, "Dataset108_CSpineSeg", "2d", 3), "training of 2d fold 3"):
        cspine("training", "--home", str(home.root), "--remove-aside")
    assert aside.exists(), "it is being trained"
    _, said = cspine("training", "--home", str(home.root), "--remove-aside")
    assert f"removed {aside}" in said
    assert not aside.exists()
    assert "not in force" not in said
