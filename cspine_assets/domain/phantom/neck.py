"""The soft tissue around a synthetic spine: skin, fat, muscle, airway, canal, cord and the skull's base.

Add here what a reader of a neck scan expects to see beside the bones.
Bones, discs, noise and file formats do not belong here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cspine_assets.domain.phantom.contrast import Contrast, blend, coverage
from cspine_assets.domain.phantom.course import Course
from cspine_assets.domain.phantom.grid import FloatArray, Window

_JAW_BELOW_DENS_MM: Final = 70.0
_WIDEST_MIDDLE_MM: Final = 24.0  # neither canal nor airway reaches farther from the midline


@dataclass(frozen=True)
class _Place:
    """Where each voxel of a slice lies: before the spine's line, beside it, and from the tip of the dens, in mm."""

    before: FloatArray
    side: FloatArray
    tip_anterior: FloatArray
    tip_superior: FloatArray
    rows: NDArray[np.intp]


def paint_neck(
    image: FloatArray, at: Window, course: Course, contrast: Contrast, streaks: FloatArray, edge_mm: float
) -> None:
    """Paints everything but the bones into a part of the picture, in place.

    Args:
        image: Float array of the window's shape; what it holds is painted over.
        at: World coordinates of its voxels.
        course: The neck's outlines.
        contrast: Grey values.
        streaks: Texture of the muscles, about -1 to 1, of the image's shape.
        edge_mm: Width of the blur between two tissues; best the in-plane spacing.
    """
    place = _place(at, course, image.shape)
    _paint_outline(image, place, course, contrast, streaks, edge_mm)
    if place.tip_superior.max() > -_JAW_BELOW_DENS_MM:
        _paint_head(image, place, contrast, streaks, edge_mm)
    if np.abs(place.side).min() < _WIDEST_MIDDLE_MM:
        _paint_throat(image, place, course, contrast, edge_mm)
        _paint_canal(image, place, course, contrast, edge_mm)


def _place(at: Window, course: Course, shape: tuple[int, ...]) -> _Place:
    rows = np.broadcast_to(course.rows(at.superior), shape)
    tip = course.dens_tip_mm.astype(np.float32)
    return _Place(
        before=(at.anterior - course.centre_y_mm[rows]) * course.cosine[rows],
        side=at.right - course.centre_x_mm[rows],
        tip_anterior=np.broadcast_to(at.anterior - tip[1], shape),
        tip_superior=np.broadcast_to(at.superior - tip[2], shape),
        rows=rows,
    )


def _paint_outline(
    image: FloatArray, at: _Place, course: Course, contrast: Contrast, streaks: FloatArray, edge_mm: float
) -> None:
    image[...] = contrast.air
    round_off = at.side * at.side * (1 / 70**2)  # the neck is an oval: its skin comes nearer away from the middle
    behind = course.skin_behind_mm[at.rows] * (1 - 0.45 * round_off) + at.before
    before = course.skin_before_mm[at.rows] * (1 - 0.35 * round_off) - at.before
    skin = np.minimum(behind, before)
    blend(image, coverage(skin, edge_mm), 0.45)
    blend(image, coverage(skin - 1.2, edge_mm), contrast.fat)
    inside = np.minimum(behind - course.fat_behind_mm[at.rows], before - 5)
    fat_between = np.clip(streaks - 1.2, 0, 1) * (0.35 * contrast.fat)
    muscle = contrast.muscle * (1 + 0.18 * streaks) + fat_between
    blend(image, coverage(inside, 1.5 * edge_mm), muscle)
    below_fat = behind - course.fat_behind_mm[at.rows]
    for plane_mm in (8.0, 19.0):  # fat between the muscles' layers, thin and broken
        seam = 0.7 + 0.35 * streaks - np.abs(below_fat - plane_mm)
        blend(image, coverage(np.minimum(seam, -30 - at.before), 1.6), 0.8 * contrast.fat)
    # The nuchal ligament and the fat around it separate the two sides of the muscles behind the spine.
    middle = coverage(np.minimum(2.6 - np.abs(at.side), np.minimum(inside, -24 - at.before)), 3.0)
    blend(image, middle, 0.55 * contrast.fat * (1 + 0.2 * streaks))
    longus = coverage(np.minimum(at.before - 6, 13 - at.before), 2.0) * coverage(15 - np.abs(at.side), 3.0)
    blend(image, longus, contrast.muscle * 1.15)


