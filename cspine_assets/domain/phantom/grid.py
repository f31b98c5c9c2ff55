"""Voxel grids in world space: where each voxel's centre lies, seen from the world or from a structure.

Add here what turns voxel indices into millimetres, for any orientation of a grid.
Shapes, tissues and file formats do not belong here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating[Any]]
"""In practice float32: half the memory of float64, and far finer than any grey value."""

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class VoxelGrid:
    """An affine (4 x 4, voxel index to RAS+ mm) and the three sizes of the array it belongs to."""

    affine: Matrix
    shape: tuple[int, ...]

    @property
    def smallest_spacing_mm(self) -> float:
        """Returns the in-plane spacing: the smallest of the three."""
        return float(np.linalg.norm(self.affine[:3, :3], axis=0).min())


@dataclass(frozen=True)
class Frame:
    """A structure's own axes: its centre in RAS+ mm, and rows anterior, right, superior as unit vectors."""

    centre_mm: Matrix
    axes: Matrix

    def tilted_axes(self, radians: float) -> Matrix:
        """Returns the axes of a frame that leans back by an angle, around its own right."""
        anterior, right, superior = self.axes
        return np.stack(
            [
                np.cos(radians) * anterior + np.sin(radians) * superior,
                right,
                np.cos(radians) * superior - np.sin(radians) * anterior,
            ]
        )

    def point_mm(self, anterior: float, right: float, superior: float) -> Matrix:
        """Returns the world position (RAS+ mm) of a point given in this frame."""
        point: Matrix = self.centre_mm + np.array([anterior, right, superior]) @ self.axes
        return point


@dataclass(frozen=True)
class Window:
    """The part of a grid near a structure, with the structure's coordinates in mm at each voxel's centre."""

    index: tuple[slice, ...]
    anterior: FloatArray
    right: FloatArray
    superior: FloatArray


WORLD = Frame(np.zeros(3), np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]))
"""The scanner's own frame in the order of every frame here: anterior, right, superior."""


def window_at(grid: VoxelGrid, index: tuple[slice, ...], frame: Frame = WORLD) -> Window:
    """Returns the coordinates in a frame of the voxels that three slices with both ends select."""
    step = frame.axes @ grid.affine[:3, :3]
    origin = frame.axes @ (grid.affine[:3, 3] - frame.centre_mm)
    first, second, third = (np.arange(part.start, part.stop) for part in index)
    # Affine coordinates are sums of one term per axis: three short vectors instead of a full matrix product.
    anterior, right, superior = (
        (row[0] * first + start)[:, None, None].astype(np.float32)
        + (row[1] * second)[None, :, None].astype(np.float32)
        + (row[2] * third)[None, None, :].astype(np.float32)
        for row, start in zip(step, origin, strict=True)
    )
    return Window(index, anterior, right, superior)


def window_around(grid: VoxelGrid, frame: Frame, half_extent_mm: Matrix) -> Window | None:
    """Returns the voxels whose centres may lie in a box around a frame; None if the grid misses the box.

    Args:
        grid: Any orientation, also oblique.
        frame: The box's centre and axes.
        half_extent_mm: Half the box's size along anterior, right and superior.
    """
    inverse = np.linalg.inv(grid.affine[:3, :3])
    centre = inverse @ (frame.centre_mm - grid.affine[:3, 3])
    reach = np.abs(inverse @ frame.axes.T) @ half_extent_mm
    first = np.maximum(np.ceil(centre - reach), 0).astype(int)
    last = np.minimum(np.floor(centre + reach) + 1, grid.shape).astype(int)
    if np.any(last <= first):
        return None
    return window_at(grid, tuple(slice(int(a), int(b)) for a, b in zip(first, last, strict=True)), frame)
