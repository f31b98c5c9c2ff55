"""Fingerprint, plans and preprocessed data of the annotated dataset, made by nnU-Net in a child process.

Change this file when what planning needs, or what later steps need to know of the plans, changes.
How nnU-Net is called stands in ``children.plan``; who belongs to which fold is the cohort's decision.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cspine_assets.domain.errors import ModelError
from cspine_assets.domain.files import fingerprint_file, fingerprint_text, fresh_folder_beside, write_text
from cspine_assets.nnunet.dataset import DatasetName, read_training_fingerprint
from cspine_assets.nnunet.environment import NnunetFolders, child_environment
from cspine_assets.nnunet.messages import Frozen
from cspine_assets.nnunet.process import Supervision, run_child
from cspine_assets.nnunet.profiles import PLANS, Configuration, Profile

SPLITS_FILE: Final = "splits_final.json"
STAMP_FILE: Final = "cspine_plans.json"


class Split(Frozen):
    """The case ids of one fold."""

    train: tuple[str, ...]
    val: tuple[str, ...]


class PlanRequest(Frozen):
    """What the planning child is asked for."""

    dataset_number: int
    profile: Profile
    workers: int


class PlannedConfiguration(Frozen):
    """What was planned for one configuration; axes are nnU-Net's, slices first.

    Attributes:
        patch_size: In voxels of the resampled volume.
        spacing_mm: Of the resampled volume; 2d leaves the slice axis alone and names two.
        batch_size: Patches per iteration.
        stages: Resolution stages of the network.
        median_shape: Of the resampled training volumes, in voxels.
    """

    configuration: Configuration
    patch_size: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    batch_size: int
    stages: int
    median_shape: tuple[float, ...]


class Plans(Frozen):
    """The plans that stand on the disk, with the data preprocessed after them.

    Attributes:
        folder: The preprocessed dataset.
        plans_file: ``nnUNetPlans.json`` in it, or what the planner calls it.
        plans_identifier: Its name without the ending.
        configurations: One for each configuration of the study.
        training_fingerprint: Of the raw dataset these plans were made from.
        dataset_fingerprint: SHA-256 of nnU-Net's own ``dataset_fingerprint.json``.
        fingerprint: SHA-256 over everything a model inherits from here, folds excepted.
        changed: Whether planning had to run.
        plans_sha256: Of the plans file as it was made; None where an earlier release made it.
    """

    folder: Path
    plans_file: Path
    configurations: tuple[PlannedConfiguration, ...]
    training_fingerprint: str
    dataset_fingerprint: str
    fingerprint: str
    changed: bool
    plans_identifier: str = PLANS
    plans_sha256: str | None = None

    @property
    def stand(self) -> bool:
        """Whether the files that a training begins with are there, and the plans are those that were made."""
        if not (self.plans_file.exists() and (self.folder / "dataset.json").exists()):
            return False
        return self.plans_sha256 is None or fingerprint_file(self.plans_file) == self.plans_sha256


class PlanningResult(Frozen):
    """What the planning child returns."""

    configurations: tuple[PlannedConfiguration, ...]
    dataset_fingerprint: str
    plans_fingerprint: str


def plan_and_preprocess(
    folders: NnunetFolders,
    dataset: DatasetName,
    splits: Sequence[Split],
    *,
    profile: Profile,
    workers: int,
    supervision: Supervision,
) -> Plans:
    """Check the raw dataset, plan, and preprocess both configurations; write the folds.

    The preprocessed dataset is built aside and swapped in with its ``splits_final.json`` already there:
    nnU-Net would otherwise draw its own folds, across patients. Plans of the same data and profile are kept
    as they are; folds are written anew whenever they differ.

    Raises:
        ModelError: A fold is empty, overlaps itself or names an unknown case; or nnU-Net failed.
    """
    _check_splits(folders.raw / str(dataset), splits)
    training_fingerprint = read_training_fingerprint(folders.raw / str(dataset))
    wanted = fingerprint_text(training_fingerprint, profile.planning_part())
    folder = folders.preprocessed / str(dataset)
    standing = read_plans(folder)
    if standing is not None and standing.fingerprint == wanted and standing.stand:
        _write_splits(folder, splits)
        return standing
    folders.preprocessed.mkdir(parents=True, exist_ok=True)
    # nnU-Net writes below a folder of its choice: it gets one to itself, which takes the place afterwards
    with fresh_folder_beside(folder) as aside:
        inner = aside / str(dataset)
        inner.mkdir()
        _write_splits(inner, splits)
        environment = child_environment(
            NnunetFolders(raw=folders.raw, preprocessed=aside, results=folders.results),
            workers=workers,
            augmentation_workers=1,  # planning dies on 0
        )
        result = run_child(
            "cspine_assets.nnunet.children.plan",
            PlanRequest(dataset_number=dataset.number, profile=profile, workers=workers),
            result_type=PlanningResult,
            env=environment,
            supervision=supervision,
        )
        for path in inner.iterdir():
            path.rename(aside / path.name)
        inner.rmdir()
        plans = Plans(
            folder=folder,
            plans_file=folder / f"{profile.plans_identifier}.json",
            plans_identifier=profile.plans_identifier,
            configurations=result.configurations,
            training_fingerprint=training_fingerprint,
            dataset_fingerprint=result.dataset_fingerprint,
            fingerprint=wanted,
            changed=True,
            plans_sha256=fingerprint_file(aside / f"{profile.plans_identifier}.json"),
        )
        stamp = plans.model_dump_json(indent=2, exclude={"folder", "plans_file", "changed"})
        write_text(aside / STAMP_FILE, stamp + "\n")
    return plans


def read_plans(folder: Path) -> Plans | None:
    """The plans standing in a preprocessed dataset's folder, or None where this platform has made none."""
    try:
        stamp = json.loads((folder / STAMP_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    name = stamp.get("plans_identifier", PLANS)
    return Plans(folder=folder, plans_file=folder / f"{name}.json", changed=False, **stamp)


def read_splits(folder: Path) -> tuple[Split, ...]:
    """The folds standing in a preprocessed dataset's folder."""
    return tuple(Split(**fold) for fold in json.loads((folder / SPLITS_FILE).read_text(encoding="utf-8")))


def _write_splits(folder: Path, splits: Sequence[Split]) -> None:
    text = json.dumps([{"train": list(fold.train), "val": list(fold.val)} for fold in splits], indent=2) + "\n"
    path = folder / SPLITS_FILE
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)


def _check_splits(raw_folder: Path, splits: Sequence[Split]) -> None:
    known = {path.name.removesuffix(".nii.gz") for path in (raw_folder / "labelsTr").glob("*.nii.gz")}
    for number, fold in enumerate(splits):
        train, val = set(fold.train), set(fold.val)
        if not train or not val:
            raise ModelError(f"fold {number} has {len(train)} training and {len(val)} validation cases; needs both")
        if train & val:
            raise ModelError(f"fold {number} validates on cases it trains on, first {min(train & val)}")
        if (train | val) - known:
            first = min((train | val) - known)
            raise ModelError(f"fold {number} names {first}, which is not a training case of {raw_folder.name}")
