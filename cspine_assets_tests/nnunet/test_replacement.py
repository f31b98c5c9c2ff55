"""What takes the place of a model in force, and when. The child is a fake that writes what nnU-Net would."""

import json
import os
from contextlib import nullcontext
from pathlib import Path

import pytest

from cspine_assets.domain.errors import ModelError
from cspine_assets.nnunet import replacement, training
from cspine_assets.nnunet.environment import NnunetFolders
from cspine_assets.nnunet.fold_folder import model_folder, read_cases, read_stamp
from cspine_assets.nnunet.plans import Plans
from cspine_assets.nnunet.profiles import DEMO, Configuration, Profile
from cspine_assets.nnunet.replacement import folds_aside, remove_aside
from cspine_assets.nnunet.training import TrainedFold, train_fold
from cspine_assets_tests.nnunet.fake_training import FakeTraining, fake_plans
from cspine_assets_tests.nnunet.tiny import CPU

FOLDS = range(3)


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> FakeTraining:
    fake = FakeTraining()
    monkeypatch.setattr(training, "run_child", fake)
    return fake


@pytest.fixture
def folders(tmp_path: Path) -> NnunetFolders:
    return NnunetFolders.under(tmp_path)


@pytest.fixture
def plans(folders: NnunetFolders) -> Plans:
    return fake_plans(folders, folds=len(FOLDS))


def of_epochs(epochs: int, **changes) -> Profile:
    recipes = {name: recipe.model_copy(update={"epochs": epochs}) for name, recipe in DEMO.recipes.items()}
    return DEMO.model_copy(update={"recipes": recipes, **changes})


OLD, NEW = of_epochs(2), of_epochs(8)


class Trainer:
    """Trains folds of one home as a caller would."""

    def __init__(self, folders: NnunetFolders, plans: Plans) -> None:
        self.folders, self.plans = folders, plans
        self.place = model_folder(folders, plans.folder.name, Configuration.FLAT, DEMO)

    def __call__(self, profile: Profile, *folds: int) -> list[TrainedFold]:
        return [self._one(profile, fold) for fold in folds]

    def _one(self, profile: Profile, fold: int) -> TrainedFold:
        return train_fold(
            self.folders,
            self.plans,
            configuration=Configuration.FLAT,
            fold=fold,
            profile=profile,
            lease=lambda: nullcontext(CPU),
            crew=training.Crew(workers=1, augmentation_workers=0),
            supervision=training.Supervision(log_path=self.folders.logs / "log", on_message=lambda _: None),
        )

    def standing(self) -> list[str]:
        """The choices whose folds stand in place, fold by fold."""
        return [(self.place / f"fold_{fold}" / "checkpoint_final.pth").read_text().split()[0] for fold in FOLDS]


@pytest.fixture
def train(folders: NnunetFolders, plans: Plans) -> Trainer:
    return Trainer(folders, plans)


def test_first_trainings_take_their_place_one_by_one(train: Trainer, child: FakeTraining):
    (first,) = train(OLD, 1)
    assert first.placement.in_force
    assert first.fold_folder == train.place / "fold_1"
    assert (train.place / "plans.json").is_file()
    assert list(folds_aside(train.folders)) == []
    train(OLD, 0, 2)
    assert train.standing() == ["2", "2", "2"]


def test_a_model_in_force_is_replaced_as_a_whole_and_not_before(train: Trainer, child: FakeTraining):
    train(OLD, *FOLDS)
    before = {path: path.read_bytes() for path in train.place.rglob("*") if path.is_file()}
    first, second = train(NEW, 0, 1)
    assert (first.placement.in_force, second.placement.waits_for) == (False, (2,))
    assert first.epochs == 8
    assert {path: path.read_bytes() for path in train.place.rglob("*") if path.is_file()} == before
    assert {one.stamp.fold for one in folds_aside(train.folders) if one.is_complete} == {0, 1}

    (last,) = train(NEW, 2)
    assert last.placement.placed == (0, 1, 2)
    assert train.standing() == ["8", "8", "8"]
    assert json.loads((train.place / "plans.json").read_text())["epochs"] == 8


def test_an_interrupted_retraining_leaves_the_old_models_in_force(train: Trainer, child: FakeTraining):
    train(OLD, *FOLDS)
    child.killed_in = {0, 1}
    for fold in (0, 1):
        with pytest.raises(ModelError, match="killed"):
            train(NEW, fold)
    child.asked = []
    assert [one.up_to_date for one in train(OLD, *FOLDS)] == [True] * 3, "the choice was taken back"
    assert child.asked == []
    assert train.standing() == ["2", "2", "2"]


