"""The mistakes of a segmentation model: a mask like an expert's, and visibly worse.

Add here a mistake that models make on real cervical spines.
Right masks do not belong here.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.random import Generator

from cspine_assets.domain.anatomy import BACKGROUND, LABELS, Structure
from cspine_assets.domain.phantom.grid import Frame, VoxelGrid, window_around
from cspine_assets.domain.phantom.masks import Mask, mask_solids
from cspine_assets.domain.phantom.spine import Solid, Spine


def model_mask(rng: Generator, spine: Spine, grid: VoxelGrid) -> Mask:
    """Returns the labels of a model that saw a spine: edges off, now and then a slice or a disc lost, or a leak.

    Every mask has shifted, shrunken and rounded structures. Half lose an outermost slice of a structure, a quarter
    lose a disc, a third leak behind a body.

    Args:
        rng: The exam's own generator for its model; the same state gives the same mistakes.
        spine: The true shapes.
        grid: Where to sample them, in any orientation.
    """
    drift_mm = rng.normal(0, 0.25, 3)
    solids = [_misjudged(rng, solid, drift_mm) for solid in spine.solids]
    if rng.random() < 0.25:
        lost = int(rng.integers(1, len(spine.discs) - 3))
        del solids[lost]
    mask = mask_solids(tuple(solids), grid)
    if rng.random() < 0.5:
        _lose_outermost_slice(rng, mask, grid)
    if rng.random() < 0.33:
        _leak(rng, mask, spine, grid)
    return mask


def _misjudged(rng: Generator, solid: Solid, drift_mm: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Solid:
    """Returns a solid as a model sees it: nudged, a little tilted, shrunken mostly at its sides."""
    axes = solid.frame.tilted_axes(rng.normal(0, np.deg2rad(2.5)))
    nudge = drift_mm + rng.normal(0, [0.4, 0.45, 0.35])
    return replace(
        solid,
        frame=Frame(solid.frame.centre_mm + nudge @ axes, axes),
        half_depth_mm=solid.half_depth_mm * rng.normal(0.965, 0.04),
        half_width_mm=solid.half_width_mm * rng.normal(0.92, 0.05),
        half_height_mm=max(solid.half_height_mm * rng.normal(0.98, 0.05), 1.2),
        dens_mm=solid.dens_mm * rng.uniform(0.65, 1.0),
        uncus_mm=0.4 * solid.uncus_mm,
    )


def _lose_outermost_slice(rng: Generator, mask: Mask, grid: VoxelGrid) -> None:
    axis = int(np.argmax(np.abs(grid.affine[0, :3]) / np.linalg.norm(grid.affine[:3, :3], axis=0)))
    label = LABELS[Structure.VERTEBRAL_BODY if rng.random() < 0.5 else Structure.INTERVERTEBRAL_DISC]
    by_slice = np.moveaxis(mask, axis, 0)
    filled = np.flatnonzero((by_slice == label).any(axis=(1, 2)))
    if len(filled) > 3:
        outermost = by_slice[filled[0] if rng.random() < 0.5 else filled[-1]]
        outermost[outermost == label] = BACKGROUND


def _leak(rng: Generator, mask: Mask, spine: Spine, grid: VoxelGrid) -> None:
    """Lets one body's label run over its hind edge into the canal, or over its front into soft tissue."""
    body = spine.bodies[int(rng.integers(2, 7))]
    edge = (-1 if rng.random() < 0.6 else 1) * body.half_depth_mm
    middle = body.frame.point_mm(edge, rng.normal(0, 3), rng.normal(0, 3))
    radii = rng.uniform([2.5, 4, 3], [4, 8, 5])
    window = window_around(grid, Frame(middle, body.frame.axes), radii)
    if window is None:
        return
    inside = (
        (window.anterior / radii[0]) ** 2 + (window.right / radii[1]) ** 2 + (window.superior / radii[2]) ** 2
    ) < 1
    part = mask[window.index]
    part[inside & (part == BACKGROUND)] = LABELS[Structure.VERTEBRAL_BODY]
