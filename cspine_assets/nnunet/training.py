"""Training one fold of one configuration in a child process, and knowing whether it is trained already.

Change this file when what a trained fold is, or when it must be trained anew, changes.
The trainer stands in ``children``; which folds run at once and on what device is the caller's business.
"""

from __future__ import annotations

import json
import shutil
import time
from importlib.metadata import version
from pathlib import Path
from typing import Final, Literal

from cspine_assets.domain.anatomy import LABELS, Structure
from cspine_assets.domain.errors import ModelError
from cspine_assets.domain.files import fingerprint_file, fingerprint_text, write_text
from cspine_assets.nnunet.devices import Device, Slot
from cspine_assets.nnunet.environment import NnunetFolders, child_environment
from cspine_assets.nnunet.messages import Frozen
from cspine_assets.nnunet.plans import Plans, read_splits
from cspine_assets.nnunet.process import Supervision, run_child
from cspine_assets.nnunet.profiles import PLANS, TRAINER, Configuration, Profile

STAMP_FILE: Final = "cspine_model.json"
FINAL_CHECKPOINT: Final = "checkpoint_final.pth"
SUMMARY: Final = Path("validation") / "summary.json"
REPLACED: Final = ".replaced"
"""Folder for outdated folds; hidden, because nnU-Net takes every ``fold_*`` for a fold."""

ResumedFrom = Literal["final", "latest", "best"]


class ModelStamp(Frozen):
    """What a fold folder was trained from; written before its training begins.

    Attributes:
        fingerprint: SHA-256 over data, plans, this fold's cases and the recipe. A different one means a
            different model; versions are recorded and do not count.
    """

    fingerprint: str
    training_fingerprint: str
    profile: str
    configuration: Configuration
    fold: int
    seed: int
    nnunetv2_version: str
    torch_version: str


class TrainRequest(Frozen):
    """What the training child is asked for."""

    dataset: str
    configuration: Configuration
    fold: int
    profile: Profile
    device: Device


class TrainingOutcome(Frozen):
    """What the training child returns."""

    epochs_trained: int
    resumed_from: ResumedFrom | None


class TrainedFold(Frozen):
    """One trained and validated fold.

    Attributes:
        model_folder: ``.../nnUNetTrainer__nnUNetPlans__2d``, as nnU-Net's own commands want it.
        fold_folder: ``fold_0`` in it.
        epochs: Of the recipe.
        epochs_trained: In this call; 0 when nothing had to be trained.
        resumed_from: The checkpoint that this call continued from, or None.
        up_to_date: The fold stood there complete, and nothing was started.
        validation_dice: Volumetric Dice per structure, mean over the fold's validation cases, from nnU-Net's
            ``summary.json``.
        seconds: Of this call.
        checkpoint_sha256: Of ``checkpoint_final.pth``.
    """

    configuration: Configuration
    fold: int
    model_folder: Path
    fold_folder: Path
    epochs: int
    epochs_trained: int
    resumed_from: ResumedFrom | None
    up_to_date: bool
    validation_dice: dict[Structure, float]
    seconds: float
    checkpoint_sha256: str
    stamp: ModelStamp


