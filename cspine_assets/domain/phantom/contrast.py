"""Grey values of a T2-weighted scan, drawn anew for each exam, and the brush that blends them.

Add here a tissue or another weighting.
Where a tissue lies belongs to the modules that know its shape.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from cspine_assets.domain.phantom.grid import FloatArray


@dataclass(frozen=True)
class Contrast:
    """Signal of each tissue, as a share of the cerebrospinal fluid's; noise and edges of the picture."""

    air: float
    cortex: float
    annulus: float
    ligament: float
    muscle: float
    cord: float
    brain: float
    marrow: float
    nucleus: float
    gland: float
    fat: float
    fluid: float
    noise: float
    coil_reach_mm: float
    fluid_counts: float


def draw_contrast(rng: Generator, *, age_years: float, is_ge: bool) -> Contrast:
    """Draws the grey values of one exam; marrow grows fatter, so brighter, with age."""
    vary = [float(factor) for factor in rng.normal(1, 0.09, 8)]  # plain floats keep images in float32
    return Contrast(
        air=0.015,
        cortex=0.07,
        annulus=0.13 * vary[0],
        ligament=0.06,
        muscle=0.22 * vary[1],
        cord=0.46 * vary[2],
        brain=0.47 * vary[2],
        marrow=(0.40 + 0.0015 * age_years) * vary[3],
        nucleus=0.80 * vary[4],
        gland=0.52 * vary[5],
        fat=0.72 * vary[6],
        fluid=1.0,
        noise=rng.uniform(0.015, 0.035),
        coil_reach_mm=rng.uniform(70, 100),
        fluid_counts=(2600.0 if is_ge else 900.0) * vary[7],
    )


def coverage(depth_mm: FloatArray, edge_mm: float) -> FloatArray:
    """Returns how much of each voxel a shape fills, 0 to 1, from the depth below the shape's surface."""
    filled: FloatArray = np.clip(depth_mm / np.float32(edge_mm) + np.float32(0.5), 0, 1)
    return filled


def blend(image: FloatArray, share: FloatArray, value: float | FloatArray) -> None:
    """Writes a tissue into an image in place, by the share that it fills of each voxel."""
    image += share * (value - image)
