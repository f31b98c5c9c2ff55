"""Whether a converted volume is what its headers describe, and whether it equals the shipped one.

Add a check here when a converter is found to return a wrong volume without a word. Rules on headers alone
belong to ``series``, and nothing here changes a voxel.
"""

from __future__ import annotations

import itertools
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from cspine_assets.domain.imaging.refusal import Cause, Refusal
from cspine_assets.domain.volume import Geometry, Volume

CORNER_TOLERANCE_MM = 0.05
"""The corners of the grid may lie this far from where the headers put them.

A tenth of a pixel of this field: float32 header fields move a corner by about 1e-4 mm, a lost slice by
millimetres.
"""

SHIPPED_AFFINE_TOLERANCE = 1e-4
"""Entries of the affine may differ by this much from the shipped NIfTI's: both are float32."""


class ShippedComparison(StrEnum):
    """How a converted volume stands to the shipped one; the value is the table's."""

    EQUAL = "equal"
    VOXELS_DIFFER = "voxels_differ"
    GEOMETRY_DIFFERS = "geometry_differs"
    UNREADABLE = "unreadable"
    ABSENT = "absent"


def check_against_headers(found: Geometry, expected: Geometry, *, subject: str) -> None:
    """Compares a converted grid with the one that the headers describe, whatever the order of the array axes.

    dcm2niix turns rows round, and puts the axes of a 3-D acquisition in the order R, A, S: the same voxel
    centres under other indices. So the axes may be permuted and flipped, and every corner must lie where the
    headers put it.

    Raises:
        ConversionError: Shape, spacing, axes or position are others.
    """
    if len(found.shape) != 3:
        raise Refusal(
            Cause.DIFFERS_FROM_HEADERS,
            f"{subject}: expected a volume of 3 axes after conversion, found shape {found.shape}.",
        )
    turned = np.linalg.inv(found.affine[:3, :3]) @ expected.affine[:3, :3]
    signed = np.rint(turned).astype(int)
    is_permutation = np.all(np.abs(signed).sum(axis=0) == 1) and np.all(np.abs(signed).sum(axis=1) == 1)
    if not is_permutation:
        raise Refusal(
            Cause.DIFFERS_FROM_HEADERS,
            f"{subject}: expected the axes and spacing of the headers ({_words(expected)}), the converter gave "
            f"{_words(found)}.",
        )
    shape = tuple(int(n) for n in np.abs(signed) @ np.array(expected.shape))
    if shape != found.shape:
        raise Refusal(
            Cause.DIFFERS_FROM_HEADERS,
            f"{subject}: expected {shape} voxels by the headers, the converter gave {found.shape}.",
        )
    offset = np.where(signed.sum(axis=1) < 0, np.array(shape) - 1, 0)
    corners = _corners(expected)
    away = float(np.linalg.norm(_places(found, corners @ signed.T + offset) - _places(expected, corners), axis=1).max())
    if away > CORNER_TOLERANCE_MM:
        raise Refusal(
            Cause.DIFFERS_FROM_HEADERS,
            f"{subject}: expected the grid of the headers ({_words(expected)}), the converter's ({_words(found)}) "
            f"lies up to {away:.3f} mm away.",
        )


def check_sagittal(grid: Geometry, *, subject: str, slice_count: int | None) -> None:
    """Checks a volume without headers: its slices lie one after another from left to right.

    Args:
        grid: Of the volume.
        subject: What the error is about.
        slice_count: Slices that the tables state, or None.

    Raises:
        ConversionError: Voxels are longest in another direction than left-right, or the slices are more or
            fewer.
    """
    axis = grid.slice_axis
    if grid.spacing_mm[axis] < 0.9 * max(grid.spacing_mm):
        raise Refusal(
            Cause.OTHER_KIND,
            f"{subject}: expected sagittal slices, found voxels longest in another direction ({_words(grid)}).",
        )
    if slice_count is not None and grid.shape[axis] != slice_count:
        raise Refusal(
            Cause.SLICE_COUNT,
            f"{subject}: expected {slice_count} slices (number_of_instances of the series), found {grid.shape[axis]}.",
        )


def check_voxels(volume: Volume, *, subject: str) -> None:
    """Checks that a volume holds a picture.

    Raises:
        ConversionError: All voxels are equal, or some are no finite number.
    """
    low, high = float(volume.array.min()), float(volume.array.max())
    if not np.isfinite([low, high]).all():
        raise Refusal(Cause.NO_PICTURE, f"{subject}: expected finite intensities, found infinite ones or no numbers.")
    if low == high:
        raise Refusal(Cause.NO_PICTURE, f"{subject}: expected a picture, all voxels are {low:g}.")


def compare_with_shipped(volume: Volume, shipped: Volume) -> ShippedComparison:
    """Returns whether grid (affine within 1e-4) and then every voxel are equal."""
    ours, theirs = volume.geometry, shipped.geometry
    if ours.shape != theirs.shape or np.abs(ours.affine - theirs.affine).max() > SHIPPED_AFFINE_TOLERANCE:
        return ShippedComparison.GEOMETRY_DIFFERS
    if not np.array_equal(volume.array, shipped.array):
        return ShippedComparison.VOXELS_DIFFER
    return ShippedComparison.EQUAL


def _corners(grid: Geometry) -> NDArray[np.int64]:
    """Returns the indices of the eight corners, one a row."""
    return np.array(list(itertools.product(*((0, n - 1) for n in grid.shape))))


def _places(grid: Geometry, indices: NDArray[np.int64]) -> NDArray[np.float64]:
    """Returns where voxels lie in the world, in mm, one a row."""
    return indices @ grid.affine[:3, :3].T + grid.origin_mm


def _words(grid: Geometry) -> str:
    spacing = " x ".join(f"{mm:.3f}" for mm in grid.spacing_mm)
    return f"{'x'.join(map(str, grid.shape))} voxels of {spacing} mm, axes {grid.axis_codes}"
