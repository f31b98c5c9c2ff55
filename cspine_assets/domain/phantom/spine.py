"""The shape of one synthetic spine: bodies and discs as closed formulas in world space.

Add here what changes where a body or a disc lies and how it is shaped.
Grey values, voxels and files do not belong here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.random import Generator

from cspine_assets.domain.anatomy import VERTEBRAE, Structure
from cspine_assets.domain.phantom.grid import FloatArray, Frame, Matrix, Window

LEVELS: Final = (*VERTEBRAE, "T2", "T3", "T4", "T5")
"""Bodies of every phantom; the field of view decides how many of the lowest are seen."""

# Textbook sizes of adult bodies in mm, C2 ... T5; C2 without its dens.
_HEIGHTS: Final = (19.0, 13.8, 13.4, 13.2, 13.4, 14.6, 16.2, 17.4, 18.0, 18.6, 19.2)
_DEPTHS: Final = (15.5, 16.0, 16.2, 16.6, 17.0, 17.2, 17.4, 18.0, 19.0, 20.5, 22.0)
_WIDTHS: Final = (19.0, 19.5, 20.5, 21.5, 23.0, 25.5, 28.0, 28.0, 27.0, 26.5, 26.5)
_GAPS: Final = (5.2, 5.4, 5.4, 5.6, 5.8, 5.4, 4.8, 4.4, 4.2, 4.2)
_UNCUS: Final = (1.2, 2.2, 2.2, 2.2, 2.2, 1.8, 0.6, 0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Solid:
    """One body or disc: a rounded box in its own frame, C2 with a dens on top."""

    level: str
    structure: Structure
    frame: Frame
    half_depth_mm: float
    half_width_mm: float
    half_height_mm: float
    uncus_mm: float
    dens_mm: float = 0.0
    degeneration: float = 0.0

    @property
    def half_extent_mm(self) -> Matrix:
        """Returns half the box (anterior, right, superior) that surely holds the solid and 3 mm around it."""
        height = self.half_height_mm + self.uncus_mm + self.dens_mm
        return np.array([self.half_depth_mm, self.half_width_mm, height]) * 1.12 + 3.0

    def depth_below_surface_mm(self, at: Window) -> FloatArray:
        """Returns the distance to the surface at each voxel: positive inside, measured towards the centre."""
        if self.structure is Structure.INTERVERTEBRAL_DISC:
            return self._rounded_box(at, waist=-0.04, concavity=-0.12)
        box = self._rounded_box(at, waist=0.08, concavity=0.10)
        return np.maximum(box, self._dens(at)) if self.dens_mm else box

    def _rounded_box(self, at: Window, waist: float, concavity: float) -> FloatArray:
        width = np.abs(at.right) / np.float32(self.half_width_mm)
        raised = np.float32(self.uncus_mm) * np.minimum(width, 1.3) ** 4  # the uncinate processes' cup
        height = (at.superior - raised) / np.float32(self.half_height_mm)
        depth = at.anterior / np.float32(self.half_depth_mm)
        height_squared, depth_squared = height * height, depth * depth
        narrow = 1 - np.float32(waist) * np.clip(1 - height_squared, 0, 1)
        flat = 1 - np.float32(concavity) * np.clip(1 - depth_squared, 0, 1)
        oval = (np.abs(depth) / narrow) ** 3 + width**3
        gauge = np.cbrt(np.sqrt(oval * oval + (height_squared / (flat * flat)) ** 3))
        gauge = np.maximum(gauge, np.float32(0.05))
        radius = np.sqrt(at.anterior**2 + at.right**2 + at.superior**2)
        depth_mm: FloatArray = radius * (1 - gauge) / gauge
        return depth_mm

    def _dens(self, at: Window) -> FloatArray:
        radius = 0.66 * self.half_depth_mm
        base, tip = self.half_height_mm * 0.4, self.half_height_mm + self.dens_mm - radius
        along = np.clip((at.superior - base) / (tip - base), 0, 1)
        # The dens leans back a little and widens towards the body.
        anterior = at.anterior - 1.5 + 2.5 * along
        beyond = at.superior - np.clip(at.superior, base, tip)
        width = radius * (1 + 0.25 * (1 - along) ** 4)
        distance: FloatArray = width - np.sqrt(anterior**2 + (at.right / 1.1) ** 2 + beyond**2)
        return distance


@dataclass(frozen=True)
class Spine:
    """All bodies and discs of one patient, superior to inferior, in RAS+ mm around the fifth cervical body."""

    bodies: tuple[Solid, ...]
    discs: tuple[Solid, ...]

    @property
    def solids(self) -> tuple[Solid, ...]:
        """Returns discs first, then bodies: where two meet, the body is drawn last and wins."""
        return (*self.discs, *self.bodies)


def draw_spine(rng: Generator, *, age_years: float, is_female: bool) -> Spine:
    """Draws one patient's spine: lordosis, slight scoliosis, sizes, and discs that wear with age.

    Args:
        rng: The patient's own generator; the same state gives the same spine.
        age_years: Older discs are lower, darker and bulge more.
        is_female: A female spine is about 7 % smaller.
    """
    scale = float(rng.normal(0.96 if is_female else 1.03, 0.035))
    wear = np.clip(rng.normal((age_years - 25) / 70, 0.22, len(_GAPS)) + _wear_by_level(), 0, 1)
    tilts = _sagittal_tilts_rad(rng)
    bends = np.deg2rad(rng.normal(0, 2.5)) * np.sin(np.linspace(0, rng.uniform(2, 5), len(LEVELS)))
    heights = np.array(_HEIGHTS) * scale * rng.normal(1, 0.03, len(LEVELS))
    gaps = np.array(_GAPS) * scale * (1.08 - 0.38 * wear)
    frames = _frames(tilts, bends, heights, gaps)
    bodies = tuple(
        Solid(
            level,
            Structure.VERTEBRAL_BODY,
            frames[index],
            half_depth_mm=0.5 * _DEPTHS[index] * scale * float(rng.normal(1, 0.02)),
            half_width_mm=0.5 * _WIDTHS[index] * scale,
            half_height_mm=0.5 * float(heights[index]),
            uncus_mm=_UNCUS[index] * scale,
            dens_mm=16.0 * scale if level == "C2" else 0.0,
        )
        for index, level in enumerate(LEVELS)
    )
    discs = tuple(
        _disc_between(bodies[index], bodies[index + 1], float(gaps[index]), float(wear[index]))
        for index in range(len(gaps))
    )
    return Spine(bodies, discs)


def _wear_by_level() -> Matrix:
    """Returns the extra wear of each disc: C5/C6 and C6/C7 move most and wear first."""
    return np.array([-0.15, -0.02, 0.08, 0.18, 0.15, -0.08, -0.2, -0.2, -0.15, -0.1])


def _sagittal_tilts_rad(rng: Generator) -> Matrix:
    """Returns each body's tilt: T1 slope about 24 degrees, lordosis C2-C7 about 20, a kyphosis below."""
    slope, lordosis = np.clip(rng.normal(23, 5), 12, 35), np.clip(rng.normal(19, 9), -6, 38)
    cervical = -slope + lordosis * np.linspace(1, 0, 7) ** rng.uniform(0.8, 1.3)
    thoracic = -slope + np.arange(1, len(LEVELS) - 6) * rng.uniform(1.5, 3.5)
    return np.deg2rad(np.concatenate([cervical, thoracic]) + rng.normal(0, 0.8, len(LEVELS)))


