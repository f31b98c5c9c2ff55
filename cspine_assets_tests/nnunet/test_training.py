import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from cspine_assets.domain.anatomy import LABELS, Structure
from cspine_assets.domain.errors import ModelError
from cspine_assets.domain.evaluation.mask_score import score_masks
from cspine_assets.nnunet.children.train import most_advanced
from cspine_assets.nnunet.fold_folder import is_up_to_date
from cspine_assets_tests.nnunet.breakable import family, left_of
from cspine_assets_tests.nnunet.tiny import TINY, train

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


@pytest.fixture
def copied(uninterrupted, tmp_path):
    """A copy of the trained fold to do harm to, and its stamp."""
    trained, _ = uninterrupted
    shutil.copytree(trained.fold_folder, tmp_path / "fold_0")
    return tmp_path / "fold_0", trained.stamp


def weights(trained):
    checkpoint = torch.load(trained.fold_folder / "checkpoint_final.pth", weights_only=False)
    return checkpoint["network_weights"]


def test_every_epoch_is_reported(uninterrupted):
    trained, epochs = uninterrupted
    assert [(e.epoch, e.epochs, e.fold, e.configuration) for e in epochs] == [
        (1, 2, 0, "2d"),
        (2, 2, 0, "2d"),
    ]
    assert set(epochs[0].pseudo_dice) == set(Structure)
    assert epochs[1].learning_rate < epochs[0].learning_rate == pytest.approx(0.01)
    assert (trained.epochs_trained, trained.resumed_from, trained.up_to_date) == (2, None, False)


def test_a_trained_fold_looks_to_nnunet_like_its_own(uninterrupted):
    trained, _ = uninterrupted
    checkpoint = torch.load(trained.fold_folder / "checkpoint_final.pth", weights_only=False)
    assert trained.model_folder.name == "nnUNetTrainer__nnUNetPlans__2d"
    assert checkpoint["trainer_name"] == "nnUNetTrainer"
    assert {"plans.json", "dataset.json"} <= {path.name for path in trained.model_folder.iterdir()}
    assert (trained.fold_folder / "progress.png").exists()


def test_validation_is_of_this_folds_cases_with_paths_that_survive_a_move(uninterrupted, planned_study):
    trained, _ = uninterrupted
    folder = trained.fold_folder / "validation"
    summary = json.loads((folder / "summary.json").read_text())
    files = [case[key] for case in summary["metric_per_case"] for key in ("prediction_file", "reference_file")]
    assert {Path(file).name.removesuffix(".nii.gz") for file in files} == set(planned_study.splits[0].val)
    assert not any(Path(file).is_absolute() for file in files)
    assert all((folder / file).exists() for file in files)
    assert trained.validation_dice[Structure.VERTEBRAL_BODY] == pytest.approx(summary["mean"]["1"]["Dice"])


def test_our_dice_equals_the_summary_of_a_trained_fold(uninterrupted):
    folder = uninterrupted[0].fold_folder / "validation"
    cases = json.loads((folder / "summary.json").read_text())["metric_per_case"]
    assert cases
    for case in cases:
        files = (folder / case["reference_file"], folder / case["prediction_file"])
        for structure, measured in score_masks(*files, with_surfaces=False, with_levels=False).overlap.items():
            theirs = case["metrics"][str(LABELS[structure])]["Dice"]
            assert measured.dice_volumetric == pytest.approx(theirs, rel=0, abs=1e-15)


def test_a_killed_training_resumes_to_the_weights_of_an_uninterrupted_one(uninterrupted, planned_study, tmp_path):
    script = (
        "import sys; from pathlib import Path\n"
        "from cspine_assets_tests.nnunet.tiny import planned, train\n"
        "train(planned(Path(sys.argv[1])), results=Path(sys.argv[2]),"
        " on_message=lambda message: print(message.kind, flush=True))\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(planned_study.home), str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert any(line.strip() == "epoch_finished" for line in parent.stdout)
    running = family(parent.pid)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert running
    assert left_of(running) == []
    resumed = train(planned_study, results=tmp_path)
    assert resumed.resumed_from == "latest"
    assert resumed.epochs_trained == 1
    whole = weights(uninterrupted[0])
    assert all(torch.equal(value, whole[key]) for key, value in weights(resumed).items())


def test_a_torn_checkpoint_falls_back_to_an_older_one(copied):
    folder, _ = copied
    (folder / "checkpoint_final.pth").unlink()
    (folder / "checkpoint_latest.pth").write_bytes(b"half a file")
    heard = []
    assert most_advanced(folder, heard.append) == ("best", folder / "checkpoint_best.pth")
    assert "checkpoint_latest.pth cannot be read" in heard[0].text


def test_a_loss_that_is_no_number_stops_the_training_and_saves_nothing_of_it(planned_study, tmp_path):
    recipes = {
        name: recipe.model_copy(update={"optimizer": "sgd", "initial_learning_rate": 1e30})
        for name, recipe in TINY.recipes.items()
    }
    with pytest.raises(ModelError, match=r"2d fold 0, epoch 1: expected a finite training loss, got nan"):
        train(planned_study, profile=TINY.model_copy(update={"recipes": recipes}), results=tmp_path)
    assert not list(tmp_path.rglob("checkpoint_*"))


def test_the_latest_but_one_is_taken_when_the_latest_is_torn(copied):
    folder, _ = copied
    (folder / "checkpoint_final.pth").unlink()
    (folder / "checkpoint_latest.pth").write_bytes(b"half a file")
    for name, epochs in (("previous", 7), ("best", 5)):
        torch.save({"current_epoch": epochs}, folder / f"checkpoint_{name}.pth")
    assert most_advanced(folder, lambda _: None) == ("previous", folder / "checkpoint_previous.pth")


def test_the_best_checkpoint_is_taken_when_it_is_younger_than_the_latest(copied):
    folder, _ = copied
    (folder / "checkpoint_final.pth").unlink()
    for name, epochs in (("latest", 1), ("best", 2)):
        torch.save({"current_epoch": epochs}, folder / f"checkpoint_{name}.pth")
    assert most_advanced(folder, lambda _: None)[0] == "best"


def test_without_any_checkpoint_a_training_starts_from_the_beginning(tmp_path):
    assert most_advanced(tmp_path, lambda _: None) == (None, None)


def test_a_complete_fold_is_not_touched(uninterrupted, planned_study):
    trained, _ = uninterrupted
    heard = []
    again = train(planned_study, on_message=heard.append)
    assert (again.up_to_date, again.epochs_trained) == (True, 0)
    assert again.checkpoint_sha256 == trained.checkpoint_sha256
    assert again.validation_dice == trained.validation_dice
    assert heard == []


def test_an_unvalidated_fold_is_not_complete(copied):
    folder, stamp = copied
    (folder / "validation" / "summary.json").unlink()
    assert not is_up_to_date(folder, stamp)


def test_a_fold_without_the_probabilities_that_are_asked_for_is_not_complete(copied):
    folder, stamp = copied
    assert is_up_to_date(folder, stamp)
    assert not is_up_to_date(folder, stamp, probabilities=True)
    (folder / "validation" / "a_case.npz").touch()
    assert is_up_to_date(folder, stamp, probabilities=True)


def test_a_fold_beyond_the_splits_is_refused(planned_study, tmp_path):
    with pytest.raises(ModelError, match="has folds 0 to 2"):
        train(planned_study, fold=3, results=tmp_path)
