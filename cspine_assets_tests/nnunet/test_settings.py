"""What a person chooses: which choices make another model, which do not, and what is refused."""

import json
import sys

import pytest

from cspine_assets.domain.errors import ModelError
from cspine_assets.nnunet.children.own_code import load_trainer
from cspine_assets.nnunet.plans import read_plans
from cspine_assets.nnunet.profiles import DEMO, FULL, Configuration
from cspine_assets.nnunet.settings import (
    SETTINGS_FILE,
    TrainingSettings,
    changed,
    code_fingerprint,
    own_trainer,
    read_settings,
    require_trusted_code,
    write_settings,
)
from cspine_assets_tests.nnunet.tiny import TINY, planned, train

OWN_TRAINER = """
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer


class ShortTrainer(nnUNetTrainer):
    def __init__(self, plans, configuration, fold, dataset_json, device):
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_epochs = 1
        self.num_iterations_per_epoch = 2
        self.num_val_iterations_per_epoch = 1
"""


def same_model(settings, profile=FULL):
    """Whether a study with these settings trains the models that the plain profile trains."""
    chosen, flat = settings.applied_to(profile), Configuration.FLAT
    return (chosen.planning_part(), chosen.training_part(flat), chosen.seed, chosen.trainer_name) == (
        profile.planning_part(),
        profile.training_part(flat),
        profile.seed,
        profile.trainer_name,
    )


@pytest.mark.parametrize("profile", [FULL, DEMO], ids=lambda profile: profile.name)
def test_without_a_choice_the_profile_is_as_it_was(profile):
    assert TrainingSettings().applied_to(profile) == profile


@pytest.mark.parametrize(
    "choice",
    [
        {"save_every": 3},
        {"num_processes": 2},
        {"n_proc_DA": 0},
        {"compile": False},
        {"export_validation_probabilities": True},
        {"slots_per_device": 4},
        {"devices": ("cpu:0",)},
    ],
    ids=str,
)
def test_a_choice_that_makes_no_other_model_does_not_make_one_stale(choice):
    settings = TrainingSettings(**choice)
    assert same_model(settings)
    assert settings.applied_to(FULL) != FULL or choice.keys() & {"slots_per_device", "devices"}


@pytest.mark.parametrize("choice", [{"num_epochs": 250}, {"seed": 1}, {"planner": "nnUNetPlannerResEncL"}], ids=str)
def test_a_choice_that_makes_another_model_makes_the_old_one_stale(choice):
    assert not same_model(TrainingSettings(**choice))


def test_choices_are_kept_in_the_home_and_can_be_taken_back(tmp_path):
    assert read_settings(tmp_path) == TrainingSettings()
    write_settings(tmp_path, TrainingSettings(num_epochs=250, devices=("cpu:0",)))
    assert read_settings(tmp_path).num_epochs == 250
    again = changed(read_settings(tmp_path), {"num_epochs": None, "seed": 7})
    assert again == TrainingSettings(seed=7, devices=("cpu:0",))


@pytest.mark.parametrize("choice", [{"num_epochs": 0}, {"planner": "nnUNetPlannerHuge"}, {"learning_rate": 1}], ids=str)
def test_a_choice_that_cannot_be_is_named(choice):
    with pytest.raises(ModelError, match=next(iter(choice))):
        changed(TrainingSettings(), choice)


def test_a_spoilt_settings_file_is_named(tmp_path):
    (tmp_path / SETTINGS_FILE).write_text('{"num_epochs": "many"}')
    with pytest.raises(ModelError, match=r"training\.json.*num_epochs"):
        read_settings(tmp_path)


def test_memory_asked_for_a_device_is_that_of_the_planner(monkeypatch):
    asked = []
    monkeypatch.setattr("cspine_assets.nnunet.settings.training_slots", lambda **how: asked.append(how["asked_mb"]))
    TrainingSettings().slots()
    TrainingSettings(planner="nnUNetPlannerResEncXL").slots()
    assert asked == [11_000, 40_000]


@pytest.fixture
def own_code(tmp_path):
    folder = tmp_path / "trainers"
    folder.mkdir()
    (folder / "short.py").write_text(OWN_TRAINER)
    return folder


