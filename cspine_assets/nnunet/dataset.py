"""The raw datasets that nnU-Net reads: links to the study's volumes and masks, and ``dataset.json``.

Change this file when the layout or the description of a raw dataset changes.
Which exam belongs to which set is the cohort's decision, and preprocessing is ``plans``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from cspine_assets.domain.anatomy import NNUNET_LABEL_NAMES
from cspine_assets.domain.errors import ModelError
from cspine_assets.domain.files import fingerprint_file, fingerprint_text, fresh_folder_beside

FILE_ENDING: Final = ".nii.gz"
CHANNEL_ENDING: Final = f"_0000{FILE_ENDING}"
READER: Final = "NibabelIOWithReorient"
"""nnU-Net's reader that turns every volume to RAS and every mask back: its default takes arrays as they lie, and to a
model trained on P,S,R a scan in another order lies on its side, as does the one exam of a 3-D acquisition."""
DESCRIPTION_FILE: Final = "dataset.json"
STAMP_FILE: Final = "cspine_dataset.json"


@dataclass(frozen=True, kw_only=True)
class DatasetName:
    """nnU-Net's number and name of a dataset, ``Dataset108_CSpineSeg``."""

    number: int
    name: str

    def __str__(self) -> str:
        """The folder's name."""
        return f"Dataset{self.number:03d}_{self.name}"


ANNOTATED: Final = DatasetName(number=108, name="CSpineSeg")
UNANNOTATED: Final = DatasetName(number=111, name="CSpineSeg_UNANNO")


@dataclass(frozen=True, kw_only=True)
class Case:
    """One exam as nnU-Net sees it.

    Attributes:
        case_id: The exam's id; identity is by this name, never by position.
        part: ``train`` for the development exams, ``test`` for all that is only predicted.
        image: The volume.
        label: The reference mask; a training case must have one, a test case may.
        checksum: Of the contents of image and label together. None: both files are read for it.
    """

    case_id: str
    part: Literal["train", "test"]
    image: Path
    label: Path | None = None
    checksum: str | None = None


@dataclass(frozen=True, kw_only=True)
class RawDataset:
    """A raw dataset that stands on the disk.

    Attributes:
        folder: ``.../raw/Dataset108_CSpineSeg``.
        training_cases: Number of cases in ``imagesTr``.
        test_cases: Number of cases in ``imagesTs``.
        training_fingerprint: SHA-256 over what models learn from: ids and contents of the training cases.
        fingerprint: SHA-256 over all cases.
        changed: Whether anything had to be written.
    """

    folder: Path
    training_cases: int
    test_cases: int
    training_fingerprint: str
    fingerprint: str
    changed: bool


def write_raw_dataset(raw_folder: Path, dataset: DatasetName, cases: Sequence[Case]) -> RawDataset:
    """Write a dataset as relative links and ``dataset.json``; what stood there is replaced as a whole.

    Nothing is copied, and the links hold when the home that contains volumes and datasets is moved.
    The same cases again leave the folder untouched.

    Raises:
        ModelError: A file is missing, an id comes twice, or a training case has no mask.
    """
    _check(cases)
    ordered = sorted(cases, key=lambda case: (case.part, case.case_id))
    lines = {case.part + " " + case.case_id: _checksum(case) for case in ordered}
    training = [key for key in lines if key.startswith("train ")]
    result = RawDataset(
        folder=raw_folder / str(dataset),
        training_cases=len(training),
        test_cases=len(lines) - len(training),
        training_fingerprint=fingerprint_text(*(f"{key} {lines[key]}" for key in training)),
        fingerprint=fingerprint_text(*(f"{key} {value}" for key, value in lines.items())),
        changed=False,
    )
    links = _links(ordered)
    if _stands(result, links):
        return result
    raw_folder.mkdir(parents=True, exist_ok=True)
    with fresh_folder_beside(result.folder) as folder:
        _write(folder, dataset, links, result)
    return RawDataset(**{**result.__dict__, "changed": True})


def read_training_fingerprint(dataset_folder: Path) -> str:
    """The fingerprint of the training cases of a dataset that ``write_raw_dataset`` wrote.

    Raises:
        ModelError: It was not written by this platform, or is gone.
    """
    stamp = _read_stamp(dataset_folder)
    if stamp is None:
        msg = f"{dataset_folder} holds no dataset of this platform ({STAMP_FILE} is missing): write it first"
        raise ModelError(msg)
    return stamp["training_fingerprint"]


def _check(cases: Sequence[Case]) -> None:
    seen: set[str] = set()
    for case in cases:
        if case.case_id in seen:
            raise ModelError(f"case {case.case_id} comes twice; every exam belongs to one part of one dataset")
        seen.add(case.case_id)
        if case.part == "train" and case.label is None:
            raise ModelError(f"training case {case.case_id} has no reference mask")
        for path in (case.image, case.label):
            if path is not None and not path.is_file():
                raise ModelError(f"case {case.case_id}: expected a file at {path}, there is none")


def _checksum(case: Case) -> str:
    if case.checksum is not None:
        return case.checksum
    paths = [path for path in (case.image, case.label) if path is not None]
    return fingerprint_text(*(fingerprint_file(path) for path in paths))


def _links(cases: Sequence[Case]) -> dict[str, Path]:
    """Target of every link by its place within the dataset."""
    links = {}
    for case in cases:
        suffix = "Tr" if case.part == "train" else "Ts"
        links[f"images{suffix}/{case.case_id}{CHANNEL_ENDING}"] = case.image.absolute()
        if case.label is not None:
            links[f"labels{suffix}/{case.case_id}{FILE_ENDING}"] = case.label.absolute()
    return links


def _stands(wanted: RawDataset, links: dict[str, Path]) -> bool:
    """Whether exactly these contents and links already stand there."""
    stamp = _read_stamp(wanted.folder)
    if stamp is None or stamp["fingerprint"] != wanted.fingerprint:
        return False
    standing = {
        path.relative_to(wanted.folder).as_posix(): path for path in wanted.folder.glob("*/*") if path.is_symlink()
    }
    return standing.keys() == links.keys() and all(
        standing[place].readlink() == Path(os.path.relpath(target.resolve(), standing[place].parent.resolve()))
        for place, target in links.items()
    )


def _read_stamp(folder: Path) -> dict[str, str] | None:
    try:
        stamp: dict[str, str] = json.loads((folder / STAMP_FILE).read_text(encoding="utf-8"))
        return stamp
    except FileNotFoundError:
        return None


def _write(folder: Path, dataset: DatasetName, links: dict[str, Path], result: RawDataset) -> None:
    has_training = result.training_cases > 0
    for name in ("imagesTr", "labelsTr", "imagesTs") if has_training else ("imagesTs",):
        (folder / name).mkdir()
    for place, target in links.items():
        link = folder / place
        link.parent.mkdir(exist_ok=True)
        # the folder is renamed to a sibling of itself, so the relative path is right before and after
        link.symlink_to(os.path.relpath(target.resolve(), link.parent.resolve()))
    description = {
        "channel_names": {"0": "T2"},
        "labels": NNUNET_LABEL_NAMES,
        "numTraining": result.training_cases,
        "file_ending": FILE_ENDING,
        "name": dataset.name,
        "overwrite_image_reader_writer": READER,
    }
    stamp = {"fingerprint": result.fingerprint, "training_fingerprint": result.training_fingerprint}
    (folder / DESCRIPTION_FILE).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
    (folder / STAMP_FILE).write_text(json.dumps(stamp, indent=2) + "\n", encoding="utf-8")
