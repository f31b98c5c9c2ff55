"""A reference and a prediction, read onto one grid with the study's label numbers.

Whatever has to be settled before two masks may be compared lives here: files, geometry, label numbers. Measuring
them does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cspine_assets.domain.anatomy import ALLOWED_LABELS, LABELS, Structure
from cspine_assets.domain.errors import CSpineError, GeometryError
from cspine_assets.domain.plain_nifti import Scratch
from cspine_assets.domain.volume import STRICT, Allowance, Geometry, read_mask


@dataclass(frozen=True)
class MaskPair:
    """Two masks on one grid, both with the study's labels.

    Attributes:
        reference: The mask that is taken as true.
        prediction: The mask that is judged.
        geometry: Grid of the reference; the prediction's is the same within tolerance.
    """

    reference: NDArray[np.uint8]
    prediction: NDArray[np.uint8]
    geometry: Geometry


@dataclass(frozen=True)
class PairScratch:
    """Memory to read many pairs with, one after another; a pair is gone when the next one is read."""

    reference: Scratch = field(default_factory=Scratch)
    prediction: Scratch = field(default_factory=Scratch)


def read_mask_pair(
    reference_path: Path,
    prediction_path: Path | None,
    *,
    labels: Mapping[Structure, int],
    scratch: PairScratch | None = None,
    allowed: Allowance = STRICT,
) -> MaskPair:
    """Returns two mask files with their labels made the study's.

    Args:
        reference_path: Mask that is taken as true.
        prediction_path: Mask that is judged, or None where there is none: then it is empty.
        labels: Number of each structure in both files. Other labels become background.
        scratch: Memory to read many pairs with; None for a pair that stays.
        allowed: What is allowed of both files beyond the rules.

    Raises:
        GeometryError: A file cannot be read, or the grids differ; the message names the difference.
        CSpineError: A mask has labels, but none of those asked for.
    """
    scratch = scratch or PairScratch()
    reference = read_mask(reference_path, scratch=scratch.reference, allowed=allowed)
    renamed = relabel(reference.array, labels=labels, name=str(reference_path))
    if prediction_path is None:
        return MaskPair(renamed, np.zeros_like(renamed), reference.geometry)
    prediction = read_mask(prediction_path, scratch=scratch.prediction, allowed=allowed)
    difference = reference.geometry.difference(prediction.geometry)
    if difference is not None:
        raise GeometryError(
            f"{prediction_path}: expected the grid of the reference {reference_path}, but {difference} "
            "(reference first). Resample the prediction onto the reference's grid."
        )
    return MaskPair(renamed, relabel(prediction.array, labels=labels, name=str(prediction_path)), reference.geometry)


def relabel(mask: NDArray[np.generic], *, labels: Mapping[Structure, int], name: str = "mask") -> NDArray[np.uint8]:
    """Returns a mask with the study's labels; anything that is not asked for becomes background.

    Args:
        mask: Labels between 0 and 255.
        labels: Number of each structure in the mask; a structure left out has no voxel in the result.
        name: File or exam, for the error's message.

    Raises:
        CSpineError: The mask has labels, but none of those asked for: a wrong mapping would look like empty masks.
    """
    if dict(labels) == LABELS and _nothing_else_up_to(mask.max(initial=0)):
        return mask.astype(np.uint8, copy=False)
    table = np.zeros(256, np.uint8)
    for structure, label in labels.items():
        table[label] = LABELS[structure]
    found = np.flatnonzero(np.bincount(mask.ravel(order="K"), minlength=256))
    found = found[found > 0]
    if found.size and not table[found].any():
        asked = ", ".join(f"{structure}={label}" for structure, label in labels.items())
        raise CSpineError(
            f"{name}: expected labels {asked}, got only {', '.join(map(str, found))}. "
            "Say which label numbers the structures have."
        )
    renamed: NDArray[np.uint8] = table[mask]
    return renamed


def _nothing_else_up_to(highest: int) -> bool:
    """Whether every number up to the highest of a mask is one of the study's, so that none has to be looked for."""
    return ALLOWED_LABELS.issuperset(range(highest + 1))
