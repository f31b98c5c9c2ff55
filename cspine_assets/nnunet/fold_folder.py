"""The folder of one trained fold: what it was trained from, how that went, and whether it is complete.

Change this file when what lies in a fold's folder, or when a model must be trained anew, changes.
How a training is run stands in ``training``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from cspine_assets.domain.anatomy import LABELS, Structure
from cspine_assets.domain.files import fingerprint_file, write_text
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
MODEL_FILES: Final = ("plans.json", "dataset_fingerprint.json", "dataset.json")
"""Beside the folds, which share them; every fold keeps them in a folder of its own too, as it needs them."""
OWN_MODEL_FILES: Final = "cspine_model_files"
CASES_FILE: Final = "cspine_cases.json"
RUN_FILE: Final = "cspine_run.json"


class ModelStamp(Frozen):
    """What a fold folder was trained from; written before its training begins.

    Attributes:
        fingerprint: SHA-256 over data, plans, this fold's cases and the recipe. A different one means a
            different model; versions are recorded and do not count.
        choice: SHA-256 over all of it but this fold's cases: folds of one model share it. None in stamps of earlier
            releases.
    """

    fingerprint: str
    training_fingerprint: str
    profile: str
    configuration: Configuration
    fold: int
    seed: int
    nnunetv2_version: str
    torch_version: str
    choice: str | None = None


class FoldCases(Frozen):
    """The cases of a trained fold, as they were when its training began.

    Attributes:
        train: Cases that the model learned from.
        val: Cases that were held out.
    """

    train: tuple[str, ...]
    val: tuple[str, ...]


class FileMark(Frozen):
    """A file as it was when it was finished.

    Attributes:
        size_bytes: Its size.
        changed_ns: When it was written. While both stay the same, the content is taken to.
        sha256: Of its content.
    """

    size_bytes: int
    changed_ns: int
    sha256: str


class LastRun(Frozen):
    """How the call went that finished a training.

    Attributes:
        seconds: Wall time.
        resumed_from_epoch: Epoch of the checkpoint that it continued from, or None.
        checkpoint: The final checkpoint.
    """

    seconds: float
    resumed_from_epoch: int | None
    checkpoint: FileMark


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


def read_record_if_any(fold_folder: Path) -> TrainingRecord | None:
    """How a training went, or None where it has not come to its end."""
    try:
        return read_record(fold_folder)
    except FileNotFoundError:
        return None


def read_cases(fold_folder: Path) -> FoldCases | None:
    """The cases of a trained fold, or None where an earlier release trained it, which did not keep them."""
    try:
        return FoldCases.model_validate_json((fold_folder / CASES_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def read_last_run(fold_folder: Path) -> LastRun | None:
    """How the call went that finished a training, or None where an earlier release did."""
    try:
        return LastRun.model_validate_json((fold_folder / RUN_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


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


def mark_of(file: Path) -> FileMark:
    """What tells a file from a changed one; it is read for it."""
    found = file.stat()
    return FileMark(size_bytes=found.st_size, changed_ns=found.st_mtime_ns, sha256=fingerprint_file(file))


def is_intact(fold_folder: Path) -> bool:
    """Whether the final checkpoint is there, and what it was when its training ended, as far as that was kept."""
    checkpoint = fold_folder / FINAL_CHECKPOINT
    try:
        run, found = read_last_run(fold_folder), checkpoint.stat()
    except FileNotFoundError:
        return False
    if run is None:
        return True
    if (found.st_size, found.st_mtime_ns) == (run.checkpoint.size_bytes, run.checkpoint.changed_ns):
        return True
    return found.st_size == run.checkpoint.size_bytes and fingerprint_file(checkpoint) == run.checkpoint.sha256


def is_complete(fold_folder: Path) -> bool:
    """Whether training and validation of a fold have ended, and its checkpoint is what came of it."""
    return all((fold_folder / name).is_file() for name in (SUMMARY, RECORD_FILE)) and is_intact(fold_folder)


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


def prepare_fold_folder(fold_folder: Path, stamp: ModelStamp, cases: FoldCases | None = None) -> None:
    """Make a folder aside ready for this training, which goes on there if it was begun before."""
    standing = read_stamp(fold_folder)
    if standing is None:
        fold_folder.mkdir(parents=True, exist_ok=True)
        if cases is not None:
            write_text(fold_folder / CASES_FILE, cases.model_dump_json(indent=1) + "\n")
        write_text(fold_folder / STAMP_FILE, stamp.model_dump_json(indent=2) + "\n")
