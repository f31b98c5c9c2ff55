"""Masks from any other tool: what lies in a predictor's folder, and whether it can be scored.

Add a rule here when a folder should be refused for something more. It is untrusted: nothing in it is executed, a
file's header is looked at before its voxels, and what cannot be used is said, not repaired.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cspine_assets.domain.anatomy import ALLOWED_LABELS
from cspine_assets.domain.errors import CSpineError, GeometryError
from cspine_assets.domain.files import fingerprint_text
from cspine_assets.domain.image_names import without_ending
from cspine_assets.domain.tables.prediction import PREDICTORS
from cspine_assets.domain.volume import read_geometry, read_mask

CARD_FILE: Final = "predictor.json"
MAX_CARD_BYTES: Final = 65_536
"""A card is read as a whole, and shown on the page."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
"""Fit for a partition key, a file name and a line of a log on every system."""

Words = Annotated[str, Field(max_length=2_000)]


class PredictorCard(BaseModel):
    """What a predictor says of itself in ``predictor.json``; every field may be left out.

    Attributes:
        title: A name for people.
        version: Its version.
        provenance: What it learned from, and whether exams of this study were among it.
        reference: Where it is described.
        settings: How it was run.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: Words | None = None
    version: Words | None = None
    provenance: Words | None = None
    reference: Words | None = None
    settings: dict[str, str | int | float | bool | None] = Field(default_factory=dict, max_length=200)

    def settings_text(self) -> str:
        """Returns all but the provenance as one JSON object."""
        said = self.model_dump(exclude_none=True, exclude={"provenance", "settings"})
        return json.dumps({**said, **self.settings}, sort_keys=True)


@dataclass(frozen=True)
class FoundMasks:
    """What lies in a predictor's folder.

    Attributes:
        masks: Mask files by the exam they are named by.
        refused: Why an exam's file is not taken.
        unknown: Names of files and folders that name no exam of the test set.
    """

    masks: Mapping[str, Path]
    refused: Mapping[str, str]
    unknown: tuple[str, ...]


def refusal_of_name(name: str) -> str | None:
    """Returns why a folder cannot be a predictor of this name, or None where it can."""
    if name.lower() in {own.lower() for own in PREDICTORS}:
        return f"external_predictions/{name}: the study's own models are called so. Rename the folder."
    if not _NAME.fullmatch(name):
        return (
            f"external_predictions/{name!r}: expected a name of at most 63 letters, digits, '-' and '_' that begins "
            "with a letter or digit. Rename the folder."
        )
    return None


def predictor_folders(root: Path) -> list[Path]:
    """Returns the folders under ``external_predictions``, sorted; hidden ones and files are passed over."""
    if not root.is_dir():
        return []
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def read_card(folder: Path) -> PredictorCard:
    """Returns what a predictor says of itself; without a card it says nothing.

    Raises:
        CSpineError: The card is too large, no JSON object, or has other fields.
    """
    path = folder / CARD_FILE
    if not path.exists():
        return PredictorCard()
    if path.stat().st_size > MAX_CARD_BYTES:
        raise CSpineError(f"{path}: expected at most {MAX_CARD_BYTES} bytes, got {path.stat().st_size}. Shorten it.")
    try:
        return PredictorCard.model_validate_json(path.read_bytes())
    except ValidationError as error:
        found = "; ".join(f"{'.'.join(map(str, one['loc'])) or 'file'}: {one['msg']}" for one in error.errors()[:5])
        fields = ", ".join(PredictorCard.model_fields)
        raise CSpineError(f"{path}: expected a JSON object with some of {fields}, got: {found}.") from error


def find_masks(folder: Path, exam_ids: Collection[str]) -> FoundMasks:
    """Returns the mask of every exam that the folder names, ``{exam_id}.nii.gz`` or ``{exam_id}.nii``.

    An image of another kind counts as the exam's mask, and is refused when it is read.

    Args:
        folder: The predictor's folder.
        exam_ids: Exams of the test set.
    """
    wanted = set(exam_ids)
    masks: dict[str, Path] = {}
    refused: dict[str, str] = {}
    unknown: list[str] = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name == CARD_FILE:
            continue
        exam = without_ending(path.name) if path.is_file() or path.is_symlink() else None
        if exam is None or exam not in wanted:
            unknown.append(path.name)
        elif exam in masks:
            refused[exam] = f"expected one file, got both {masks[exam].name} and {path.name}"
        else:
            masks[exam] = path
    return FoundMasks({exam: path for exam, path in masks.items() if exam not in refused}, refused, tuple(unknown))


def masks_sha256(predicted: pd.DataFrame) -> str:
    """Returns the fingerprint of an external predictor: of all its masks that can be used, exam by exam.

    Args:
        predicted: Its rows of ``prediction.external_predictions``, or ``exam_id`` and ``sha256`` of them.
    """
    masks = predicted.dropna(subset=["sha256"]).sort_values("exam_id")
    return fingerprint_text(*masks["exam_id"], *masks["sha256"])


def refusal_of_mask(mask: Path, reference: Path) -> str | None:
    """Returns why a mask cannot be scored against its reference, or None where it can.

    The grids must be the same within tolerance, and labels those of the study. The header is compared first: a file
    that claims another size is never unpacked.
    """
    try:
        geometry = read_geometry(mask)
        difference = read_geometry(reference).difference(geometry)
        if difference is not None:
            return f"expected the grid of the reference, but {difference} (reference first)"
        labels = {int(label) for label in np.unique(read_mask(mask).array)}
    except GeometryError as error:
        return str(error)
    if not labels <= ALLOWED_LABELS:
        strange = ", ".join(str(label) for label in sorted(labels - ALLOWED_LABELS))
        return f"expected labels {sorted(ALLOWED_LABELS)}, got also {strange}. Give vertebral bodies 1 and discs 2"
    return None
