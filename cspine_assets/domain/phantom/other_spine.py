"""Spines for trials: the textbook one of the cohort, and others with other proportions, shapes and edges.

Add here another population that a measurement must hold on. Nothing may be tuned on the others: they are there to find
what was fitted to the first.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.random import Generator

from cspine_assets.domain.anatomy import Structure
from cspine_assets.domain.phantom.blocks import Block
from cspine_assets.domain.phantom.grid import Frame, Matrix
from cspine_assets.domain.phantom.level_case import Anatomy, Part
from cspine_assets.domain.phantom.spine import Solid, draw_spine

_BODIES: Final = ("C2", "C3", "C4", "C5", "C6", "C7", "T1", "T2", "T3")


def textbook_anatomy(rng: Generator) -> Anatomy:
    """Returns a spine of the cohort's own kind, of any adult age, with clean edges."""
    spine = draw_spine(rng, age_years=float(rng.uniform(25, 85)), is_female=bool(rng.random() < 0.5))
    return Anatomy(
        bodies=spine.bodies[: len(_BODIES)],
        discs=spine.discs[: len(_BODIES) - 1],
        pixel_mm=float(rng.uniform(0.9, 1.1)),
        slice_mm=float(rng.uniform(3.3, 4.4)),
        roughness_mm=0.0,
    )


def other_anatomy(rng: Generator) -> Anatomy:
    """Returns a spine of another kind: wedges with sharp, uneven edges, from a slight child's to a tall man's.

    Bodies are 9 to 16 mm high and each differs from its neighbours by 8 %, one in six is pressed by a fifth to a
    third; discs have 15 to 55 % of a body's height, each its own; the dens is short or long (C2 is 1.8 to 2.8 times a
    body); the curve is lordotic, straight, S-shaped or kyphotic; slices lie 2.5 to 5 mm apart.
    """
    height, stoutness = float(rng.uniform(9, 16)), float(rng.uniform(1.0, 1.45))
    heights = height * np.linspace(1, rng.uniform(1.0, 1.35), len(_BODIES)) * rng.normal(1, 0.08, len(_BODIES))
    pressed = rng.random(len(_BODIES)) < 1 / 6
    heights = np.where(pressed, heights * rng.uniform(0.67, 0.8, len(_BODIES)), heights)
    heights[0] = height * rng.uniform(1.1, 1.5)
    gaps = np.maximum(height * np.clip(rng.normal(0.35, 0.1, len(_BODIES) - 1), 0.15, 0.55), 1.8)
    tilts = _tilts_rad(rng)
    depths = height * stoutness * np.linspace(1, rng.uniform(1.0, 1.3), len(_BODIES))
    frames = stacked(tilts, np.deg2rad(rng.normal(0, 3.0, len(_BODIES))), heights, gaps)
    bodies: tuple[Part, ...] = tuple(
        Block(
            level,
            Structure.VERTEBRAL_BODY,
            frames[index],
            half_depth_mm=0.5 * float(depths[index]),
            half_width_mm=0.5 * float(depths[index]) * float(rng.uniform(1.1, 1.6)),
            half_height_mm=0.5 * float(heights[index]),
            wedge=float(rng.normal(0, 0.04)) - (0.08 if pressed[index] else 0.0),
            is_oval=bool(rng.random() < 0.5),
            dens_mm=height * float(rng.uniform(0.7, 1.3)) if level == "C2" else 0.0,
        )
        for index, level in enumerate(_BODIES)
    )
    discs = tuple(
        disc_between(rng, upper, lower, float(gap)) for upper, lower, gap in zip(bodies, bodies[1:], gaps, strict=False)
    )
    return Anatomy(
        bodies,
        discs,
        pixel_mm=float(rng.uniform(0.8, 1.2)),
        slice_mm=float(rng.uniform(2.5, 5.0)),
        roughness_mm=float(rng.uniform(0.1, 0.4)),
    )


