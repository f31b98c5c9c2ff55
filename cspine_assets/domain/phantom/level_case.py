"""A reference and a prediction of which it is known what every voxel belongs to: what trials of level names need.

Add here what all scenarios share: parts, how they are drawn, the grid and its order of axes. What goes wrong in a
scenario stands in ``scenarios``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from cspine_assets.domain.anatomy import BACKGROUND, LABELS, Structure
from cspine_assets.domain.phantom.blocks import Block
from cspine_assets.domain.phantom.grid import Frame, Matrix, VoxelGrid, window_around
from cspine_assets.domain.phantom.masks import Mask
from cspine_assets.domain.phantom.spine import Solid

Part: TypeAlias = Solid | Block

NO_LEVEL: Final = -1
"""Level of a voxel that belongs to none: background, specks, what was labelled by mistake."""

NAMED_BODIES: Final = 7
"""C2 to T1; body n has level index n, the disc below it n + 1."""


@dataclass(frozen=True)
class Anatomy:
    """A spine and how it is scanned.

    Attributes:
        bodies: C2 to T3 at least, superior to inferior.
        discs: The disc below each body but the last.
        pixel_mm: Spacing within a slice.
        slice_mm: Distance of slices.
        roughness_mm: How far a drawn edge wanders from the true one, as a standard deviation.
    """

    bodies: tuple[Part, ...]
    discs: tuple[Part, ...]
    pixel_mm: float
    slice_mm: float
    roughness_mm: float


@dataclass(frozen=True)
class Labelled:
    """A part as it is drawn into a mask.

    Attributes:
        part: Its shape, and the structure whose label it gets.
        level: Level index that it truly belongs to, or ``NO_LEVEL``.
        crack: Where it is left out, or None.
    """

    part: Part
    level: int
    crack: Crack | None = None


@dataclass(frozen=True)
class Crack:
    """A slab in a part's own frame that is left out: across an axis (0 anterior, 1 right, 2 superior)."""

    axis: int
    at_mm: float
    width_mm: float


@dataclass(frozen=True)
class Scene:
    """Both masks as lists of parts, and the grid that they are drawn on.

    Attributes:
        rng: Generator of the case.
        grid: Axes of the array: backwards, upwards, across.
        reference: Parts of the reference.
        prediction: Parts of the prediction.
        roughness_mm: Unevenness of every edge.
    """

    rng: Generator
    grid: VoxelGrid
    reference: tuple[Labelled, ...]
    prediction: tuple[Labelled, ...]
    roughness_mm: float


@dataclass(frozen=True)
class LevelCase:
    """Two masks with the study's labels, and the level that each voxel truly belongs to.

    Attributes:
        affine: From voxel indices to RAS+ mm.
        reference: Mask taken as true.
        prediction: Mask on the same grid.
        reference_levels: Level index of every voxel of the reference, for bodies and discs as its label says.
        prediction_levels: The same of the prediction.
    """

    affine: Matrix
    reference: Mask
    prediction: Mask
    reference_levels: NDArray[np.int8]
    prediction_levels: NDArray[np.int8]


def observe(rng: Generator, anatomy: Anatomy, *, turn: Matrix | None = None, bodies: int = NAMED_BODIES) -> Scene:
    """Returns the plain scene of a spine: C2 to T1 in both masks, a good prediction, slices along the body.

    Args:
        rng: Generator of the case.
        anatomy: Spine and spacing.
        turn: Rotation of the scan against the patient, 3 x 3; none by default.
        bodies: How many are drawn, from C2 on; the field of view is laid about C2 to T1 whatever is drawn.
    """
    levels = [Labelled(part, index) for index, part in enumerate(anatomy.bodies[:bodies])]
    levels += [Labelled(part, index + 1) for index, part in enumerate(anatomy.discs[: bodies - 1])]
    seen = np.array([part.frame.centre_mm for part in anatomy.bodies[:NAMED_BODIES]])
    grid = _grid(rng, anatomy, (seen.max(axis=0) + seen.min(axis=0)) / 2, np.eye(3) if turn is None else turn)
    predicted = tuple(replace(labelled, part=misjudged(rng, labelled.part)) for labelled in levels)
    return Scene(rng, grid, tuple(levels), predicted, anatomy.roughness_mm)


def _grid(rng: Generator, anatomy: Anatomy, centre_mm: Matrix, turn: Matrix) -> VoxelGrid:
    """Returns a grid of 112 x 200 mm around a point, somewhat off it, and as many slices as the bodies are wide."""
    steps = turn @ np.array([[0, 0, anatomy.slice_mm], [-anatomy.pixel_mm, 0, 0], [0, anatomy.pixel_mm, 0]])
    size = np.array([112.0, 200.0, 40.0])
    shape = np.ceil(size / [anatomy.pixel_mm, anatomy.pixel_mm, anatomy.slice_mm]).astype(int)
    affine = np.eye(4)
    affine[:3, :3] = steps
    middle_mm = centre_mm + np.array([0, 0, 8.0]) + rng.normal(0, [0.7, 2.0, 2.0])
    affine[:3, 3] = middle_mm - steps @ ((shape - 1) / 2)
    return VoxelGrid(affine, tuple(int(n) for n in shape))