def test_an_interrupted_training_goes_on_where_it_was_and_another_choice_does_not_touch_it(
    train: Trainer, child: FakeTraining
):
    train(OLD, *FOLDS)
    child.killed_in = {0}
    with pytest.raises(ModelError):
        train(NEW, 0)
    child.killed_in = set()
    train(of_epochs(5), 0)
    (again,) = train(NEW, 0)
    assert (again.resumed_from, again.epochs_trained) == ("latest", 7)
    assert again.last_run.resumed_from_epoch == 1
    assert train.standing() == ["2", "2", "2"]


def test_what_others_began_goes_once_a_training_has_taken_the_place_and_what_was_replaced_stays(
    train: Trainer, child: FakeTraining
):
    train(OLD, *FOLDS)
    child.killed_in = {0}
    with pytest.raises(ModelError):
        train(of_epochs(5), 0)
    child.killed_in = set()
    train(NEW, 0, 1)
    assert len(list(folds_aside(train.folders))) == 3, "while nothing was replaced, all of it may be wanted again"
    train(NEW, 2)
    aside = list(folds_aside(train.folders))
    assert [(one.stamp.fold, one.is_complete, one.epochs) for one in aside] == [
        (0, True, 2),
        (1, True, 2),
        (2, True, 2),
    ]

    child.asked = []
    back = train(OLD, *FOLDS)
    assert child.asked == []
    assert back[0].placement.placed == (0, 1, 2)
    assert train.standing() == ["2", "2", "2"]
    assert remove_aside(train.folders)
    assert list(folds_aside(train.folders)) == []
    assert train.standing() == ["2", "2", "2"]


def test_a_fold_whose_cases_did_not_change_is_not_trained_again(train: Trainer, child: FakeTraining):
    train(OLD, *FOLDS)
    splits = json.loads((train.plans.folder / "splits_final.json").read_text())
    splits[2]["train"].append("one more")
    (train.plans.folder / "splits_final.json").write_text(json.dumps(splits))
    child.asked = []
    first, second, third = train(OLD, *FOLDS)
    assert child.asked == [2]
    assert (first.placement.in_force, second.placement.in_force) == (False, False)
    assert third.placement.placed == (0, 1, 2)


def test_a_process_killed_while_a_model_is_replaced_loses_nothing(
    train: Trainer, child: FakeTraining, monkeypatch: pytest.MonkeyPatch
):
    train(OLD, *FOLDS)
    train(NEW, 0, 1)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(replacement, "_link_files", killed)
        with pytest.raises(KeyboardInterrupt):
            train(NEW, 2)
    assert train.standing() == ["2", "2", "2"]
    child.asked = []
    assert train(NEW, 2)[0].placement.placed == (0, 1, 2)
    assert child.asked == []
    assert train.standing() == ["8", "8", "8"]


def test_probabilities_that_are_asked_for_later_are_made_aside(train: Trainer, child: FakeTraining):
    train(OLD, *FOLDS)
    asked = of_epochs(2, export_validation_probabilities=True)
    (again,) = train(asked, 1)
    assert (again.resumed_from, again.epochs_trained, again.placement.in_force) == ("final", 0, True)
    assert list((train.place / "fold_1" / "validation").glob("*.npz"))
    assert list(folds_aside(train.folders)) == []
    assert train(asked, 1)[0].up_to_date


def test_what_an_earlier_release_left_in_place_goes_on_aside(train: Trainer, child: FakeTraining):
    child.killed_in = {0}
    with pytest.raises(ModelError):
        train(NEW, 0)
    (unfinished,) = folds_aside(train.folders)
    train.place.mkdir(parents=True)
    unfinished.folder.rename(train.place / "fold_0")
    child.killed_in = set()
    assert train(NEW, 0)[0].resumed_from == "latest"


def test_what_an_earlier_release_moved_away_is_found(train: Trainer, child: FakeTraining):
    train(OLD, *FOLDS)
    attic = train.place / ".replaced"
    attic.mkdir()
    (train.place / "fold_0").rename(attic / "fold_0-1")
    child.asked = []
    assert train(OLD, 0)[0].placement.placed == (0, 1, 2)
    assert child.asked == []
    assert train.standing() == ["2", "2", "2"]
    assert list(attic.iterdir()) == []


