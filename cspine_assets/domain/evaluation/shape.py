"""Height, depth and endplates of one body or disc, from the faces of its voxels in the world.

Add a measure of a single piece here. Which piece is which level, and measures of several levels together, stand in
``morphometry``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import trim_mean

from cspine_assets.domain.evaluation.voxels import Piece
from cspine_assets.domain.volume import Geometry

Vector = NDArray[np.float64]

_CENTRAL: Final = 0.3
"""A face is taken within this part of the piece's size about its middle: rims are rounded or have spurs."""

_PLATE: Final = 0.42
"""The same for a plate's direction, which needs length: a step of one voxel tilts a short plate more. From 0.5 on,
where a round body ends, the faces of its walls would be taken for the plate's."""

_MIDDLE: Final = 0.1
"""Depth is taken within this part of the width about the middle, one slice at least: a round body is less deep beside
it, 6 % in the mean of its middle 60 %."""

_BELOW_DENS: Final = 0.3
"""The lowest part of C2, which is body alone: that is some 40 % of its height, the dens is above."""

_FEWEST: Final = 6
"""Fewer voxel faces make no plane."""

_THIN: Final = 0.5
"""A line of voxels from plate to plate with less than this part of the median line's is a spur's or a leak's, which
must not move the middle. A wedge stays whole: an end with a third of the other's height has half of the median."""

_BESIDE_MM: Final = 1.0
"""A face this far off the plate's plane counts a quarter when the plane is drawn again, and at least a voxel: a rim has
spurs."""

_DRAWN: Final = 9
"""How often a plane is drawn: from then on it hardly moves."""

_TRIMMED: Final = 0.25
"""Of the faces that are averaged so many are left out at both ends: a bump of a few voxels moves no height."""

_TURNS: Final = 3
"""How often the piece's own axes are drawn again from its plates; after three they no longer move."""

_OWN: Final = 0.5
"""So many of a plate's faces must border on something else: behind the others a merged piece goes on beyond the cut."""


class Unmeasured(StrEnum):
    """Why a piece has no shape."""

    TOO_SMALL = "it has too few voxels for its plates"
    CUT = "it is merged with a neighbour, and an end of it was made by a cut"


@dataclass(frozen=True)
class Shape:
    """One piece measured along its own axes.

    Attributes:
        height_mm: Between upper and lower plate at the middle, at right angles to the plane that bisects them.
        depth_mm: From the front to the back face at half the height, in the middle slices.
        upper_normal: Unit vector of the upper plate, upwards.
        lower_normal: Unit vector of the lower plate, upwards.
    """

    height_mm: float
    depth_mm: float
    upper_normal: Vector
    lower_normal: Vector


def lateral_axis(geometry: Geometry) -> Vector:
    """Returns the unit vector from slice to slice, towards the patient's right: slices are laid along the spine."""
    axis: Vector = geometry.direction[:, geometry.slice_axis]
    return axis if axis[0] > 0 else -axis