def worn_anatomy(rng: Generator) -> Anatomy:
    """Returns an old spine: rounded bodies with lips, discs worn to 2 to 5 mm, and a bend to the side.

    Bodies are 11 to 15 mm high and differ from their neighbours by 5 %; C2 is 2.1 to 2.9 times a body; the neck is
    kyphotic to lordotic and bends to the side by up to 12 degrees; slices lie 3 to 5 mm apart.
    """
    height, slice_mm, pixel_mm = float(rng.uniform(11, 15)), float(rng.uniform(3, 5)), float(rng.uniform(0.6, 1.0))
    heights = height * np.linspace(1, rng.uniform(1.1, 1.3), len(_BODIES)) * rng.normal(1, 0.05, len(_BODIES))
    heights[0] = height * rng.uniform(1.2, 1.6)
    gaps = rng.uniform(2.0, 5.0, len(_BODIES) - 1)
    depths = height * rng.uniform(1.1, 1.5) * np.linspace(1, 1.15, len(_BODIES))
    side = np.deg2rad(rng.uniform(-12, 12)) * np.sin(np.linspace(0, rng.uniform(2, 4), len(_BODIES)))
    frames = stacked(_tilts_rad(rng), side, heights, gaps)
    width, lip = float(rng.uniform(1.2, 1.6)), float(rng.uniform(0, 2.5))

    def solid(level: str, structure: Structure, frame: Frame, half_mm: Matrix, dens_mm: float = 0.0) -> Solid:
        return Solid(level, structure, frame, half_mm[0], half_mm[1], half_mm[2], lip, dens_mm)

    bodies = tuple(
        solid(
            level,
            Structure.VERTEBRAL_BODY,
            frames[index],
            0.5 * np.array([depths[index], width * depths[index], heights[index]]),
            height * float(rng.uniform(0.9, 1.3)) if level == "C2" else 0.0,
        )
        for index, level in enumerate(_BODIES)
    )
    shapes = [
        disc_between(rng, upper, lower, float(gap)) for upper, lower, gap in zip(bodies, bodies[1:], gaps, strict=False)
    ]
    discs = tuple(
        solid(
            disc.level,
            disc.structure,
            disc.frame,
            np.array([disc.half_depth_mm, disc.half_width_mm, disc.half_height_mm]),
        )
        for disc in shapes
    )
    return Anatomy(bodies, discs, pixel_mm, slice_mm, roughness_mm=float(rng.uniform(0, 0.15)))


def _tilts_rad(rng: Generator) -> Matrix:
    """Returns each body's tilt: a slope at the chest, a curve of any sign above it, and an S over both."""
    along = np.linspace(1, 0, len(_BODIES))
    slope, curve, swing = rng.uniform(0, 35), rng.uniform(-25, 45), rng.uniform(-10, 10)
    return np.deg2rad(-slope + curve * along + swing * np.sin(2 * np.pi * along))


def stacked(tilts: Matrix, bends: Matrix, heights: Matrix, gaps: Matrix) -> tuple[Frame, ...]:
    """Returns the frames of bodies stacked from head to feet, the fifth one at the origin."""
    axes = []
    for tilt, bend in zip(tilts, bends, strict=True):
        superior = np.array([np.sin(bend), -np.sin(tilt) * np.cos(bend), np.cos(tilt) * np.cos(bend)])
        anterior = np.array([0.0, np.cos(tilt), np.sin(tilt)])
        axes.append(np.stack([anterior, np.cross(anterior, superior), superior]))
    centres = [np.zeros(3)]
    for index, gap in enumerate(gaps):
        joint = (axes[index][2] + axes[index + 1][2]) / 2
        step = axes[index][2] * heights[index] / 2 + joint * gap + axes[index + 1][2] * heights[index + 1] / 2
        centres.append(centres[-1] - step)
    return tuple(Frame(centre - centres[4], own) for centre, own in zip(centres, axes, strict=True))


def disc_between(rng: Generator, upper: Part, lower: Part, gap_mm: float) -> Block:
    """Returns the disc between two bodies; it bulges, or falls short, by up to a tenth on each side."""
    superior = upper.frame.axes[2] + lower.frame.axes[2]
    superior = superior / np.linalg.norm(superior)
    anterior = upper.frame.axes[0] - (upper.frame.axes[0] @ superior) * superior
    anterior = anterior / np.linalg.norm(anterior)
    top, bottom = upper.frame.point_mm(0, 0, -upper.half_height_mm), lower.frame.point_mm(0, 0, lower.half_height_mm)
    return Block(
        f"{upper.level}/{lower.level}",
        Structure.INTERVERTEBRAL_DISC,
        Frame((top + bottom) / 2, np.stack([anterior, np.cross(anterior, superior), superior])),
        half_depth_mm=(upper.half_depth_mm + lower.half_depth_mm) / 2 * float(rng.uniform(0.9, 1.1)),
        half_width_mm=(upper.half_width_mm + lower.half_width_mm) / 2 * float(rng.uniform(0.85, 1.0)),
        half_height_mm=gap_mm / 2,
        wedge=float(rng.normal(0, 0.03)),
        is_oval=True,
    )
