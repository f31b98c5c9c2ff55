"""Masks of a synthetic spine on any voxel grid, straight from its formulas.

Add here other ways to sample the same shapes.
Shapes themselves and the mistakes of a model do not belong here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cspine_assets.domain.anatomy import BACKGROUND, LABELS
from cspine_assets.domain.phantom.grid import VoxelGrid, window_around
from cspine_assets.domain.phantom.spine import Solid

Mask = NDArray[np.uint8]


def mask_solids(solids: tuple[Solid, ...], grid: VoxelGrid) -> Mask:
    """Returns the labels at the voxel centres of a grid; where solids meet, the later one wins.

    The array has the grid's shape, in any orientation; it is all background where no solid is near.
    """
    mask = np.full(grid.shape, BACKGROUND, dtype=np.uint8)
    for solid in solids:
        window = window_around(grid, solid.frame, solid.half_extent_mm)
        if window is not None:
            mask[window.index][solid.depth_below_surface_mm(window) > 0] = LABELS[solid.structure]
    return mask
