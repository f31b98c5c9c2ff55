"""A study to predict: phantom volumes, a raw dataset and five folds of both configurations, untrained.

Change a size or a network only with its reason. What is measured on the study stands in ``prediction``.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from cspine_assets.domain.phantom.cohort import write_cohort
from cspine_assets.domain.phantom.settings import CohortSettings
from cspine_assets.nnunet.dataset import ANNOTATED, CHANNEL_ENDING, FILE_ENDING, Case, write_raw_dataset
from cspine_assets.nnunet.devices import Slot
from cspine_assets.nnunet.environment import NnunetFolders
from cspine_assets.nnunet.fold_folder import FINAL_CHECKPOINT, model_folder
from cspine_assets.nnunet.plans import Plans, Split, plan_and_preprocess
from cspine_assets.nnunet.prediction import Model, PredictionCase, PredictionSettings, model_of
from cspine_assets.nnunet.process import Supervision
from cspine_assets.nnunet.profiles import DEMO, FOLDS, TRAINER, Configuration, Profile, SmallNetwork

CPU = Slot(number=0, device="cpu", env={})
SETTINGS = PredictionSettings(disable_tta=True, step_size=0.5)
SLICES = 15
"""The release's usual number; the phantom's 3-D acquisitions have more, and are left out."""

TRAINED_ON = 4
SPARE = 6
"""More patients than wanted, as some have a 3-D acquisition."""


@dataclass(frozen=True)
class StudySize:
    """Volumes to predict.

    Attributes:
        matrix: Rows and columns.
        few: Exams of the smaller of two runs.
        many: Exams of the larger one; what they cost more is the cost of exams, the rest that of the start.
    """

    matrix: int
    few: int
    many: int


def profile_of(matrix: int) -> Profile:
    """A profile whose networks see a whole slice and cost next to nothing."""
    networks = {
        Configuration.FLAT: SmallNetwork(
            base_features=2, stages=3, convolutions=1, max_patch_size=(matrix, matrix), batch_size=2
        ),
        Configuration.FULL_RESOLUTION: SmallNetwork(
            base_features=1, stages=3, convolutions=1, max_patch_size=(16, matrix, matrix), batch_size=2, flat_stages=1
        ),
    }
    return DEMO.model_copy(update={"networks": networks})


def make_study(root: Path, size: StudySize) -> None:
    """Makes volumes, a raw dataset and five folds of both configurations; the folds are copies of one."""
    source = root / "download"
    patients = TRAINED_ON + size.many + SPARE
    write_cohort(
        source,
        CohortSettings(
            patients=patients, seed=7, matrix=size.matrix, slices_min=SLICES, slices_max=SLICES, expert_fraction=1.0
        ),
    )
    masks = {path.name.removesuffix(f"_SEG{FILE_ENDING}"): path for path in _niftis(source, "segmentation")}
    images = {
        path.name.removesuffix(FILE_ENDING): path
        for path in _niftis(source, "annotation")
        if min(nib.load(path).shape) == SLICES
    }
    cases = [
        Case(
            case_id=name,
            part="train" if number < TRAINED_ON else "test",
            image=images[name],
            label=masks[name] if number < TRAINED_ON else None,
        )
        for number, name in enumerate(sorted(images)[: TRAINED_ON + size.many])
    ]
    if len(cases) < TRAINED_ON + size.many:
        raise RuntimeError(f"expected {TRAINED_ON + size.many} exams of {SLICES} slices, the phantom has {len(cases)}")
    folders = folders_of(root)
    write_raw_dataset(folders.raw, ANNOTATED, cases)
    _write_models(root, [case.case_id for case in cases if case.part == "train"], profile_of(size.matrix))


def folders_of(root: Path) -> NnunetFolders:
    """nnU-Net's folders of a study."""
    return NnunetFolders.under(root / "nnunet")


def models_of(root: Path) -> tuple[Model, ...]:
    """The trained models of a study."""
    profile = profile_of(1)  # it names trainer and plans, no more
    return tuple(model_of(folders_of(root), str(ANNOTATED), name, FOLDS, profile=profile) for name in Configuration)


def test_images(root: Path, count: int) -> Path:
    """A folder with the first test volumes of a study, by links."""
    folder = root / f"images_{count}"
    folder.mkdir(exist_ok=True)
    for image in sorted((folders_of(root).raw / str(ANNOTATED) / "imagesTs").iterdir())[:count]:
        if not (folder / image.name).exists():
            (folder / image.name).symlink_to(image.resolve())
    return folder


def test_cases(root: Path, count: int) -> tuple[PredictionCase, ...]:
    """The same volumes, as the platform predicts them."""
    images = sorted(test_images(root, count).iterdir())
    return tuple(PredictionCase(case_id=image.name.removesuffix(CHANNEL_ENDING), image=image) for image in images)


def _niftis(source: Path, part: str) -> list[Path]:
    return sorted((source / f"DukeCSpineSeg_{part}").glob(f"*{FILE_ENDING}"))


def _write_models(root: Path, trained: Sequence[str], profile: Profile) -> None:
    folders = folders_of(root)
    split = Split(train=tuple(trained[1:]), val=tuple(trained[:1]))
    plans = plan_and_preprocess(
        folders, ANNOTATED, [split], profile=profile, workers=1, supervision=_supervision(root, "plan")
    )
    _make_pointwise(plans.plans_file)
    for name in Configuration:
        _draw(plans, name, model_folder(folders, str(ANNOTATED), name, profile))


def _make_pointwise(plans_file: Path) -> None:
    """Lets the convolutions of 3d_fullres see one voxel alone.

    torch convolves a single 3-D patch slowly on a CPU: six CPU seconds an exam of 448 x 448 x 15 even with one feature,
    for nnU-Net's commands and for ours alike, and more than all that happens around the networks. On a GPU they cost
    the processor next to nothing.
    """
    plans = json.loads(plans_file.read_text())
    network = plans["configurations"][Configuration.FULL_RESOLUTION]["architecture"]["arch_kwargs"]
    network["kernel_sizes"] = [[1, 1, 1] for _ in network["kernel_sizes"]]
    plans_file.write_text(json.dumps(plans, indent=4))


def _draw(plans: Plans, name: Configuration, out: Path) -> None:
    """Writes five folds of a network as it is drawn, untrained, in the files that nnU-Net loads models from.

    Such a network's masks are full of all labels. One that was trained for a moment finds nothing, and one empty mask
    is equal to any other.
    """
    description = json.loads((plans.folder / "dataset.json").read_text())
    manager = PlansManager(str(plans.plans_file))
    torch.manual_seed(1)
    network = nnUNetTrainer.build_network_architecture(
        manager,
        manager.get_configuration(name),
        determine_num_input_channels(manager, manager.get_configuration(name), description),
        manager.get_label_manager(description).num_segmentation_heads,
        enable_deep_supervision=False,
    )
    checkpoint = {
        "network_weights": network.state_dict(),
        "trainer_name": TRAINER,
        "init_args": {"configuration": str(name)},
        "inference_allowed_mirroring_axes": None,
    }
    for fold in FOLDS:
        (out / f"fold_{fold}").mkdir(parents=True)
        torch.save(checkpoint, out / f"fold_{fold}" / FINAL_CHECKPOINT)
    shutil.copy(plans.plans_file, out / "plans.json")
    for described in ("dataset.json", "dataset_fingerprint.json"):
        shutil.copy(plans.folder / described, out / described)


def _supervision(root: Path, name: str) -> Supervision:
    return Supervision(log_path=root / "logs" / f"{name}.log", on_message=lambda _: None)