def measure_shape(
    piece: Piece, mask: NDArray[np.bool_], geometry: Geometry, upwards: Vector, *, has_upper_plate: bool
) -> Shape | Unmeasured:
    """Returns the measures of a body or disc, or why there are none.

    Height is taken at right angles to the plane half-way, as Frobin et al. take that of discs (Clin Biomech 1997; 12
    Suppl 1: S1; for the neck 2002; 17: 423). Theirs is of the corners of a radiograph, ours of the middle of both
    plates, within 30 % of depth and width: of the depth of a hollow plate some 80 % counts. A face of a voxel lies half
    a voxel beyond its centre; over a tilted plate the steps cancel out, over one along the grid an error of up to a
    voxel is left.

    Args:
        piece: Its voxels.
        mask: All voxels of its structure: where it goes on beyond the piece, that was cut out of a merged one.
        geometry: Their grid.
        upwards: About its direction towards the head, a unit vector.
        has_upper_plate: False for C2, whose dens stands where others have a plate: only its lower plate says
            anything then.
    """
    if not len(piece):
        return Unmeasured.TOO_SMALL
    if not has_upper_plate:
        # the dens overhangs: seen from below it must not count as the plate
        height = piece.points_mm @ upwards
        piece = piece.part(height < np.percentile(height, 1) + _BELOW_DENS * np.ptp(height))
    plates = _plates(piece, geometry, upwards, has_upper_plate=has_upper_plate)
    if plates is None:
        return Unmeasured.TOO_SMALL
    if any(_own_share(end, mask, geometry, plates.axes[0] * side) < _OWN for side, end in plates.of_own.items()):
        return Unmeasured.CUT
    up = plates.axes[0]
    core = _core(piece, geometry, up)
    top, bottom = (_central(_faces(piece, geometry, up * side), core, plates.axes[1:]) @ up for side in (1, -1))
    if min(len(top), len(bottom)) < _FEWEST:
        return Unmeasured.TOO_SMALL
    upper, lower = _mean(top), _mean(bottom)
    depth = _depth(piece, geometry, plates.axes, half_way=(upper + lower) / 2, reach=_CENTRAL * (upper - lower))
    if depth is None:
        return Unmeasured.TOO_SMALL
    return Shape(upper - lower, depth, plates.upper_normal, plates.lower_normal)


def _depth(piece: Piece, geometry: Geometry, axes: Vector, *, half_way: float, reach: float) -> float | None:
    """Returns the depth of the middle slices within some reach of half the height, None where no face lies there."""
    up, forwards, lateral = axes
    middle = _middle(piece, geometry, lateral)
    walls = [_faces(middle, geometry, forwards * side) for side in (1, -1)]
    front, back = (wall[np.abs(wall @ up - half_way) <= reach + 1e-6] @ forwards for wall in walls)
    return _mean(front) - _mean(back) if min(len(front), len(back)) else None


def _mean(places_mm: Vector) -> float:
    """Returns the mean of the middle half of some places."""
    return float(trim_mean(places_mm, _TRIMMED))


@dataclass(frozen=True)
class _Plates:
    """A piece's plates, and the axes that follow from them.

    Attributes:
        axes: Unit vectors up, forwards and to the right as rows.
        upper_normal: Unit vector of the upper plate, upwards; the lower one's where there is no upper plate.
        lower_normal: Unit vector of the lower plate, upwards.
        of_own: Faces of each plate that the piece has: 1 is the upper, -1 the lower.
    """

    axes: Vector
    upper_normal: Vector
    lower_normal: Vector
    of_own: dict[int, Vector]


def _plates(piece: Piece, geometry: Geometry, upwards: Vector, *, has_upper_plate: bool) -> _Plates | None:
    """Returns the plates of a piece, or None where they have too few faces for a plane."""
    lateral, upper, lower = lateral_axis(geometry), upwards, upwards
    sides = (1, -1) if has_upper_plate else (-1,)
    for _ in range(_TURNS):
        axes = _axes((upper + lower) / 2, lateral)
        core = _core(piece, geometry, axes[0])
        ends = {side: _central(_faces(piece, geometry, axes[0] * side), core, axes[1:], share=_PLATE) for side in sides}
        if min(map(len, ends.values())) < _FEWEST:
            return None
        off_mm = max(_BESIDE_MM, float(np.linalg.norm(geometry.affine[:3, :3] @ _step(geometry, axes[0]))))
        lower = _normal(ends[-1], axes, off_mm)
        upper = _normal(ends[1], axes, off_mm) if has_upper_plate else lower
    return _Plates(axes, upper, lower, ends)


def _axes(upwards: Vector, lateral: Vector) -> Vector:
    """Returns the unit vectors up, forwards and to the right as rows: up is made square to the right."""
    up = upwards - (upwards @ lateral) * lateral
    up = up / np.linalg.norm(up)
    forwards = np.cross(up, lateral)
    return np.stack([up, forwards, lateral])