def _ellipse(at: _Place, centre: tuple[float, float], radii: tuple[float, float], half_side: float) -> FloatArray:
    """Returns the depth in mm below an ellipsoid placed from the dens' tip (anterior, superior)."""
    anterior = (at.tip_anterior - centre[0]) * (1 / radii[0])
    superior = (at.tip_superior - centre[1]) * (1 / radii[1])
    side = at.side * (1 / half_side)
    depth: FloatArray = (1 - np.sqrt(anterior * anterior + superior * superior + side * side)) * min(radii)
    return depth


def _bar(at: _Place, start: tuple[float, float], end: tuple[float, float], radius: float) -> FloatArray:
    """Returns the depth in mm below a rounded bar in the midline between two points from the dens' tip."""
    along, upward = end[0] - start[0], end[1] - start[1]
    anterior, superior = at.tip_anterior - start[0], at.tip_superior - start[1]
    share = np.clip((anterior * along + superior * upward) * (1 / (along**2 + upward**2)), 0, 1)
    anterior, superior, side = anterior - share * along, superior - share * upward, 0.7 * at.side
    depth: FloatArray = radius - np.sqrt(anterior * anterior + superior * superior + side * side)
    return depth


def _paint_head(image: FloatArray, at: _Place, contrast: Contrast, streaks: FloatArray, edge_mm: float) -> None:
    tongue = _ellipse(at, (58, -26), (30, 25), 26)
    blend(image, coverage(tongue, 4), contrast.muscle * (1.45 + 0.25 * streaks))
    jaw = _ellipse(at, (88, -52), (11, 13), 30)
    blend(image, coverage(jaw, edge_mm), contrast.cortex)
    blend(image, coverage(jaw - 2.5, edge_mm), contrast.marrow * 1.3)
    skull = _ellipse(at, (-33, 55), (55, 58), 68)
    blend(image, coverage(skull, edge_mm), contrast.cortex)
    blend(image, coverage(skull - 1.6, edge_mm) * coverage(4.0 - skull, edge_mm), contrast.marrow)
    clivus = _bar(at, (5, 6), (24, 50), 5.5)
    blend(image, coverage(clivus + 1.2, edge_mm), contrast.cortex)
    blend(image, coverage(clivus, edge_mm), contrast.marrow * 1.1)
    fossa = np.minimum(skull - 5.5, -1.5 - clivus)
    blend(image, coverage(fossa, edge_mm), contrast.fluid)
    _paint_brain(image, at, fossa, contrast)


def _paint_brain(image: FloatArray, at: _Place, fossa: FloatArray, contrast: Contrast) -> None:
    anterior, superior = at.tip_anterior + 20, at.tip_superior - 42
    folia = 1 + 0.16 * np.sin(1.25 * np.sqrt(anterior * anterior + superior * superior))
    cerebellum = np.minimum(_ellipse(at, (-47, 42), (32, 32), 50), fossa - 2.5)
    blend(image, coverage(cerebellum, 1.5), contrast.brain * folia)
    blend(image, coverage(np.minimum(fossa - 2, at.tip_superior - 72), 2), contrast.brain)
    blend(image, coverage(_ellipse(at, (-20, 40), (5, 8), 8), 2), contrast.fluid)  # the fourth ventricle
    stem = np.maximum(_ellipse(at, (-4, 46), (11.5, 15), 15), _bar(at, (-8, 12), (-11, 40), 6.2))
    blend(image, coverage(stem, 1.2), contrast.brain * 0.95)


def _paint_throat(image: FloatArray, at: _Place, course: Course, contrast: Contrast, edge_mm: float) -> None:
    half = course.airway_half_mm[at.rows]
    before = (at.before - course.airway_at_mm[at.rows]) / half
    side = at.side / course.airway_side_mm[at.rows]
    lumen = (1 - np.sqrt(before * before + side * side)) * half
    blend(image, 0.8 * coverage(lumen + 2.2, 2.0), contrast.gland)
    blend(image, coverage(lumen, edge_mm), contrast.air)


def _paint_canal(image: FloatArray, at: _Place, course: Course, contrast: Contrast, edge_mm: float) -> None:
    half = course.canal_half_mm[at.rows]
    before, side = at.before - course.canal_at_mm[at.rows], at.side * (1 / 1.55)  # wider than deep
    sac = half - np.sqrt(before * before + side * side)
    blend(image, coverage(sac + 2.6, 2.0) * coverage(-before, 3.0), 0.8 * contrast.fat)  # epidural fat
    blend(image, coverage(sac + 1.1, edge_mm), contrast.ligament)
    blend(image, coverage(sac, edge_mm), contrast.fluid)
    before = before + course.cord_sway_mm
    cord = course.cord_half_mm[at.rows] - np.sqrt(before * before + side * side)
    blend(image, coverage(cord, edge_mm), contrast.cord)
