"""Height, depth and endplates of one body or disc, from the faces of its voxels in the world.

Add a measure of a single piece here. Which piece is which level, and measures of several levels together, stand in
``morphometry``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cspine_assets.domain.evaluation.voxels import Piece, percentiles
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

_FLAT: Final = 1e-9
"""Faces that spread less than this to one side, against the other, lie in a row: there is no slope across it."""

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
    piece: Piece,
    mask: NDArray[np.generic],
    geometry: Geometry,
    upwards: Vector,
    *,
    has_upper_plate: bool,
    label: int = True,
) -> Shape | Unmeasured:
    """Returns the measures of a body or disc, or why there are none.

    Height is taken at right angles to the plane half-way, as Frobin et al. take that of discs (Clin Biomech 1997; 12
    Suppl 1: S1; for the neck 2002; 17: 423). Theirs is of the corners of a radiograph, ours of the middle of both
    plates, within 30 % of depth and width: of the depth of a hollow plate some 80 % counts. A face of a voxel lies half
    a voxel beyond its centre; over a tilted plate the steps cancel out, over one along the grid an error of up to a
    voxel is left.

    Args:
        piece: Its voxels.
        mask: Mask with all voxels of its structure: where it goes on beyond the piece, that was cut out of a merged
            one.
        geometry: Their grid.
        upwards: About its direction towards the head, a unit vector.
        has_upper_plate: False for C2, whose dens stands where others have a plate: only its lower plate says
            anything then.
        label: Label of the structure in the mask.
    """
    if len(piece) and not has_upper_plate:
        # the dens overhangs: seen from below it must not count as the plate
        height = piece.points_mm @ upwards
        piece = piece.part(height < percentiles(height, 1, 99)[0] + _BELOW_DENS * np.ptp(height))
    if not len(piece):
        return Unmeasured.TOO_SMALL
    solid = _Solid(piece, geometry)
    plates = _plates(solid, upwards, has_upper_plate=has_upper_plate)
    if plates is None:
        return Unmeasured.TOO_SMALL
    if any(_own_share(end, mask, label, geometry, plates.axes[0] * side) < _OWN for side, end in plates.of_own.items()):
        return Unmeasured.CUT
    up = plates.axes[0]
    middle = _Ellipse.of(solid.core_mm(up), plates.axes[1:], share=_CENTRAL)
    top, bottom = (middle.within(solid.faces_mm(up * side)) @ up for side in (1, -1))
    if min(len(top), len(bottom)) < _FEWEST:
        return Unmeasured.TOO_SMALL
    upper, lower = _mean(top), _mean(bottom)
    depth = _depth(solid, plates.axes, half_way=(upper + lower) / 2, reach=_CENTRAL * (upper - lower))
    if depth is None:
        return Unmeasured.TOO_SMALL
    return Shape(upper - lower, depth, plates.upper_normal, plates.lower_normal)


def _depth(solid: _Solid, axes: Vector, *, half_way: float, reach: float) -> float | None:
    """Returns the depth of the middle slices within some reach of half the height, None where no face lies there."""
    up, forwards, lateral = axes
    middle = _Solid(_middle(solid.piece, solid.geometry, lateral), solid.geometry)
    walls = [middle.faces_mm(forwards * side) for side in (1, -1)]
    front, back = (wall[np.abs(wall @ up - half_way) <= reach + 1e-6] @ forwards for wall in walls)
    return _mean(front) - _mean(back) if min(len(front), len(back)) else None


def _mean(places_mm: Vector) -> float:
    """Returns the mean of the middle half of some places: ``scipy.stats.trim_mean``, without its checks."""
    left_out = int(_TRIMMED * len(places_mm))
    kept = slice(left_out, len(places_mm) - left_out)
    return float(np.mean(np.partition(places_mm, (kept.start, kept.stop - 1))[kept]))


@dataclass(frozen=True)
class _Lines:
    """What the lines of voxels of a piece along one axis of the grid tell, in the order of the two other axes.

    Attributes:
        faces_mm: Outermost voxel faces, one of each line, by the direction in which they look along the axis, 1 or -1.
        core_mm: Voxels without those of lines that are much shorter than the median line, shape (n, 3).
    """

    faces_mm: dict[int, Vector]
    core_mm: Vector


@dataclass(frozen=True)
class _Solid:
    """A piece as a small box of voxels, so that its lines along the grid are found without sorting, and found once.

    Attributes:
        piece: Its voxels, one at least.
        geometry: Their grid.
    """

    piece: Piece
    geometry: Geometry
    _known: dict[int, _Lines] = field(default_factory=dict)

    def faces_mm(self, towards: Vector) -> Vector:
        """Returns the outermost voxel faces in one direction, shape (n, 3): one for each line along the grid."""
        axis, side = _nearest_axis(self.geometry, towards)
        return self._lines(axis).faces_mm[side]

    def core_mm(self, up: Vector) -> Vector:
        """Returns the voxels, shape (n, 3), without lines from plate to plate that are much shorter than others."""
        return self._lines(_nearest_axis(self.geometry, up)[0]).core_mm

    def _lines(self, axis: int) -> _Lines:
        if axis not in self._known:
            self._known[axis] = self._find_lines(axis)
        return self._known[axis]

    def _find_lines(self, axis: int) -> _Lines:
        if not len(self.piece):
            none = np.empty((0, 3))
            return _Lines({-1: none, 1: none}, none)
        within = np.ascontiguousarray(self.piece.indices.T)
        start = within.min(axis=1)
        within = within - start[:, None]
        solid = np.zeros(within.max(axis=1) + 1, np.bool_)
        solid[tuple(within)] = True
        box = np.moveaxis(solid, axis, 0)
        length = np.count_nonzero(box, axis=0)
        across = np.nonzero(length)
        faces_mm, affine = {}, self.geometry.affine
        for side, end in ((-1, box.argmax(axis=0)), (1, len(box) - 1 - box[::-1].argmax(axis=0))):
            places = list(across)
            places.insert(axis, end[across])
            beyond = affine[:3, 3] + affine[:3, axis] * side / 2
            faces_mm[side] = (np.array(places).T + start) @ affine[:3, :3].T + beyond
        ordered = np.sort(length[across])
        median = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
        is_core = length >= _THIN * median
        other, another = (within[one] for one in range(3) if one != axis)
        return _Lines(faces_mm, self.piece.points_mm[is_core[other, another]])


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


def _plates(solid: _Solid, upwards: Vector, *, has_upper_plate: bool) -> _Plates | None:
    """Returns the plates of a piece, or None where they have too few faces for a plane."""
    geometry = solid.geometry
    lateral, upper, lower = lateral_axis(geometry), upwards, upwards
    sides = (1, -1) if has_upper_plate else (-1,)
    for _ in range(_TURNS):
        axes = _axes((upper + lower) / 2, lateral)
        middle = _Ellipse.of(solid.core_mm(axes[0]), axes[1:], share=_PLATE)
        ends = {side: middle.within(solid.faces_mm(axes[0] * side)) for side in sides}
        if min(map(len, ends.values())) < _FEWEST:
            return None
        off_mm = max(_BESIDE_MM, geometry.spacing_mm[_nearest_axis(geometry, axes[0])[0]])
        normals = _normals(list(ends.values()), axes, off_mm)
        upper, lower = normals[0], normals[-1]
    return _Plates(axes, upper, lower, ends)


def _axes(upwards: Vector, lateral: Vector) -> Vector:
    """Returns the unit vectors up, forwards and to the right as rows: up is made square to the right."""
    up = upwards - (upwards @ lateral) * lateral
    up = up / np.linalg.norm(up)
    # the cross product by hand: numpy's takes as long as a plate
    (a, b, c), (x, y, z) = up.tolist(), lateral.tolist()
    return np.array([up, [b * z - c * y, c * x - a * z, a * y - b * x], lateral])


def _nearest_axis(geometry: Geometry, towards: Vector) -> tuple[int, int]:
    """Returns the grid's axis that is nearest to a direction, and whether it runs with it, 1, or against it, -1."""
    along = geometry.direction.T @ towards
    axis = int(np.argmax(np.abs(along)))
    return axis, 1 if along[axis] > 0 else -1