def _faces(piece: Piece, geometry: Geometry, towards: Vector) -> Vector:
    """Returns the outermost voxel faces in one direction, shape (n, 3): one for each line of voxels along the grid."""
    step = _step(geometry, towards)
    line = _lines(piece, geometry, step)
    order = np.lexsort((-piece.indices @ step, line))
    first = np.unique(line[order], return_index=True)[1]
    faces: Vector = piece.points_mm[order[first]] + geometry.affine[:3, :3] @ step / 2
    return faces


def _core(piece: Piece, geometry: Geometry, up: Vector) -> Piece:
    """Returns the voxels of a piece without lines from plate to plate that are much shorter than others."""
    line = _lines(piece, geometry, _step(geometry, up))
    _, owner, length = np.unique(line, return_inverse=True, return_counts=True)
    return piece.part((length >= _THIN * np.median(length))[owner])


def _lines(piece: Piece, geometry: Geometry, step: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns for each voxel the number of its line along a step of the grid."""
    first, second = np.flatnonzero(step == 0)
    lines: NDArray[np.int64] = piece.indices[:, first] * geometry.shape[second] + piece.indices[:, second]
    return lines


def _step(geometry: Geometry, towards: Vector) -> NDArray[np.int64]:
    """Returns the step of one voxel along the grid's axis that is nearest to a direction."""
    along = geometry.direction.T @ towards
    step = np.zeros(3, np.int64)
    axis = int(np.argmax(np.abs(along)))
    step[axis] = 1 if along[axis] > 0 else -1
    return step


def _own_share(faces: Vector, mask: NDArray[np.bool_], geometry: Geometry, towards: Vector) -> float:
    """Returns the share of faces behind which the mask, or the volume, ends."""
    places = np.linalg.solve(geometry.affine[:3, :3], (faces - geometry.origin_mm).T).T
    beyond = np.rint(places + _step(geometry, towards) / 2).astype(np.int64)
    is_inside = ((beyond >= 0) & (beyond < mask.shape)).all(axis=1)
    return 1 - float(np.count_nonzero(mask[tuple(beyond[is_inside].T)])) / len(faces)


def _middle(piece: Piece, geometry: Geometry, lateral: Vector) -> Piece:
    """Returns the voxels of the middle slices."""
    places = piece.points_mm @ lateral
    low, high = np.percentile(places, (1, 99))
    reach = max(_MIDDLE * (high - low), geometry.spacing_mm[geometry.slice_axis] / 2)
    return piece.part(np.abs(places - (low + high) / 2) <= reach + 1e-6)


def _central(faces: Vector, piece: Piece, across: Vector, *, share: float = _CENTRAL) -> Vector:
    """Returns the faces near a piece's middle, within an ellipse: bodies are round.

    Args:
        faces: Faces, shape (n, 3).
        piece: Whose they are.
        across: Unit vectors of two axes as rows.
        share: How far from the middle they may lie, in the piece's size.
    """
    low, high = np.percentile(piece.points_mm @ across.T, (1, 99), axis=0)
    off = (faces @ across.T - (low + high) / 2) / (share * (high - low) + 1e-6)
    central: Vector = faces[(off**2).sum(axis=1) <= 1]
    return central


def _normal(faces: Vector, axes: Vector, off_mm: float) -> Vector:
    """Returns the upward unit normal, within the sagittal plane, of the plane through faces.

    Args:
        faces: Faces of one plate.
        axes: Unit vectors up, forwards and to the right as rows.
        off_mm: A face so far off the plane counts a quarter.
    """
    height, forwards, right = ((faces - faces.mean(axis=0)) @ axes.T).T
    places = np.stack([forwards, right, np.ones_like(height)], axis=1)
    trust = np.ones(len(faces))
    for _ in range(_DRAWN):
        root = np.sqrt(trust)
        plane = np.linalg.lstsq(places * root[:, None], height * root, rcond=None)[0]
        trust = 1 / (1 + ((height - places @ plane) / off_mm) ** 2) ** 2
    normal = axes[0] - plane[0] * axes[1]
    unit: Vector = normal / np.linalg.norm(normal)
    return unit
