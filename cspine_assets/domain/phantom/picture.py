"""One synthetic exam's picture: the neck and its bones through a coil, with blur, texture and noise.

Add here what the scanner does to the signal.
Anatomy, masks and DICOM do not belong here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from cspine_assets.domain.phantom.bones import paint_bones
from cspine_assets.domain.phantom.contrast import Contrast
from cspine_assets.domain.phantom.course import Course
from cspine_assets.domain.phantom.grid import FloatArray, VoxelGrid, Window, window_at
from cspine_assets.domain.phantom.neck import paint_neck
from cspine_assets.domain.phantom.spine import Spine

_BLOCK_VOXELS: Final = 28_000  # 112 kB of float32: also below the size from which each array costs new pages


def draw_picture(
    rng: Generator, grid: VoxelGrid, spine: Spine, course: Course, contrast: Contrast
) -> NDArray[np.uint16]:
    """Returns the stored values of a scan on a grid whose first axis counts slices, then rows, then columns.

    Values are whole counts from 0 to 4095, as both vendors store them.
    """
    edge_mm = max(grid.smallest_spacing_mm, 0.8)
    image = np.empty(grid.shape, dtype=np.float32)
    streaks, grain = _textures(rng, grid)
    parts = [window_at(grid, index) for index in _blocks(grid.shape)]
    for at in parts:
        paint_neck(image[at.index], at, course, contrast, streaks[at.index], edge_mm)
    paint_bones(image, grid, spine, contrast, grain, edge_mm)
    counts = np.empty(grid.shape, dtype=np.uint16)
    for at in parts:
        counts[at.index] = _counts(rng, image[at.index] * _sensitivity(at, course, contrast), contrast)
    return counts


def _blocks(shape: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    """Yields blocks of rows, slice by slice, that fit into a processor's cache: twice as fast as whole slices."""
    rows = max(1, _BLOCK_VOXELS // shape[2])
    for number in range(shape[0]):
        for first in range(0, shape[1], rows):
            yield slice(number, number + 1), slice(first, min(first + rows, shape[1])), slice(0, shape[2])


def _textures(rng: Generator, grid: VoxelGrid) -> tuple[FloatArray, FloatArray]:
    """Returns two textures of mean 0 and SD 1: streaks along the neck for muscles, and a fine grain for marrow."""
    streaks, grain = np.empty(grid.shape, dtype=np.float32), np.empty(grid.shape, dtype=np.float32)
    for number in range(grid.shape[0]):
        white = rng.standard_normal(grid.shape[1:], dtype=np.float32)
        streaks[number] = _texture(white, (6.0, 0.9), grid.smallest_spacing_mm)
        grain[number] = _texture(white[::-1], (0.7, 0.7), grid.smallest_spacing_mm)
    return streaks, grain


def _texture(white: FloatArray, scale_mm: tuple[float, float], spacing_mm: float) -> FloatArray:
    sigma = [scale / spacing_mm for scale in scale_mm]
    smooth: FloatArray = gaussian_filter(white, sigma, mode="wrap", truncate=2.5)
    texture: FloatArray = smooth / max(float(smooth.std()), 1e-6)
    return texture


def _sensitivity(at: Window, course: Course, contrast: Contrast) -> FloatArray:
    """Returns the coil's share of the signal: strongest behind the neck, weak at both ends and in front."""
    before = at.anterior - course.centre_y_mm[course.rows(at.superior)]
    height = at.superior * (1 / 108)
    height = height * height
    behind = (before + 30) * (1 / contrast.coil_reach_mm)
    share: FloatArray = (0.5 + 0.6 / (1 + behind * behind)) / (1 + height * height * height)
    # A saturation band in front of the throat keeps swallowing from smearing over the spine.
    share *= 1 - 0.5 * _step(before - 42, 7) * _step(32 - at.superior, 9)
    return share


def _step(distance_mm: FloatArray, width_mm: float) -> FloatArray:
    """Returns a soft step from 0 to 1 around a distance of 0."""
    softened: FloatArray = 0.5 + 0.5 * distance_mm / (width_mm + np.abs(distance_mm))
    return softened


def _counts(rng: Generator, seen: FloatArray, contrast: Contrast) -> NDArray[np.uint16]:
    """Returns whole counts of the magnitude of a complex signal with Gaussian noise (Rician)."""
    noise = np.float32(contrast.noise)
    real = seen + noise * rng.standard_normal(seen.shape, dtype=np.float32)
    imaginary = noise * rng.standard_normal(seen.shape, dtype=np.float32)
    magnitude = np.sqrt(real * real + imaginary * imaginary)
    counts: NDArray[np.uint16] = np.clip(magnitude * contrast.fluid_counts + 0.5, 0, 4095).astype(np.uint16)
    return counts