def test_every_fold_keeps_the_cases_that_it_learned_from(train: Trainer, child: FakeTraining):
    (trained,) = train(OLD, 1)
    cases = read_cases(trained.fold_folder)
    assert cases is not None
    assert list(cases.val) == ["case 1"]
    assert read_stamp(trained.fold_folder) == trained.stamp


def test_a_changed_checkpoint_is_trained_again_and_a_touched_one_is_not(train: Trainer, child: FakeTraining):
    train(OLD, *FOLDS)
    checkpoint = train.place / "fold_1" / "checkpoint_final.pth"
    whole = checkpoint.read_text()
    os.utime(checkpoint, (1, 1))
    child.asked = []
    assert train(OLD, 1)[0].up_to_date
    checkpoint.write_text(whole[::-1])
    assert not train(OLD, 1)[0].up_to_date
    assert child.asked == [1]
    assert checkpoint.read_text() == whole
    checkpoint.unlink()
    train(OLD, 1)
    assert child.asked == [1, 1]


def test_a_validation_finds_its_references_wherever_it_stands(train: Trainer, child: FakeTraining):
    def found(fold_folder: Path) -> list[Path]:
        validation = fold_folder / "validation"
        (case,) = json.loads((validation / "summary.json").read_text())["metric_per_case"]
        return [(validation / case[key]).resolve() for key in ("prediction_file", "reference_file")]

    train(OLD, *FOLDS)
    reference = (train.plans.folder / "gt_segmentations" / "case 1.nii.gz").resolve()
    place = train.place / "fold_1"
    assert found(place) == [place / "validation" / "case 1.nii.gz", reference]
    train(NEW, *FOLDS)
    (aside,) = (one.folder for one in folds_aside(train.folders) if one.stamp.fold == 1)
    assert found(aside) == [aside / "validation" / "case 1.nii.gz", reference]


def test_folds_of_other_plans_wait_for_one_another_too(train: Trainer, child: FakeTraining):
    train(OLD, *FOLDS)
    other = of_epochs(2, planner="nnUNetPlannerResEncM")
    assert [one.placement.in_force for one in train(other, *FOLDS)] == [False, False, True]
    assert train.standing() == ["2", "2", "2"], "where the old model stands nothing changes"


def test_a_lost_plans_file_is_put_back_and_nothing_is_trained(train: Trainer, child: FakeTraining):
    train(OLD, *FOLDS)
    plans = train.place / "plans.json"
    before = plans.read_bytes()
    plans.unlink()
    child.asked = []
    assert train(OLD, 1)[0].up_to_date
    assert plans.read_bytes() == before
    plans.write_text("{}")
    train(OLD, 0)
    assert plans.read_bytes() == before
    assert child.asked == []


def test_stamps_of_earlier_releases_come_to_name_their_choice(train: Trainer, child: FakeTraining):
    (first,) = train(OLD, 0)
    stamp = first.stamp.model_copy(update={"choice": None})
    (first.fold_folder / "cspine_model.json").write_text(stamp.model_dump_json())
    train(OLD, 1)
    assert read_stamp(first.fold_folder) == first.stamp


def test_a_fold_whose_training_has_just_ended_is_left_to_its_own_caller(train: Trainer, child: FakeTraining):
    """Two folds end side by side: what the child of one has finished, the caller of the other must not move."""

    def meanwhile(request) -> None:
        if request.fold == 0:
            child.ended = lambda _request: None
            train(OLD, 1)

    child.ended = meanwhile
    (first,) = train(OLD, 0)
    assert (first.fold_folder, first.placement.placed) == (train.place / "fold_0", (0,))
    assert train(OLD, 0, 1)[1].up_to_date


def test_probabilities_being_made_are_not_taken_for_a_double(train: Trainer, child: FakeTraining):
    train(OLD, *FOLDS)

    def meanwhile(request) -> None:
        if request.fold == 1:
            child.ended = lambda _request: None
            train(of_epochs(2, export_validation_probabilities=True), 0)

    child.ended = meanwhile
    (again,) = train(of_epochs(2, export_validation_probabilities=True), 1)
    assert list((again.fold_folder / "validation").glob("*.npz"))
    assert list(folds_aside(train.folders)) == []