def test_own_code_is_part_of_the_model_wherever_it_lies(own_code, tmp_path):
    first = TrainingSettings(trainer=own_trainer("ShortTrainer", own_code)).applied_to(FULL)
    moved = own_code.rename(tmp_path / "elsewhere")
    second = TrainingSettings(trainer=own_trainer("ShortTrainer", moved)).applied_to(FULL)
    assert first.training_part(Configuration.FLAT) == second.training_part(Configuration.FLAT)
    (moved / "short.py").write_text(OWN_TRAINER.replace("= 1", "= 2"))
    third = TrainingSettings(trainer=own_trainer("ShortTrainer", moved)).applied_to(FULL)
    assert third.training_part(Configuration.FLAT) != first.training_part(Configuration.FLAT)


def test_own_code_that_has_changed_since_it_was_trusted_is_not_run(own_code):
    trainer = own_trainer("ShortTrainer", own_code)
    require_trusted_code(trainer)
    (own_code / "more.py").write_text("import os")
    assert code_fingerprint(own_code) != trainer.fingerprint
    with pytest.raises(ModelError, match="is not what it was when it was chosen"):
        require_trusted_code(trainer)


def test_a_folder_without_code_is_refused(tmp_path):
    with pytest.raises(ModelError, match="expected Python files"):
        own_trainer("ShortTrainer", tmp_path)


@pytest.mark.slow
def test_an_own_trainer_follows_its_own_recipe_under_our_supervision(planned_study, own_code, tmp_path):
    settings = TrainingSettings(
        trainer=own_trainer("ShortTrainer", own_code), n_proc_DA=0, export_validation_probabilities=True
    )
    trained = train(planned_study, profile=settings.applied_to(TINY), results=tmp_path / "results")
    assert trained.model_folder.name == "ShortTrainer__nnUNetPlans__2d"
    assert trained.epochs == 1
    assert (trained.fold_folder / "progress.png").exists()
    kept = {path.stem for path in (trained.fold_folder / "validation").glob("*.npz")}
    assert kept == set(planned_study.splits[0].val)


@pytest.mark.slow
def test_a_class_that_is_not_there_is_named(planned_study, own_code, tmp_path):
    settings = TrainingSettings(trainer=own_trainer("LongTrainer", own_code))
    with pytest.raises(ModelError, match="expected a class LongTrainer that extends nnUNetTrainer"):
        train(planned_study, profile=settings.applied_to(TINY), results=tmp_path / "results")


@pytest.mark.slow
def test_another_planner_gives_other_plans_under_nnunets_own_name(planned_study, tmp_path):
    profile = TrainingSettings(planner="nnUNetPlannerResEncM", num_epochs=1).applied_to(TINY)
    home = tmp_path / "resenc"
    home.mkdir()
    (home / "volumes").symlink_to(planned_study.home / "volumes")
    study = planned(home, profile)
    architecture = json.loads(study.plans.plans_file.read_text())["configurations"]["2d"]["architecture"]
    assert study.plans.plans_file.name == "nnUNetResEncUNetMPlans.json"
    assert architecture["network_class_name"].endswith("ResidualEncoderUNet")
    assert study.plans.fingerprint != planned_study.plans.fingerprint
    assert read_plans(study.plans.folder).plans_identifier == "nnUNetResEncUNetMPlans"
    trained = train(study, results=tmp_path / "results")
    assert trained.model_folder.name == "nnUNetTrainer__nnUNetResEncUNetMPlans__2d"
    assert trained.epochs == 1


def test_the_class_of_just_that_name_is_found_among_its_relatives_and_files_of_any_characters(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    stock = "from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer\n"
    (tmp_path / "a_base_of_mine.py").write_text(f"{stock}class MineBase(nnUNetTrainer):\n    pass\n")
    (tmp_path / "a_notes.py").write_bytes(b"# -*- coding: latin-1 -*-\n# k\xf6nnte\n")
    (tmp_path / "b_mine.py").write_text("from a_base_of_mine import MineBase\nclass Mine(MineBase):\n    pass\n")
    found = load_trainer(own_trainer("Mine", tmp_path))
    assert (found.__name__, found.__mro__[1].__name__) == ("Mine", "MineBase")
