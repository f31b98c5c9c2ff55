"""Labels, structures and spinal levels: the only place where a label number is written.

Add here what is true of every cervical spine and of every CSpineSeg mask.
Measurements, file formats and thresholds do not belong here.
"""

from __future__ import annotations

from enum import StrEnum
from itertools import pairwise
from typing import Final


class Structure(StrEnum):
    """A segmented structure; the value is its name in every table."""

    VERTEBRAL_BODY = "vertebral_body"
    INTERVERTEBRAL_DISC = "intervertebral_disc"


BACKGROUND: Final = 0

LABELS: Final[dict[Structure, int]] = {
    Structure.VERTEBRAL_BODY: 1,
    Structure.INTERVERTEBRAL_DISC: 2,
}
"""Label of each structure in a CSpineSeg mask (Sci Data 12:1695)."""

ALLOWED_LABELS: Final[frozenset[int]] = frozenset({BACKGROUND, *LABELS.values()})

NNUNET_LABEL_NAMES: Final[dict[str, int]] = {"background": BACKGROUND, "vertebrae": 1, "disc": 2}
"""Label names as the published study wrote them into nnU-Net's ``dataset.json``."""

VERTEBRAE: Final[tuple[str, ...]] = ("C2", "C3", "C4", "C5", "C6", "C7", "T1")
"""Bodies of the study's field of view, superior to inferior."""

DISC_LEVELS: Final[tuple[str, ...]] = tuple(f"{upper}/{lower}" for upper, lower in pairwise(VERTEBRAE))
"""Discs between neighbouring bodies, superior to inferior: C2/C3 ... C7/T1."""

LEVELS: Final[dict[Structure, tuple[str, ...]]] = {
    Structure.VERTEBRAL_BODY: VERTEBRAE,
    Structure.INTERVERTEBRAL_DISC: DISC_LEVELS,
}
"""Names of the levels at which each structure is found, superior to inferior."""