def _frames(tilts: Matrix, bends: Matrix, heights: Matrix, gaps: Matrix) -> tuple[Frame, ...]:
    axes = [_axes(tilt, bend) for tilt, bend in zip(tilts, bends, strict=True)]
    centres = [np.zeros(3)]
    for index, gap in enumerate(gaps):
        above, below = axes[index][2], axes[index + 1][2]
        middle = (above + below) / np.linalg.norm(above + below)
        step = above * heights[index] / 2 + middle * gap + below * heights[index + 1] / 2
        centres.append(centres[-1] - step)
    origin = centres[LEVELS.index("C5")]
    return tuple(Frame(centre - origin, own) for centre, own in zip(centres, axes, strict=True))


def _axes(tilt: float, bend: float) -> Matrix:
    """Returns rows anterior, right, superior of a body tilted in the sagittal and bent in the coronal plane."""
    anterior = np.array([0.0, np.cos(tilt), np.sin(tilt)])
    superior = np.array([-np.sin(bend), -np.sin(tilt) * np.cos(bend), np.cos(tilt) * np.cos(bend)])
    return np.stack([anterior, np.cross(anterior, superior), superior])


def _disc_between(above: Solid, below: Solid, gap_mm: float, wear: float) -> Solid:
    superior = above.frame.axes[2] + below.frame.axes[2]
    anterior = above.frame.axes[0] + below.frame.axes[0]
    superior, anterior = superior / np.linalg.norm(superior), anterior / np.linalg.norm(anterior)
    axes = np.stack([anterior, np.cross(anterior, superior), superior])
    lower_edge = above.frame.point_mm(0, 0, -above.half_height_mm)
    upper_edge = below.frame.point_mm(0, 0, below.half_height_mm)
    bulge = 1.6 * wear * wear
    return Solid(
        f"{above.level}/{below.level}",
        Structure.INTERVERTEBRAL_DISC,
        Frame((lower_edge + upper_edge) / 2 - anterior * bulge / 2, axes),
        half_depth_mm=(above.half_depth_mm + below.half_depth_mm) / 2 - 0.2 + bulge / 2,
        half_width_mm=(above.half_width_mm + below.half_width_mm) / 2 - 0.8,
        half_height_mm=gap_mm / 2,
        uncus_mm=(above.uncus_mm + below.uncus_mm) / 2,
        degeneration=wear,
    )