def _own_share(faces: Vector, mask: NDArray[np.generic], label: int, geometry: Geometry, towards: Vector) -> float:
    """Returns the share of faces behind which the mask, or the volume, ends."""
    places = np.linalg.solve(geometry.affine[:3, :3], (faces - geometry.origin_mm).T).T
    axis, side = _nearest_axis(geometry, towards)
    places[:, axis] += side / 2
    beyond = np.rint(places).astype(np.int64)
    is_inside = ((beyond >= 0) & (beyond < mask.shape)).all(axis=1)
    return 1 - float(np.count_nonzero(mask[tuple(beyond[is_inside].T)] == label)) / len(faces)


def _middle(piece: Piece, geometry: Geometry, lateral: Vector) -> Piece:
    """Returns the voxels of the middle slices."""
    places = piece.points_mm @ lateral
    low, high = (float(place) for place in percentiles(places, 1, 99))
    reach = max(_MIDDLE * (high - low), geometry.spacing_mm[geometry.slice_axis] / 2)
    return piece.part(np.abs(places - (low + high) / 2) <= reach + 1e-6)


@dataclass(frozen=True)
class _Ellipse:
    """The middle of a piece seen from above: bodies are round.

    Attributes:
        across: Unit vectors of two axes as rows.
        centre: Its middle along both.
        radius: How far it reaches along both.
    """

    across: Vector
    centre: Vector
    radius: Vector

    @classmethod
    def of(cls, core_mm: Vector, across: Vector, *, share: float) -> _Ellipse:
        """Returns the middle of a piece.

        Args:
            core_mm: Its voxels, shape (n, 3).
            across: Unit vectors of two axes as rows.
            share: How far it reaches, in the piece's size.
        """
        low, high = np.array([percentiles(places, 1, 99) for places in across @ core_mm.T]).T
        return cls(across, (low + high) / 2, share * (high - low) + 1e-6)

    def within(self, faces: Vector) -> Vector:
        """Returns the faces near the middle."""
        off = (faces @ self.across.T - self.centre) / self.radius
        central: Vector = faces[np.einsum("ij,ij->i", off, off) <= 1]
        return central


