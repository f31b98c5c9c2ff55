"""Height, depth and endplates of one body or disc, from the faces of its voxels in the world.

Add a measure of a single piece here. Which piece is which level, and measures of several levels together, stand in
``morphometry``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cspine_assets.domain.evaluation.voxels import Piece
from cspine_assets.domain.volume import Geometry

Vector = NDArray[np.float64]

_CENTRAL: Final = 0.3
"""A face is taken within this part of the piece's size on either side of its middle: rims are rounded or have spurs."""

_PLATE: Final = 0.42
"""The same for a plate's direction, which needs length: a step of one voxel tilts a short plate more."""

_BELOW_DENS: Final = 0.3
"""The lowest part of C2, which is body alone: that is some 40 % of its height, the dens is above."""

_FEWEST: Final = 6
"""Fewer voxel faces make no plane."""

_TURNS: Final = 3
"""How often the piece's own axes are drawn again from its plates; after three they no longer move."""


@dataclass(frozen=True)
class Shape:
    """One piece measured along its own axes.

    Attributes:
        height_mm: Between upper and lower plate at the middle, at right angles to the plane that bisects them.
        depth_mm: From the front to the back face at half the height.
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


def measure_shape(piece: Piece, geometry: Geometry, upwards: Vector, *, has_upper_plate: bool) -> Shape | None:
    """Returns the measures of a body or disc, or None where its faces have too few voxels for a plane.

    Heights follow Frobin et al. (Clin Biomech 1997; 12 Suppl 1: S1; for the neck 2002; 17: 423): between the plates'
    middles, at right angles to the plane half-way between both. A face of a voxel lies half a voxel beyond its centre;
    over a tilted plate the steps cancel out, over one along the grid an error of up to a voxel is left.

    Args:
        piece: Its voxels.
        geometry: Their grid.
        upwards: About its direction towards the head, a unit vector.
        has_upper_plate: False for C2, whose dens stands where others have a plate: only its lower plate says
            anything then.
    """
    if not len(piece):
        return None
    if not has_upper_plate:
        # the dens overhangs: seen from below it must not count as the plate
        height = piece.points_mm @ upwards
        piece = piece.part(height < np.percentile(height, 1) + _BELOW_DENS * np.ptp(height))
    lateral, upper, lower = lateral_axis(geometry), upwards, upwards
    for _ in range(_TURNS):
        axes = _axes((upper + lower) / 2, lateral)
        ends = [_faces(piece, geometry, axes[0], side) for side in (1, -1)]
        plates = [_central(faces, piece, axes, across=(1, 2), share=_PLATE) for faces in ends]
        if min(map(len, plates)) < _FEWEST:
            return None
        lower = _normal(plates[1], axes)
        upper = _normal(plates[0], axes) if has_upper_plate else lower
    ends = [_central(faces, piece, axes, across=(1, 2)) for faces in ends]
    fronts = [_central(_faces(piece, geometry, axes[1], side), piece, axes, across=(0, 2)) for side in (1, -1)]
    if min(map(len, [*ends, *fronts])) < _FEWEST:
        return None
    return Shape(
        height_mm=float(np.mean(ends[0] @ axes[0]) - np.mean(ends[1] @ axes[0])),
        depth_mm=float(np.mean(fronts[0] @ axes[1]) - np.mean(fronts[1] @ axes[1])),
        upper_normal=upper,
        lower_normal=lower,
    )


def _axes(upwards: Vector, lateral: Vector) -> Vector:
    """Returns the unit vectors up, forwards and to the right as rows: up is made square to the right."""
    up = upwards - (upwards @ lateral) * lateral
    up = up / np.linalg.norm(up)
    forwards = np.cross(up, lateral)
    return np.stack([up, forwards, lateral])


def _faces(piece: Piece, geometry: Geometry, towards: Vector, side: int) -> Vector:
    """Returns the outermost voxel faces in one direction, shape (n, 3): one for each line of voxels along the grid."""
    steps = geometry.affine[:3, :3]
    along = geometry.direction.T @ (towards * side)
    axis = int(np.argmax(np.abs(along)))
    sign = 1 if along[axis] > 0 else -1
    others = [other for other in range(3) if other != axis]
    line = piece.indices[:, others[0]] * geometry.shape[others[1]] + piece.indices[:, others[1]]
    order = np.lexsort((-sign * piece.indices[:, axis], line))
    first = np.unique(line[order], return_index=True)[1]
    faces: Vector = piece.points_mm[order[first]] + sign * steps[:, axis] / 2
    return faces


def _central(faces: Vector, piece: Piece, axes: Vector, *, across: tuple[int, int], share: float = _CENTRAL) -> Vector:
    """Returns the faces near the piece's middle along two of its axes."""
    kept = np.ones(len(faces), dtype=bool)
    for axis in across:
        places = piece.points_mm @ axes[axis]
        low, high = np.percentile(places, (1, 99))
        kept &= np.abs(faces @ axes[axis] - (low + high) / 2) <= share * (high - low) + 1e-6
    central: Vector = faces[kept]
    return central


def _normal(faces: Vector, axes: Vector) -> Vector:
    """Returns the upward unit normal, within the sagittal plane, of the plane through faces."""
    height, forwards, right = ((faces - faces.mean(axis=0)) @ axes.T).T
    slope = np.linalg.lstsq(np.stack([forwards, right], axis=1), height, rcond=None)[0][0]
    normal = axes[0] - slope * axes[1]
    unit: Vector = normal / np.linalg.norm(normal)
    return unit
