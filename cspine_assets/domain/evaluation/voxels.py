"""Connected components as clouds of voxels in the world, and the rule for specks.

Add here what is true of any component of any structure. What a component is called belongs to the levels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cc3d
import numpy as np
from numpy.typing import NDArray

SPECK: Final = 0.08
"""Components under this part of the usual size are specks: left out, and counted. The smallest true component, a
body or disc of which the field of view shows a rim, is seldom under a tenth."""


@dataclass(frozen=True)
class Piece:
    """One component, or a part of one that was cut.

    Attributes:
        indices: Voxel indices, shape (n, 3).
        points_mm: The same voxels in the world, shape (n, 3).
    """

    indices: NDArray[np.int64]
    points_mm: NDArray[np.float64]

    def __len__(self) -> int:
        """Returns the number of voxels."""
        return len(self.indices)

    def part(self, chosen: NDArray[np.bool_]) -> Piece:
        """Returns the voxels that are chosen."""
        return Piece(self.indices[chosen], self.points_mm[chosen])


@dataclass(frozen=True)
class Sifted:
    """Components worth looking at, and the specks beside them."""

    kept: list[Piece]
    specks: list[Piece]


def pieces_of(mask: NDArray[np.bool_], affine: NDArray[np.float64]) -> list[Piece]:
    """Returns the 6-connected components of a mask; none where it is empty."""
    labels = cc3d.connected_components(mask, connectivity=6)
    indices = np.argwhere(labels)
    if not len(indices):
        return []
    owner = labels[tuple(indices.T)]
    points_mm = indices @ affine[:3, :3].T + affine[:3, 3]
    order = np.argsort(owner, kind="stable")
    borders = np.flatnonzero(np.diff(owner[order])) + 1
    return [Piece(indices[chosen], points_mm[chosen]) for chosen in np.split(order, borders)]


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
    """Returns the components sifted by size.

    Args:
        pieces: Components of one mask.
        usual: Voxels of the usual component.
    """
    limit = SPECK * usual
    return Sifted([piece for piece in pieces if len(piece) >= limit], [piece for piece in pieces if len(piece) < limit])