def misjudged(rng: Generator, part: Part) -> Part:
    """Returns a part as a fair model draws it: nudged, a little turned, its edges off."""
    axes = part.frame.tilted_axes(rng.normal(0, np.deg2rad(2.0)))
    return replace(
        part,
        frame=Frame(part.frame.centre_mm + rng.normal(0, 0.35, 3), axes),
        half_depth_mm=part.half_depth_mm * rng.normal(0.97, 0.03),
        half_width_mm=part.half_width_mm * rng.normal(0.94, 0.04),
        half_height_mm=max(part.half_height_mm * rng.normal(0.98, 0.04), 1.1),
    )


def moved(part: Part, by_mm: Matrix) -> Part:
    """Returns a part moved in the world."""
    return replace(part, frame=Frame(part.frame.centre_mm + by_mm, part.frame.axes))


def draw_case(scene: Scene) -> LevelCase:
    """Returns both masks of a scene with the truth about their voxels."""
    reference, reference_levels = _draw(scene, scene.reference)
    prediction, prediction_levels = _draw(scene, scene.prediction)
    return LevelCase(scene.grid.affine, reference, prediction, reference_levels, prediction_levels)


def _draw(scene: Scene, parts: Sequence[Labelled]) -> tuple[Mask, NDArray[np.int8]]:
    """Returns a mask and the levels of its voxels; a body wins over a disc, and within both a level over none."""
    mask = np.full(scene.grid.shape, BACKGROUND, np.uint8)
    levels = np.full(scene.grid.shape, NO_LEVEL, np.int8)

    def rank(one: Labelled) -> tuple[bool, bool]:
        return one.part.structure is Structure.VERTEBRAL_BODY, one.level != NO_LEVEL

    for labelled in sorted(parts, key=rank):
        window = window_around(scene.grid, labelled.part.frame, labelled.part.half_extent_mm)
        if window is None:
            continue
        depth = labelled.part.depth_below_surface_mm(window)
        if scene.roughness_mm:
            depth = depth + scene.rng.normal(0, scene.roughness_mm, depth.shape)
        if labelled.crack is not None:
            along = (window.anterior, window.right, window.superior)[labelled.crack.axis]
            depth = np.minimum(depth, np.abs(along - labelled.crack.at_mm) - labelled.crack.width_mm / 2)
        mask[window.index][depth > 0] = LABELS[labelled.part.structure]
        levels[window.index][depth > 0] = labelled.level
    return mask, levels


def cropped_below(case: LevelCase, rows: int) -> LevelCase:
    """Returns a case without its lowest rows."""
    kept = (slice(None), slice(rows, None), slice(None))
    affine = case.affine.copy()
    affine[:3, 3] += affine[:3, 1] * rows
    return _each(case, affine, lambda array: array[kept])


def cropped_above(case: LevelCase, row: int) -> LevelCase:
    """Returns a case without all above a row."""
    kept = (slice(None), slice(None, row), slice(None))
    return _each(case, case.affine, lambda array: array[kept])


def in_slices(case: LevelCase, count: int, *, also_prediction: bool) -> LevelCase:
    """Returns a case of which only some middle slices are drawn, those about the middle of what is drawn.

    Args:
        case: Any case whose last axis runs from slice to slice.
        count: Number of slices.
        also_prediction: Whether the prediction stops there too.
    """
    filled = np.flatnonzero(case.reference.any(axis=(0, 1)))
    first = int(filled[0] + filled[-1] + 1 - count) // 2
    drawn = np.zeros(case.reference.shape[2], bool)
    drawn[max(first, 0) : first + count] = True
    predicted = drawn if also_prediction else np.ones_like(drawn)
    return LevelCase(
        case.affine,
        np.where(drawn, case.reference, np.uint8(BACKGROUND)),
        np.where(predicted, case.prediction, np.uint8(BACKGROUND)),
        np.where(drawn, case.reference_levels, np.int8(NO_LEVEL)),
        np.where(predicted, case.prediction_levels, np.int8(NO_LEVEL)),
    )


def turned(case: LevelCase, *, order: tuple[int, int, int] = (0, 1, 2), flips: tuple[int, ...] = ()) -> LevelCase:
    """Returns a case with its array's axes in another order and direction; the world stays as it is."""
    affine = case.affine.copy()
    for axis in flips:
        affine[:3, 3] += affine[:3, axis] * (case.reference.shape[axis] - 1)
        affine[:3, axis] *= -1
    return _each(case, affine[:, [*order, 3]], lambda array: np.flip(array, flips).transpose(order))


def _each(case: LevelCase, affine: Matrix, change: Callable[[NDArray[Any]], NDArray[Any]]) -> LevelCase:
    """Returns a case with the same change made to its four arrays."""
    return LevelCase(
        affine,
        np.ascontiguousarray(change(case.reference)),
        np.ascontiguousarray(change(case.prediction)),
        np.ascontiguousarray(change(case.reference_levels)),
        np.ascontiguousarray(change(case.prediction_levels)),
    )
