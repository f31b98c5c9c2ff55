"""Connected components as clouds of voxels in the world, and the rule for specks.

Add here what is true of any component of any structure. What a component is called belongs to the levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cc3d
import numpy as np
from numpy.typing import NDArray

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

    def __len__(self) -> int:
        """Returns the number of voxels."""
        return len(self.indices)

    def part(self, chosen: NDArray[np.bool_]) -> Piece:
        """Returns the voxels that are chosen."""
        return Piece(self.indices[chosen], self.points_mm[chosen], self.is_cut_off)

    @classmethod
    def joined(cls, pieces: Sequence[Piece]) -> Piece:
        """Returns the voxels of several pieces as one; without any, a piece of no voxel."""
        if not pieces:
            return cls(np.empty((0, 3), np.int64), np.empty((0, 3)))
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


def pieces_of(mask: NDArray[np.bool_], affine: NDArray[np.float64]) -> list[Piece]:
    """Returns the 6-connected components of a mask; none where it is empty."""
    box = _box_around(mask)
    if box is None:
        return []
    labels = cc3d.connected_components(mask[box], connectivity=6)
    within = np.argwhere(labels)
    owner = labels[tuple(within.T)]
    indices = within + [side.start for side in box]
    points_mm = indices @ affine[:3, :3].T + affine[:3, 3]
    order = np.argsort(owner, kind="stable")
    borders = np.flatnonzero(np.diff(owner[order])) + 1
    vertical = int(np.argmax(np.abs(affine[2, :3]) / np.linalg.norm(affine[:3, :3], axis=0)))
    at_end = (indices[:, vertical] == 0) | (indices[:, vertical] == mask.shape[vertical] - 1)
    return [
        Piece(indices[chosen], points_mm[chosen], bool(at_end[chosen].any())) for chosen in np.split(order, borders)
    ]


def _box_around(mask: NDArray[np.bool_]) -> tuple[slice, ...] | None:
    """Returns the smallest box with all voxels of a mask, or None where it is empty: most of an exam is background."""
    box: list[slice] = []
    for axis in range(mask.ndim):
        # each axis looks only at what the axes before it left
        filled = np.flatnonzero(mask[tuple(box)].any(axis=tuple(a for a in range(mask.ndim) if a != axis)))
        if not filled.size:
            return None
        box.append(slice(int(filled[0]), int(filled[-1]) + 1))
    return tuple(box)


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
