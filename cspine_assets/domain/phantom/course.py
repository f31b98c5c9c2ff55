"""How a neck runs around a synthetic spine: outlines of skin, fat, airway, canal and cord along its height.

Add here another outline that follows the spine.
Grey values and voxels do not belong here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from cspine_assets.domain.phantom.grid import FloatArray, Matrix
from cspine_assets.domain.phantom.spine import Spine

_STEP_MM: Final = 0.25
_REACH_MM: Final = 190.0

# Outlines in mm before (+) or behind (-) the line through the bodies' centres, at each level: C2 is 0, T1 is 6.
_AT: Final = (-7.0, -4.0, -2.5, -1.5, -0.5, 0.5, 1.0, 1.6, 2.4, 3.2, 4.0, 5.0, 6.0, 7.0, 8.5, 10.0)
_SKIN_BEHIND: Final = (93, 92, 90, 84, 75, 66, 63, 60, 58, 57, 59, 65, 72, 77, 82, 86)
_SKIN_BEFORE: Final = (120, 120, 120, 120, 120, 112, 100, 78, 56, 49, 47, 48, 53, 64, 84, 96)
_FAT_BEHIND: Final = (5, 5, 6, 7, 8, 9, 9, 10, 10, 11, 13, 16, 17, 14, 11, 9)
_AIRWAY_AT: Final = (30, 30, 27, 24, 19, 17, 17, 18, 20, 23, 25, 27, 30, 32, 34, 34)
_AIRWAY_HALF: Final = (8, 9, 9, 7, 4.5, 4.5, 5, 5, 4.5, 4.5, 6.5, 7.5, 7.5, 7.5, 7.5, 7.5)
_AIRWAY_SIDE: Final = (14, 14, 14, 13, 12, 12, 12, 12, 9, 6, 7, 8.5, 8.5, 8.5, 8.5, 8.5)


@dataclass(frozen=True)
class Course:
    """How the neck runs along the scanner's z axis: tables over z in mm, one value per quarter millimetre."""

    centre_y_mm: FloatArray
    centre_x_mm: FloatArray
    cosine: FloatArray
    skin_behind_mm: FloatArray
    skin_before_mm: FloatArray
    fat_behind_mm: FloatArray
    airway_at_mm: FloatArray
    airway_half_mm: FloatArray
    airway_side_mm: FloatArray
    canal_at_mm: FloatArray
    canal_half_mm: FloatArray
    cord_half_mm: FloatArray
    dens_tip_mm: Matrix
    cord_sway_mm: float

    def rows(self, superior_mm: FloatArray) -> NDArray[np.intp]:
        """Returns the row of the tables for each z in mm; beyond the ends the last row holds."""
        position = (superior_mm + np.float32(_REACH_MM)) * np.float32(1 / _STEP_MM)
        rows: NDArray[np.intp] = np.clip(position, 0, len(self.cosine) - 1).astype(np.intp)
        return rows


def draw_course(rng: Generator, spine: Spine, *, build: float) -> Course:
    """Draws the neck around a spine.

    Args:
        rng: The patient's own generator.
        spine: The bodies that the neck follows.
        build: 1 for an average neck; larger is broader and fatter.
    """
    centres, levels = _centre_line(spine)
    z = np.arange(-_REACH_MM, _REACH_MM, _STEP_MM)
    order = np.argsort(centres[:, 2])
    height, smooth = centres[order, 2], 5 / _STEP_MM
    y = gaussian_filter1d(np.interp(z, height, centres[order, 1]), smooth, mode="nearest")
    x = gaussian_filter1d(np.interp(z, height, centres[order, 0]), smooth, mode="nearest")
    level = np.interp(z, height, levels[order])

    def along(values: tuple[float, ...], scale: float = 1.0) -> FloatArray:
        table = gaussian_filter1d(np.interp(level, _AT, np.array(values) * scale), smooth, mode="nearest")
        return table.astype(np.float32)

    narrow = rng.uniform(0.85, 1.12)
    depth = np.interp(level, np.arange(len(spine.bodies)), [body.half_depth_mm for body in spine.bodies])
    canal_half = np.interp(level, (-3, -1, 0, 1, 6, 10), (11.5, 10, 8.6, 7.2, 7.0, 7.2)) * narrow
    canal = -(depth + canal_half + np.interp(level, (-2, -1, 0, 1), (1.5, 3.0, 2.5, 0.9)))
    cord_half = np.interp(level, (-3, -1.5, 0, 3, 5, 7, 10), (7.0, 5.2, 4.1, 4.0, 3.9, 3.3, 3.1))
    dens = spine.bodies[0]
    return Course(
        centre_y_mm=y.astype(np.float32),
        centre_x_mm=x.astype(np.float32),
        cosine=np.cos(np.arctan(np.gradient(y, _STEP_MM))).astype(np.float32),
        skin_behind_mm=along(_SKIN_BEHIND, 0.55 + 0.45 * build),
        skin_before_mm=along(_SKIN_BEFORE, 0.7 + 0.3 * build),
        fat_behind_mm=along(_FAT_BEHIND, build**2 * rng.uniform(0.7, 1.3)),
        airway_at_mm=along(_AIRWAY_AT),
        airway_half_mm=along(_AIRWAY_HALF, rng.uniform(0.8, 1.15)),
        airway_side_mm=along(_AIRWAY_SIDE),
        canal_at_mm=gaussian_filter1d(canal, smooth, mode="nearest").astype(np.float32),
        canal_half_mm=canal_half.astype(np.float32),
        cord_half_mm=cord_half.astype(np.float32),
        dens_tip_mm=dens.frame.point_mm(-1.0, 0, dens.half_height_mm + dens.dens_mm),
        cord_sway_mm=float(rng.uniform(-0.8, 1.2)),
    )


def _centre_line(spine: Spine) -> tuple[Matrix, Matrix]:
    """Returns points through the bodies' centres, lengthened at both ends, and the level of each."""
    first, last = spine.bodies[0].frame, spine.bodies[-1].frame
    up = np.array([[0, 0, 22.0 * step] for step in (5, 4, 3, 2)]) + first.point_mm(0, 0, 22.0) - [0, 0, 22.0]
    bodies = np.array([body.frame.centre_mm for body in spine.bodies])
    centres = np.vstack([up, first.point_mm(0, 0, 22.0), bodies, last.point_mm(0, 0, -60.0)])
    return centres, np.concatenate([np.arange(-5.0, len(spine.bodies)), [len(spine.bodies) + 2.0]])
