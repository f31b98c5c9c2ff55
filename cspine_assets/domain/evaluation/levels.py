"""Dice of every disc level: each level of each view is scored or has its reason.

Add a structure here. How a level gets its name stands in the naming modules, a row's place among patients and
predictors in ``score``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cspine_assets.domain.anatomy import DISC_LEVELS, LABELS, Structure
from cspine_assets.domain.evaluation.flags import Flag
from cspine_assets.domain.evaluation.level_naming import NONE, NamedDiscs, name_prediction, name_reference
from cspine_assets.domain.evaluation.level_score import LEVEL_STATUS, LevelScore, Protocol, View, all_excluded
from cspine_assets.domain.evaluation.overlap import status_of
from cspine_assets.domain.evaluation.published_levels import measure_published_levels
from cspine_assets.domain.evaluation.spine_frame import SpineFrame, build_spine_frame
from cspine_assets.domain.volume import Geometry, middle_slice

_DISC: Final = LABELS[Structure.INTERVERTEBRAL_DISC]
_BODY: Final = LABELS[Structure.VERTEBRAL_BODY]


def measure_levels(reference: NDArray[np.uint8], prediction: NDArray[np.uint8], geometry: Geometry) -> list[LevelScore]:
    """Returns all level scores of an exam: both views by anatomy, and the published rule on the middle slice.

    Always six levels for each of the three, in this order.

    Args:
        reference: Mask with the study's labels.
        prediction: Mask on the same grid.
        geometry: That grid.
    """
    return [
        *measure_anatomical_levels(reference, prediction, geometry),
        *measure_published_levels(reference, prediction, slice_axis=geometry.slice_axis),
    ]


def measure_anatomical_levels(
    reference: NDArray[np.uint8], prediction: NDArray[np.uint8], geometry: Geometry
) -> list[LevelScore]:
    """Returns six levels of the middle slice and six of the volume, named by the reference's bodies in the world.

    Names are found once, in 3-D; the middle slice shows a part of the same discs under the same names.

    Args:
        reference: Mask with the study's labels.
        prediction: Mask on the same grid.
        geometry: That grid.
    """
    frame = build_spine_frame(reference == _BODY, geometry.affine)
    if frame is None:
        reason = "the reference has no vertebral body to name levels by"
        return [row for view in View for row in all_excluded(view, Protocol.ANATOMICAL, reason, ())]
    true = name_reference(reference == _DISC, geometry.affine, frame)
    found = name_prediction(prediction == _DISC, geometry.affine, frame, true)
    true_map, found_map = true.level_map(reference.shape), found.level_map(reference.shape)
    middle = middle_slice(geometry)
    shown = {
        View.MID_SAGITTAL: _Voxels.of(
            np.take(true_map, middle, geometry.slice_axis), np.take(found_map, middle, geometry.slice_axis)
        ),
        View.VOLUME: _Voxels.of(true_map, found_map),
    }
    return [
        _score_level(index, view, shown[view], flags=_flags_of(index, frame, true, found), bodies=len(frame))
        for view in View
        for index in range(1, len(DISC_LEVELS) + 1)
    ]


@dataclass(frozen=True)
class _Voxels:
    """Number of voxels by level index in the reference, in the prediction, and in both."""

    reference: NDArray[np.int64]
    prediction: NDArray[np.int64]
    both: NDArray[np.int64]

    @classmethod
    def of(cls, true_map: NDArray[np.int8], found_map: NDArray[np.int8]) -> _Voxels:
        """Returns the counts of two level maps of one shape."""
        common = true_map[(true_map == found_map) & (true_map != NONE)]
        return cls(*(_count(levels) for levels in (true_map[true_map != NONE], found_map[found_map != NONE], common)))


def _count(levels: NDArray[np.int8]) -> NDArray[np.int64]:
    """Returns how often each level index occurs."""
    return np.bincount(levels, minlength=len(DISC_LEVELS) + 1)


def _flags_of(index: int, frame: SpineFrame, true: NamedDiscs, found: NamedDiscs) -> tuple[Flag, ...]:
    """Returns all findings of a level, sorted."""
    nothing: set[Flag] = set()
    return tuple(sorted(frame.flags_of(index) | true.flags.get(index, nothing) | found.flags.get(index, nothing)))


def _score_level(index: int, view: View, voxels: _Voxels, *, flags: tuple[Flag, ...], bodies: int) -> LevelScore:
    """Returns the score of one level by anatomy; missing is the prediction, spurious the reference that is empty."""
    n_reference, n_prediction = int(voxels.reference[index]), int(voxels.prediction[index])
    total = n_reference + n_prediction
    reason = None
    if not total:
        where = "in the volume" if view is View.VOLUME else "in the middle slice"
        reason = f"neither mask has this disc {where}" if index <= bodies else "lies below the reference's bodies"
    return LevelScore(
        level=DISC_LEVELS[index - 1],
        view=view,
        protocol=Protocol.ANATOMICAL,
        status=LEVEL_STATUS[status_of(n_reference, n_prediction)],
        dice=2 * int(voxels.both[index]) / total if total else None,
        flags=flags,
        reason=reason,
    )
