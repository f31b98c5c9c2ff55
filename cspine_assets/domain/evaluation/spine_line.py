"""The centre line of a spine, and how far along it and beside it a point lies.

Add here what straightens a curved or tilted spine. Which components are bodies and what they are called stands in
the column and the frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]

_BESIDE_MM: Final = 8.0
"""Half a body's depth: a centre this far off the line counts half when the line is drawn again."""

_BEYOND_MM: Final = 200.0
"""The line goes on straight above its first and below its last centre, further than any field of view."""

_STEP_MM: Final = 1.0


@dataclass(frozen=True)
class SpineLine:
    """A smooth line through the centres of bodies and discs, from head to feet, as a table of points.

    Attributes:
        points_mm: World positions, shape (n, 3).
        tangents: Unit vectors towards the feet at these points, shape (n, 3).
        travelled_mm: Length of the line up to each point.
        axis: Unit vector of its main direction, towards the feet.
    """

    points_mm: Points
    tangents: Points
    travelled_mm: Points
    axis: Points

    def along_mm(self, points_mm: Points) -> Points:
        """Returns how far along the line each point lies, shape (n,): where the plane through it meets the line.

        Heights of bodies and gaps are measured in it, so that neither a tilt of the scan nor the spine's own curve
        makes a body taller than it is.
        """
        return self._along(points_mm)

    def offset_mm(self, points_mm: Points) -> Points:
        """Returns how far beside the line each point lies, shape (n,)."""
        distance: Points = np.linalg.norm(points_mm - self._at(self._along(points_mm))[0], axis=1)
        return distance

    def point_mm(self, along_mm: float) -> Points:
        """Returns the world position of a place of the line, shape (3,)."""
        point: Points = self._at(np.array([along_mm]))[0][0]
        return point

    def direction(self, along_mm: float) -> Points:
        """Returns the unit vector towards the feet at a place of the line."""
        direction = self._at(np.array([along_mm]))[1][0]
        unit: Points = direction / np.linalg.norm(direction)
        return unit

    def _along(self, points_mm: Points) -> Points:
        """Returns for each point its place along the line."""
        height = self.points_mm @ self.axis
        along: Points = np.interp(points_mm @ self.axis, height, self.travelled_mm)
        for _ in range(3):  # the line is nearly straight over a body: each step leaves a small part of the error
            point, tangent = self._at(along)
            along = along + np.einsum("ij,ij->i", points_mm - point, tangent)
        return along

    def _at(self, along_mm: Points) -> tuple[Points, Points]:
        """Returns the world positions and the tangents at places of the line; beyond its ends, those of the ends."""
        values, slopes = self._table
        place = np.clip(along_mm, self.travelled_mm[0], self.travelled_mm[-1])
        row = np.searchsorted(self.travelled_mm, place, side="right") - 1
        # the last place has no row after it: it is as far along the row before as that is long
        np.minimum(row, len(slopes) - 1, out=row)
        found = np.take(slopes, row, axis=0, mode="clip")
        found *= (place - np.take(self.travelled_mm, row))[:, None]
        found += np.take(values, row, axis=0, mode="clip")
        return found[:, :3], found[:, 3:]

    @cached_property
    def _table(self) -> tuple[Points, Points]:
        """Points and tangents side by side, shape (n, 6), and how they change per mm up to the next row."""
        values = np.hstack([self.points_mm, self.tangents])
        return values, np.diff(values, axis=0) / np.diff(self.travelled_mm)[:, None]


def fit_spine_line(centres_mm: Points, weights: Points) -> SpineLine:
    """Returns the line through centres of bodies and discs, in any order; one far beside the others hardly moves it.

    Beside its main axis the line is a polynomial of the third degree: a lordosis, a kyphosis or an S has no more turns.

    Args:
        centres_mm: World positions, shape (n, 3), one at least.
        weights: Weight of each.
    """
    trust = np.ones(len(centres_mm))
    line = _fit(centres_mm, weights)
    for _ in range(4):
        trust = 1 / (1 + (line.offset_mm(centres_mm) / _BESIDE_MM) ** 2) ** 2
        line = _fit(centres_mm, weights * trust)
    return line


def _fit(centres: Points, weights: Points) -> SpineLine:
    middle = np.average(centres, axis=0, weights=weights)
    axis = _axis((centres - middle) * np.sqrt(weights)[:, None])
    sideways = np.linalg.svd(axis[None, :])[2][1:]
    height, beside = (centres - middle) @ axis, (centres - middle) @ sideways.T
    degree = int(np.clip((len(centres) - 1) // 3, 0, 3))
    places = np.arange(height.min(), height.max() + _STEP_MM, _STEP_MM)
    curves = [np.polynomial.Polynomial.fit(height, column, degree, w=np.sqrt(weights)) for column in beside.T]
    points = (
        middle + places[:, None] * axis + sum(np.outer(c(places), s) for c, s in zip(curves, sideways, strict=True))
    )
    slopes = axis + sum(np.outer(c.deriv()(places), s) for c, s in zip(curves, sideways, strict=True))
    tangents = slopes / np.linalg.norm(slopes, axis=1, keepdims=True)
    points = np.vstack([points[:1] - _BEYOND_MM * tangents[:1], points, points[-1:] + _BEYOND_MM * tangents[-1:]])
    tangents = np.vstack([tangents[:1], tangents, tangents[-1:]])
    travelled = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    return SpineLine(points, tangents, travelled, axis)


def _axis(spread: Points) -> Points:
    """Returns the unit vector towards the feet along which centres spread most."""
    if len(spread) < 2 or not spread.any():
        return np.array([0.0, 0.0, -1.0])
    axis: Points = np.linalg.svd(spread, full_matrices=False)[2][0]
    return -axis if axis[2] > 0 else axis
