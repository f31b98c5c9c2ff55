"""The folder of one trained fold: what it was trained from, how that went, and whether it is complete.

Change this file when what lies in a fold's folder, or when a model must be trained anew, changes.
How a training is run stands in ``training``.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Final

from cspine_assets.domain.anatomy import LABELS, Structure
from cspine_assets.domain.files import write_text
from cspine_assets.nnunet.environment import NnunetFolders
from cspine_assets.nnunet.messages import EpochFinished, Frozen
from cspine_assets.nnunet.profiles import Configuration, Profile

STAMP_FILE: Final = "cspine_model.json"
RECORD_FILE: Final = "cspine_training.json"
FINAL_CHECKPOINT: Final = "checkpoint_final.pth"
LATEST_CHECKPOINT: Final = "checkpoint_latest.pth"
PREVIOUS_CHECKPOINT: Final = "checkpoint_previous.pth"
"""The latest but one, which nnU-Net does not keep: ``save_every`` epochs older, should the latest turn out torn."""
SUMMARY: Final = Path("validation") / "summary.json"
REPLACED: Final = ".replaced"
"""Folder for outdated folds; hidden, because nnU-Net takes every ``fold_*`` for a fold."""


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


class TrainingRecord(Frozen):
    """How a training went, as it stands beside its model.

    Attributes:
        device: Where its last epoch was trained.
        epochs: Every epoch once, in order, those before a resume included.
    """

    device: str
    epochs: tuple[EpochFinished, ...]


def model_folder(folders: NnunetFolders, dataset: str, configuration: Configuration, profile: Profile) -> Path:
    """Where the folds of one configuration lie, as nnU-Net names it."""
    return folders.results / dataset / f"{profile.trainer_name}__{profile.plans_identifier}__{configuration}"


def read_record(fold_folder: Path) -> TrainingRecord:
    """How the training of a complete fold went."""
    return TrainingRecord.model_validate_json((fold_folder / RECORD_FILE).read_text(encoding="utf-8"))


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
    return all((fold_folder / name).is_file() for name in (FINAL_CHECKPOINT, SUMMARY, RECORD_FILE))


def is_validated(fold_folder: Path, *, probabilities: bool) -> bool:
    """Whether the validation stands, with the softmax of its cases where it is to be kept."""
    summary = fold_folder / SUMMARY
    return summary.is_file() and (not probabilities or any(summary.parent.glob("*.npz")))


def is_up_to_date(fold_folder: Path, stamp: ModelStamp, *, probabilities: bool = False) -> bool:
    """Whether the folder holds this very training, trained and validated to its end; changes nothing."""
    standing = read_stamp(fold_folder)
    if standing is None or standing.fingerprint != stamp.fingerprint:
        return False
    return is_complete(fold_folder) and is_validated(fold_folder, probabilities=probabilities)


def prepare_fold_folder(fold_folder: Path, stamp: ModelStamp, *, probabilities: bool = False) -> bool:
    """Make the folder ready for this training; True if there is nothing left to train and to validate."""
    standing = read_stamp(fold_folder)
    if standing is not None and standing.fingerprint == stamp.fingerprint:
        return is_up_to_date(fold_folder, stamp, probabilities=probabilities)
    if fold_folder.exists():
        _move_aside(fold_folder)
    fold_folder.mkdir(parents=True)
    write_text(fold_folder / STAMP_FILE, stamp.model_dump_json(indent=2) + "\n")
    return False


def _move_aside(fold_folder: Path) -> None:
    """Keep an outdated model, which may be a week of a GPU; an empty or never finished one is removed."""
    if not (fold_folder / FINAL_CHECKPOINT).is_file():
        shutil.rmtree(fold_folder)
        return
    attic = fold_folder.parent / REPLACED
    attic.mkdir(exist_ok=True)
    number = 1 + sum(1 for _ in attic.glob(f"{fold_folder.name}-*"))
    fold_folder.rename(attic / f"{fold_folder.name}-{number}")
