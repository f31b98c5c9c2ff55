"""A tiny study: six training and two test volumes with bright boxes, as raw dataset and as plans."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np

from cspine_assets.nnunet.dataset import ANNOTATED, Case, write_raw_dataset
from cspine_assets.nnunet.devices import Slot
from cspine_assets.nnunet.environment import NnunetFolders
from cspine_assets.nnunet.plans import Plans, Split, plan_and_preprocess
from cspine_assets.nnunet.process import Supervision
from cspine_assets.nnunet.profiles import DEMO, Configuration, Profile
from cspine_assets.nnunet.training import Crew, TrainedFold, train_fold

CPU = Slot(number=0, device="cpu", env={})
SHAPE = (48, 48, 8)
SAGITTAL = np.array([[0, 0, 3.3, -13], [-1, 0, 0, 24], [0, -1, 0, 24], [0, 0, 0, 1.0]])

TINY = DEMO.model_copy(
    update={
        "recipes": {
            name: recipe.model_copy(update={"epochs": 2, "iterations": 3, "validation_iterations": 1})
            for name, recipe in DEMO.recipes.items()
        },
        "networks": {
            name: network.model_copy(update={"base_features": 4, "stages": 3, "batch_size": 2})
            for name, network in DEMO.networks.items()
        },
    }
)


@dataclass(frozen=True)
class TinyStudy:
    """Where the tiny study lies, and what is in it."""

    home: Path
    folders: NnunetFolders
    cases: list[Case]
    splits: list[Split]
    profile: Profile
    plans: Plans | None = None

    def supervision(self, name: str, on_message=lambda _: None) -> Supervision:
        return Supervision(log_path=self.home / "logs" / f"{name}.log", on_message=on_message)


def write_case(folder: Path, number: int) -> tuple[Path, Path]:
    """A column of three bodies (1) and two discs (2), each structure with its own brightness."""
    rng = np.random.default_rng(number)
    mask = np.zeros(SHAPE, np.uint8)
    start = 16 + number % 4
    for level in range(3):
        top = 4 + 13 * level
        mask[start : start + 14, top : top + 10, 2:6] = 1
        if level < 2:
            mask[start : start + 14, top + 10 : top + 13, 2:6] = 2
    image = (rng.normal(100, 5, SHAPE) + np.array([0, 80, 160])[mask]).astype(np.int16)
    paths = folder / f"{number}.nii.gz", folder / f"{number}_mask.nii.gz"
    for array, path in zip((image, mask), paths, strict=True):
        nib.save(nib.Nifti1Image(array, SAGITTAL), path)
    return paths


def tiny_cases(files: Path) -> list[Case]:
    return [
        Case(
            case_id=f"593973-{number:06d}_Study-MR-1_Series-1",
            part="train" if number < 6 else "test",
            image=files / f"{number}.nii.gz",
            label=files / f"{number}_mask.nii.gz",
        )
        for number in range(8)
    ]


def tiny_splits(cases: list[Case]) -> list[Split]:
    ids = [case.case_id for case in cases if case.part == "train"]
    return [Split(train=tuple(i for i in ids if i not in ids[fold::3]), val=tuple(ids[fold::3])) for fold in range(3)]


def planned(home: Path, profile: Profile = TINY) -> TinyStudy:
    """The tiny study with its raw dataset, plans and preprocessed data; made if they do not stand there."""
    volumes = home / "volumes"
    if not volumes.exists():
        volumes.mkdir()
        for number in range(8):
            write_case(volumes, number)
    folders = NnunetFolders.under(home / "nnunet")
    cases = tiny_cases(volumes)
    write_raw_dataset(folders.raw, ANNOTATED, cases)
    study = TinyStudy(home, folders, cases, tiny_splits(cases), profile)
    plans = plan_and_preprocess(
        folders, ANNOTATED, study.splits, profile=profile, workers=1, supervision=study.supervision("plan")
    )
    return replace(study, plans=plans)


def train(
    study: TinyStudy,
    *,
    configuration: Configuration = Configuration.FLAT,
    fold: int = 0,
    results: Path | None = None,
    on_message=lambda _: None,
    augmentation_workers: int = 0,
    profile: Profile | None = None,
    stop=None,
    heartbeat_timeout_s: float | None = None,
) -> TrainedFold:
    """Train a fold of the tiny study, into another results folder if one is given."""
    return train_fold(
        replace(study.folders, results=results or study.folders.results),
        study.plans,
        configuration=configuration,
        fold=fold,
        profile=profile or study.profile,
        lease=lambda: nullcontext(CPU),
        crew=Crew(workers=1, augmentation_workers=augmentation_workers),
        supervision=replace(
            study.supervision(f"train {configuration}", on_message), stop=stop, heartbeat_timeout_s=heartbeat_timeout_s
        ),
    )
