"""Connected components as clouds of voxels in the world, and the rule for specks.

Add here what is true of any component of any structure. What a component is called belongs to the levels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, Literal

import cc3d
import numpy as np
from numpy.typing import NDArray

from cspine_assets.domain.anatomy import Structure
from cspine_assets.domain.evaluation.spine_line import SpineLine
from cspine_assets.domain.volume import Geometry

SPECK: Final = 0.08
"""Components under this part of the usual size are specks: left out, and counted. The smallest true component, a
body or disc of which the field of view shows a rim, is seldom under a tenth."""

RIM: Final = 0.02
"""At the upper and lower end of the volume a component this large is kept: the rim of something that lies outside."""


@dataclass(frozen=True)
class Piece:
    """One component, or a part of one that was cut.

    Attributes:
        indices: Voxel indices, shape (n, 3).
        points_mm: The same voxels in the world, shape (n, 3).
        is_cut_off: Whether it reaches the upper or lower end of the volume, so that a part of it may lie outside.
    """

    indices: NDArray[np.int64]
    points_mm: NDArray[np.float64]
    is_cut_off: bool = False
    _laid: list[tuple[SpineLine, NDArray[np.float64]]] = field(default_factory=list, repr=False, compare=False)

    def along_mm(self, line: SpineLine) -> NDArray[np.float64]:
        """Returns where along a line each voxel lies, shape (n,); asked again for the same line, it remembers."""
        for known, along in self._laid:
            if known is line:
                return along
        self._laid[:] = [(line, line.along_mm(self.points_mm))]
        return self._laid[0][1]

    def __len__(self) -> int:
        """Returns the number of voxels."""
        return len(self.indices)

    def part(self, chosen: NDArray[np.bool_]) -> Piece:
        """Returns the voxels that are chosen."""
        laid = [(line, along[chosen]) for line, along in self._laid]
        return Piece(self.indices[chosen], self.points_mm[chosen], self.is_cut_off, laid)

    @classmethod
    def joined(cls, pieces: Sequence[Piece]) -> Piece:
        """Returns the voxels of several pieces as one; without any, a piece of no voxel."""
        if not pieces:
            return cls(np.empty((0, 3), np.int64), np.empty((0, 3)))
        if len(pieces) == 1:
            return pieces[0]
        return cls(
            np.concatenate([piece.indices for piece in pieces]),
            np.concatenate([piece.points_mm for piece in pieces]),
            any(piece.is_cut_off for piece in pieces),
        )


@dataclass(frozen=True)
class Sifted:
    """Components worth looking at, and the specks beside them."""

    kept: list[Piece]
    specks: list[Piece]


def pieces_of(
    mask: NDArray[np.uint8], labels: Mapping[Structure, int], geometry: Geometry
) -> dict[Structure, list[Piece]]:
    """Returns the 6-connected components of each structure; none where it has no voxel.

    Args:
        mask: Labels.
        labels: Label of each structure.
        geometry: The mask's grid.
    """
    box = _box_around(mask)
    if box is None:
        return {structure: [] for structure in labels}
    start = np.array([side.start for side in box])
    return {structure: _pieces_of(mask[box] == label, start, geometry) for structure, label in labels.items()}


def _pieces_of(within: NDArray[np.bool_], start: NDArray[np.int64], geometry: Geometry) -> list[Piece]:
    """Returns the components of a part of a mask that begins at a voxel of the whole."""
    labels, count = cc3d.connected_components(within, connectivity=6, return_N=True)
    if not count:
        return []
    # read in the order in which voxels lie in memory; a component's number fits into 16 bits but for noise, and such
    # numbers are sorted without comparing
    laid: Literal["F", "C"] = "F" if within.flags.f_contiguous else "C"
    flat = np.flatnonzero(within.ravel(order=laid))
    owner = labels.ravel(order=laid)[flat].astype(np.uint16 if count < 2**16 else np.uint32)
    flat = flat[np.argsort(owner, kind="stable")]
    # a row for each axis in memory: whoever looks at one axis reads it in one piece
    indices = (np.array(np.unravel_index(flat, within.shape, order=laid)) + start[:, None]).T
    points_mm = indices @ geometry.affine[:3, :3].T + geometry.origin_mm
    vertical = int(np.argmax(np.abs(geometry.direction[2])))
    at_end = (indices[:, vertical] == 0) | (indices[:, vertical] == geometry.shape[vertical] - 1)
    edges = [0, *np.cumsum(np.bincount(owner)[1:]).tolist()]
    return [
        Piece(indices[first:last], points_mm[first:last], bool(at_end[first:last].any()))
        for first, last in pairwise(edges)
    ]


def _box_around(mask: NDArray[np.uint8]) -> tuple[slice, ...] | None:
    """Returns the smallest box with all voxels of a mask, or None where it is empty: most of an exam is background."""
    box: list[slice] = []
    for axis in range(mask.ndim):
        # each axis looks only at what the axes before it left
        filled = np.flatnonzero(mask[tuple(box)].any(axis=tuple(a for a in range(mask.ndim) if a != axis)))
        if not filled.size:
            return None
        box.append(slice(int(filled[0]), int(filled[-1]) + 1))
    return tuple(box)


def percentiles(values: NDArray[np.float64], low: float, high: float) -> tuple[NDArray[np.float64], ...]:
    """Returns two percentiles along the first axis, as ``numpy.percentile`` interpolates them, in a third of its time.

    Args:
        values: One row at least.
        low: The lower percentage.
        high: The upper percentage.
    """
    last = len(values) - 1
    places = [last * (percent / 100) for percent in (low, high)]
    below = [int(place) for place in places]
    ordered = np.partition(values, sorted({*below, *(min(place + 1, last) for place in below)}), axis=0)
    found = []
    for place, first in zip(places, below, strict=True):
        lower, upper, rest = ordered[first], ordered[min(first + 1, last)], place - first
        step = upper - lower
        found.append(lower + step * rest if rest < 0.5 else upper - step * (1 - rest))
    return tuple(found)


def usual_size(pieces: list[Piece]) -> float:
    """Returns the size of the component in which the median voxel lies, 0 where there is none.

    Not the median of the sizes: a mask full of specks would have a speck for its usual component.
    """
    sizes = np.sort([len(piece) for piece in pieces])
    if not sizes.size:
        return 0.0
    reached = np.cumsum(sizes)
    return float(sizes[np.searchsorted(reached, reached[-1] / 2)])


def without_specks(pieces: list[Piece], *, usual: float) -> Sifted:
    """Returns the components sifted by size; at the end of the volume a smaller one is kept, for it may be a rim.

    Args:
        pieces: Components of one mask.
        usual: Voxels of the usual component.
    """
    sifted = Sifted([], [])
    for piece in pieces:
        is_kept = len(piece) >= (RIM if piece.is_cut_off else SPECK) * usual
        (sifted.kept if is_kept else sifted.specks).append(piece)
    return sifted