def train_fold(
    folders: NnunetFolders,
    plans: Plans,
    *,
    configuration: Configuration,
    fold: int,
    profile: Profile,
    slot: Slot,
    workers: int,
    supervision: Supervision,
) -> TrainedFold:
    """Train, resume or merely confirm one fold, validation included.

    A complete fold of the same data, plans, cases and recipe is returned at once. One of others is moved to
    ``.replaced`` and trained from the start. An interrupted one continues from its most advanced readable
    checkpoint.

    Args:
        folders: nnU-Net's folders.
        plans: Of ``plan_and_preprocess``.
        configuration: To train.
        fold: Number of the split.
        profile: Decides the recipe.
        slot: The device to train on, leased by the caller.
        workers: nnU-Net's processes for the final validation.
        supervision: Of the child. A heartbeat limit must exceed an epoch and the validation; a training that
            was stopped can be resumed.

    Raises:
        ModelError: There is no such fold, or the child failed.
    """
    began = time.monotonic()
    stamp = _stamp(plans, configuration, fold, profile)
    model_folder = folders.results / plans.folder.name / f"{TRAINER}__{PLANS}__{configuration}"
    fold_folder = model_folder / f"fold_{fold}"
    up_to_date = prepare_fold_folder(fold_folder, stamp)
    outcome = TrainingOutcome(epochs_trained=0, resumed_from=None)
    if not up_to_date:
        environment = child_environment(folders, workers=workers, augmentation_workers=profile.augmentation_workers)
        outcome = run_child(
            "cspine_assets.nnunet.children.train",
            TrainRequest(
                dataset=plans.folder.name,
                configuration=configuration,
                fold=fold,
                profile=profile,
                device=slot.device,
            ),
            result_type=TrainingOutcome,
            env=environment | slot.env,
            supervision=supervision,
        )
    return TrainedFold(
        configuration=configuration,
        fold=fold,
        model_folder=model_folder,
        fold_folder=fold_folder,
        epochs=profile.recipes[configuration].epochs,
        epochs_trained=outcome.epochs_trained,
        resumed_from=outcome.resumed_from,
        up_to_date=up_to_date,
        validation_dice=read_validation_dice(fold_folder),
        seconds=time.monotonic() - began,
        checkpoint_sha256=fingerprint_file(fold_folder / FINAL_CHECKPOINT),
        stamp=read_stamp(fold_folder) or stamp,
    )


def read_stamp(fold_folder: Path) -> ModelStamp | None:
    """What a fold folder was trained from, or None where this platform has trained nothing."""
    try:
        return ModelStamp.model_validate_json((fold_folder / STAMP_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def read_validation_dice(fold_folder: Path) -> dict[Structure, float]:
    """Mean volumetric Dice per structure over the validation cases, as nnU-Net computed it."""
    mean = json.loads((fold_folder / SUMMARY).read_text(encoding="utf-8"))["mean"]
    return {structure: float(mean[str(label)]["Dice"]) for structure, label in LABELS.items()}


def is_complete(fold_folder: Path) -> bool:
    """Whether training and validation of a fold have ended."""
    return (fold_folder / FINAL_CHECKPOINT).is_file() and (fold_folder / SUMMARY).is_file()


def _stamp(plans: Plans, configuration: Configuration, fold: int, profile: Profile) -> ModelStamp:
    splits = read_splits(plans.folder)
    if not 0 <= fold < len(splits):
        # nnU-Net would silently train on a random share of the cases instead
        raise ModelError(f"fold {fold} was asked for; {plans.folder.name} has folds 0 to {len(splits) - 1}")
    recipe = profile.recipes[configuration].model_dump_json(exclude={"save_every", "plot_every"})
    return ModelStamp(
        fingerprint=fingerprint_text(
            plans.fingerprint, splits[fold].model_dump_json(), recipe, str(profile.seed), configuration
        ),
        training_fingerprint=plans.training_fingerprint,
        profile=profile.name,
        configuration=configuration,
        fold=fold,
        seed=profile.seed,
        nnunetv2_version=version("nnunetv2"),
        torch_version=version("torch"),
    )


def prepare_fold_folder(fold_folder: Path, stamp: ModelStamp) -> bool:
    """Make the folder ready for this training; True if there is nothing left to train."""
    standing = read_stamp(fold_folder)
    if standing is not None and standing.fingerprint == stamp.fingerprint:
        return is_complete(fold_folder)
    if fold_folder.exists():
        _move_aside(fold_folder)
    fold_folder.mkdir(parents=True)
    write_text(fold_folder / STAMP_FILE, stamp.model_dump_json(indent=2) + "\n")
    return False


def _move_aside(fold_folder: Path) -> None:
    """Keep an outdated model, which may be a week of a GPU; an empty or never finished one is removed."""
    if not is_complete(fold_folder):
        shutil.rmtree(fold_folder)
        return
    attic = fold_folder.parent / REPLACED
    attic.mkdir(exist_ok=True)
    number = 1 + sum(1 for _ in attic.glob(f"{fold_folder.name}-*"))
    fold_folder.rename(attic / f"{fold_folder.name}-{number}")
