"""Spines with the proportions of published morphometry, as people draw them: C2 with and without its dens.

Add another population here, with its source. What goes wrong in a scan or in a mask stands in ``drawn_scenarios``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.random import Generator

from cspine_assets.domain.anatomy import Structure
from cspine_assets.domain.phantom.blocks import Block
from cspine_assets.domain.phantom.grid import Frame, Matrix
from cspine_assets.domain.phantom.level_case import Anatomy, Part
from cspine_assets.domain.phantom.other_spine import disc_between, stacked
from cspine_assets.domain.phantom.spine import Solid

BODIES: Final = ("C2", "C3", "C4", "C5", "C6", "C7", "T1", "T2", "T3", "T4")

_HEIGHTS: Final = np.array([19.0, 11.6, 11.4, 11.4, 10.9, 12.8, 14.1, 15.6, 15.7, 16.2])
"""Posterior heights in mm, C3 to C7 of Panjabi et al. (Spine 1991; 16: 861), T1 to T4 of the same group (Spine 1991;
16: 888); C2's is drawn by ``Kind``."""

_DEPTHS: Final = np.array([15.6, 15.3, 15.6, 16.5, 17.5, 17.5, 18.5, 19.6, 22.7, 23.3])
"""Means of upper and lower endplate depths of the same specimens, in mm."""

_WIDTHS: Final = np.array([17.5, 16.5, 17.1, 18.4, 20.2, 22.6, 24.5, 24.9, 24.6, 24.5])
"""The same of widths."""

DENS_HEIGHT_MM: Final = (14.9, 1.5)
"""Mean and standard deviation of 100 dry bones (Gosavi and Swamy, Eur J Anat 2012; 16: 98)."""

DENS_DEPTH_MM: Final = 10.7
"""Mean depth of 30 dry bones (Yousuf et al., Int J Res Med Sci 2023; 11: 1621); their mean width is 8.5 to 10.3 mm."""


WIDEST_DENS_MM: Final = 13.0
"""A dens of 10 mm may be drawn into the slices at both of its sides."""


@dataclass(frozen=True)
class Kind:
    """What sets one population apart.

    Attributes:
        scale: Smallest and largest size against the published means.
        c2: Smallest and largest height of C2's body, as people draw it, against that of C3. Bone below the dens has
            1.6 to 1.8 (Teo et al., J Spine 2017; Yousuf et al. 2023), five masks traced from pictures 1.0 to 1.4.
        disc: Smallest and largest height of a disc against a body.
        spread: Standard deviation of a body's height about its mean.
        pressed: Share of bodies pressed by a fifth to a third.
        is_rounded: Whether bodies are rounded, as on MRI, or wedges with edges.
    """

    scale: tuple[float, float]
    c2: tuple[float, float]
    disc: tuple[float, float]
    spread: float
    pressed: float
    is_rounded: bool


ADULT: Final = Kind((0.92, 1.12), (1.0, 1.5), (0.3, 0.48), 0.04, 0.0, is_rounded=True)
AGED: Final = Kind((0.85, 1.05), (0.95, 1.4), (0.14, 0.34), 0.07, 0.15, is_rounded=True)
SLIGHT: Final = Kind((0.75, 1.2), (0.9, 1.6), (0.2, 0.5), 0.06, 0.05, is_rounded=False)


@dataclass(frozen=True)
class Drawn:
    """A spine, and the dens that may be drawn on C2.

    Attributes:
        anatomy: Bodies C2 to T4 without any dens, and their discs.
        dens_mm: Height of the dens above C2's body.
    """

    anatomy: Anatomy
    dens_mm: float


def draw_spine(kind: Kind) -> Callable[[Generator], Drawn]:
    """Returns what draws a spine of a population."""

    def draw(rng: Generator) -> Drawn:
        scale = float(rng.uniform(*kind.scale))
        heights = 1.08 * scale * _HEIGHTS * rng.normal(1, kind.spread, len(BODIES))
        pressed = rng.random(len(BODIES)) < kind.pressed
        pressed[:2] = False
        heights = np.where(pressed, heights * rng.uniform(0.67, 0.8, len(BODIES)), heights)
        heights[0] = heights[1] * float(rng.uniform(*kind.c2))
        gaps = np.maximum(1.08 * scale * 12.5 * rng.uniform(*kind.disc, len(BODIES) - 1), 1.8)
        depths, widths = (scale * sizes * rng.normal(1, 0.03, len(BODIES)) for sizes in (_DEPTHS, _WIDTHS))
        bends = np.deg2rad(rng.normal(0, 2.5, len(BODIES)))
        frames = stacked(_tilts_rad(rng), bends, heights, gaps)
        bodies = tuple(
            _body(kind, level, frames[n], 0.5 * np.array([depths[n], widths[n], heights[n]]), rng)
            for n, level in enumerate(BODIES)
        )
        discs = tuple(
            disc_between(rng, upper, lower, float(gap))
            for upper, lower, gap in zip(bodies, bodies[1:], gaps, strict=False)
        )
        anatomy = Anatomy(
            bodies,
            discs,
            pixel_mm=float(rng.uniform(0.7, 1.1)),
            slice_mm=float(rng.uniform(3.0, 4.4)),
            roughness_mm=float(rng.uniform(0, 0.25)),
        )
        return Drawn(anatomy, scale * float(rng.normal(*DENS_HEIGHT_MM)))

    return draw


def _body(kind: Kind, level: str, frame: Frame, half_mm: Matrix, rng: Generator) -> Part:
    depth, width, height = half_mm.tolist()
    if kind.is_rounded:
        return Solid(level, Structure.VERTEBRAL_BODY, frame, depth, width, height, uncus_mm=float(rng.uniform(0, 2)))
    return Block(
        level,
        Structure.VERTEBRAL_BODY,
        frame,
        depth,
        width,
        height,
        wedge=float(rng.normal(0, 0.04)),
        is_oval=bool(rng.random() < 0.5),
    )


def dens_of(rng: Generator, drawn: Drawn, *, height: float, slices: int | None = None) -> Block:
    """Returns the dens of a spine as a mask may show it: a post on C2, leaning back a little.

    Args:
        rng: Generator of the case.
        drawn: The spine.
        height: How much of its height is drawn, 0 to 1.
        slices: In how many slices; None for as many as it is wide.
    """
    c2 = drawn.anatomy.bodies[0]
    up = drawn.dens_mm * height
    half_width = 4.7 if slices is None else min(0.5 * slices * drawn.anatomy.slice_mm - 0.1, WIDEST_DENS_MM / 2)
    base = 0.4 * c2.half_height_mm
    half_height = (c2.half_height_mm + up - base) / 2
    frame = Frame(
        c2.frame.point_mm(float(rng.uniform(-1.5, 1.0)), 0, base + half_height),
        c2.frame.tilted_axes(float(rng.uniform(-0.1, 0.2))),
    )
    half_depth = min(0.5 * DENS_DEPTH_MM, 0.36 * 2 * c2.half_depth_mm)
    return Block("C2", Structure.VERTEBRAL_BODY, frame, half_depth, half_width, half_height, is_oval=slices is None)


def _tilts_rad(rng: Generator) -> Matrix:
    """Returns each body's tilt: T1's slope, a lordosis above it, a kyphosis below."""
    slope, lordosis = float(rng.uniform(10, 35)), float(rng.uniform(-10, 35))
    cervical = -slope + lordosis * np.linspace(1, 0, 7)
    thoracic = -slope + np.arange(1, 4) * float(rng.uniform(1, 4))
    tilts: Matrix = np.deg2rad(np.concatenate([cervical, thoracic]))
    return tilts