def _normals(plates: Sequence[Vector], axes: Vector, off_mm: float) -> list[Vector]:
    """Returns for each plate the upward unit normal, within the sagittal plane, of the plane through its faces.

    Args:
        plates: Faces of each plate.
        axes: Unit vectors up, forwards and to the right as rows.
        off_mm: A face so far off the plane counts a quarter.
    """
    # all at once, for a call costs more than the few hundred faces; rows of zeros add nothing to a sum
    places = np.zeros((len(plates), max(map(len, plates)), 4))
    for place, faces in zip(places, plates, strict=True):
        place[: len(faces), [3, 0, 1]] = (faces - faces.mean(axis=0)) @ axes.T
        place[: len(faces), 2] = 1.0
    weighted = places
    for drawn in range(_DRAWN):
        planes = np.array([_plane(moments) for moments in (weighted.transpose(0, 2, 1) @ places).tolist()])
        if drawn == _DRAWN - 1:
            break
        off = places @ (planes / off_mm)[:, :, None]
        off *= off
        off += 1
        off *= off
        weighted = places / off
    normals = axes[0] - planes[:, :1] * axes[1]
    return list(normals / np.linalg.norm(normals, axis=1, keepdims=True))


def _plane(moments: list[list[float]]) -> tuple[float, float, float, float]:
    """Returns the plane through weighted faces: its slopes forwards and to the right, its offset, and -1 for height.

    Three equations are solved by hand: a call of a solver costs more than the faces. Faces of a single slice have no
    slope to the right; then it is none.

    Args:
        moments: Weighted sums of products of forwards, right, one and height, shape (4, 4).
    """
    (ff, fr, f, fh), (_, rr, r, rh), (_, _, one, h), _ = moments
    # about the weighted mean, so that two equations are left
    ff, fr, rr = ff - f * f / one, fr - f * r / one, rr - r * r / one
    fh, rh = fh - f * h / one, rh - r * h / one
    determinant = ff * rr - fr * fr
    if rr <= _FLAT * ff:
        forwards, right = fh / ff, 0.0
    elif determinant <= _FLAT * ff * rr:
        forwards, right = np.linalg.lstsq(np.array([[ff, fr], [fr, rr]]), np.array([fh, rh]), rcond=1e-9)[0].tolist()
    else:
        forwards, right = (fh * rr - rh * fr) / determinant, (rh * ff - fh * fr) / determinant
    return forwards, right, (h - forwards * f - right * r) / one, -1.0
