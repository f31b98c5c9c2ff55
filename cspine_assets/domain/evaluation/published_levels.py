"""Disc levels by the published study's rule, with its exclusions counted instead of made by hand.

Change nothing here that moves a number: the rule is kept to compare with what was published. Levels by anatomy
stand in ``levels``.
"""

from __future__ import annotations

from typing import Final

import cc3d
import numpy as np
from numpy.typing import NDArray

from cspine_assets.domain.anatomy import DISC_LEVELS, LABELS, Structure
from cspine_assets.domain.evaluation.flags import Flag
from cspine_assets.domain.evaluation.level_score import LevelScore, LevelStatus, Protocol, View, all_excluded

BY_RANK: Final = "rank among the components of the middle slice"
"""By what the published rule names a level, in words."""


def measure_published_levels(
    reference: NDArray[np.uint8], prediction: NDArray[np.uint8], *, slice_axis: int
) -> list[LevelScore]:
    """Returns six levels by the published study's rule, or six exclusions with their reason.

    The rule: 8-connected disc components of the slice ``n // 2``, their centroids sorted by column (the second axis
    of the slice in array order) from high to low and named in that order; Dice of the j-th to the j-th component.
    Fewer than six in either mask exclude the exam. A missing or extra component shifts every name after it, and the
    order is right only where the second axis points up: the rule is kept to compare with published numbers.

    Args:
        reference: Mask with the study's labels.
        prediction: Mask on the same grid.
        slice_axis: Array axis along which sagittal slices lie.
    """
    disc = LABELS[Structure.INTERVERTEBRAL_DISC]
    middle = reference.shape[slice_axis] // 2
    # an index is a view; np.take would copy a whole volume that is laid column by column
    plane = (*[slice(None)] * slice_axis, middle)
    planes = [mask[plane] == disc for mask in (reference, prediction)]
    seen = planes[0] | planes[1]
    box = tuple(slice(*_ends(np.flatnonzero(seen.any(axis=1 - axis)))) for axis in range(2))
    true, found = (components_by_column(one[box]) for one in planes)
    wanted = len(DISC_LEVELS)
    flags = (Flag.COMPONENTS_EXTRA,) if max(len(true), len(found)) > wanted else ()
    if min(len(true), len(found)) < wanted:
        reason = (
            f"expected {wanted} components in the middle slice, "
            f"got {len(true)} in the reference and {len(found)} in the prediction"
        )
        return all_excluded(
            Structure.INTERVERTEBRAL_DISC,
            View.MID_SAGITTAL,
            Protocol.PAPER,
            reason=reason,
            flags=flags,
            named_by=BY_RANK,
        )
    return [
        LevelScore(
            structure=Structure.INTERVERTEBRAL_DISC,
            level=level,
            view=View.MID_SAGITTAL,
            protocol=Protocol.PAPER,
            status=LevelStatus.OK,
            dice=2 * int(np.sum(one & other)) / int(one.sum() + other.sum()),
            flags=flags,
            reason=None,
            named_by=BY_RANK,
        )
        for level, one, other in zip(DISC_LEVELS, true, found, strict=False)
    ]


def components_by_column(plane: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """Returns the 8-connected components of a slice, the one with the highest mean column first."""
    labels, count = cc3d.connected_components(plane, connectivity=8, return_N=True)
    components = [labels == number for number in range(1, count + 1)]
    return sorted(components, key=lambda component: -float(np.mean(np.nonzero(component)[1])))


def _ends(places: NDArray[np.int64]) -> tuple[int, int]:
    """Returns the first place and the one after the last, an empty range where there is none."""
    return (int(places[0]), int(places[-1]) + 1) if places.size else (0, 0)
