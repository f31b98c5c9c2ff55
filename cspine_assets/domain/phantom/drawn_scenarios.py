"""Masks as experts draw them, with the level of every voxel known: what the names of levels must hold on.

Add a scenario when a real mask is drawn in another way. Errors of models and scans that any mask may have stand in
``scenarios``; proportions in ``drawn_spine``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

import numpy as np
from numpy.random import Generator

from cspine_assets.domain.anatomy import Structure
from cspine_assets.domain.phantom.blocks import Block
from cspine_assets.domain.phantom.drawn_spine import ADULT, AGED, SLIGHT, Drawn, dens_of, draw_spine
from cspine_assets.domain.phantom.grid import Frame
from cspine_assets.domain.phantom.level_case import (
    NAMED_BODIES,
    NO_LEVEL,
    Crack,
    Labelled,
    LevelCase,
    Scene,
    cropped_above,
    cropped_below,
    draw_case,
    in_slices,
    misjudged,
    observe,
)
from cspine_assets.domain.phantom.scenarios import bent, bone_between, reposed, rotation

Draw: TypeAlias = Callable[[Generator], Drawn]
DrawnScenario: TypeAlias = Callable[[Generator, Drawn], LevelCase]

KINDS: Final[dict[str, Draw]] = {
    "adult": draw_spine(ADULT),
    "aged": draw_spine(AGED),
    "slight": draw_spine(SLIGHT),
}
"""Populations by name."""

_BODY: Final = Structure.VERTEBRAL_BODY
_DISC: Final = Structure.INTERVERTEBRAL_DISC


@dataclass(frozen=True)
class _Dens:
    """How much of the dens is drawn: height 0 to 1, and in how many slices, None for all."""

    height: float
    slices: int | None = None


_NONE: Final = _Dens(0.0)


def _some_dens(rng: Generator) -> _Dens:
    """Returns any way to draw the dens: not at all, whole, or a part of it."""
    way = rng.random()
    if way < 0.4:
        return _NONE
    return _Dens(1.0 if way < 0.7 else float(rng.uniform(0.2, 1.0)), None if way < 0.85 else int(rng.integers(1, 4)))


def _scene(rng: Generator, drawn: Drawn, *, dens: _Dens | None = None, bodies: int = NAMED_BODIES) -> Scene:
    """Returns both masks from C2 on, with the dens as asked, and some two bodies' heights of room above and below."""
    scene = observe(rng, drawn.anatomy, bodies=bodies)
    dens = dens or _some_dens(rng)
    if not dens.height:
        return scene
    part = dens_of(rng, drawn, height=dens.height, slices=dens.slices)
    return replace(
        scene,
        reference=(*scene.reference, Labelled(part, 0)),
        prediction=(*scene.prediction, Labelled(misjudged(rng, part), 0)),
    )


def plain(rng: Generator, drawn: Drawn) -> LevelCase:
    """C2 to T1, drawn with a part of the dens, all of it or none."""
    return draw_case(_scene(rng, drawn))


def no_dens(rng: Generator, drawn: Drawn) -> LevelCase:
    """C2 without its dens."""
    return draw_case(_scene(rng, drawn, dens=_NONE))


def dens_in_few_slices(rng: Generator, drawn: Drawn) -> LevelCase:
    """The dens stands in one to five slices, 2 to 4.4 mm apart."""
    thin = replace(drawn.anatomy, slice_mm=float(rng.uniform(2.0, 4.4)))
    drawn = replace(drawn, anatomy=thin)
    return draw_case(_scene(rng, drawn, dens=_Dens(float(rng.uniform(0.5, 1)), int(rng.integers(1, 6)))))


def tall_c2(rng: Generator, drawn: Drawn) -> LevelCase:
    """All of the dens is drawn, up to a quarter longer than usual."""
    return draw_case(_scene(rng, drawn, dens=_Dens(float(rng.uniform(1.0, 1.25)))))


def cropped_bottom(rng: Generator, drawn: Drawn) -> LevelCase:
    """The field of view ends anywhere between C5 and T1."""
    case = draw_case(_scene(rng, drawn))
    upper, lower = (drawn.anatomy.bodies[n].frame.centre_mm for n in (3, 6))
    return cropped_below(case, _row(case, upper + (lower - upper) * rng.random()))


def _row(case: LevelCase, place_mm: np.ndarray) -> int:
    """Returns the row of the array in which a place of the world lies."""
    return int((np.linalg.inv(case.affine) @ [*place_mm, 1.0])[1])


def long_field(rng: Generator, drawn: Drawn) -> LevelCase:
    """The masks go on to T2, T3 or T4."""
    return draw_case(_scene(rng, drawn, bodies=int(rng.integers(8, 11))))


def discs_gone(rng: Generator, drawn: Drawn) -> LevelCase:
    """One or two discs are worn away, and are in neither mask."""
    scene = _scene(rng, drawn)
    gone = set(rng.choice(np.arange(1, NAMED_BODIES), size=int(rng.integers(1, 3)), replace=False).tolist())
    left = [
        tuple(one for one in labels if one.part.structure is not _DISC or one.level not in gone)
        for labels in (scene.reference, scene.prediction)
    ]
    return draw_case(replace(scene, reference=left[0], prediction=left[1]))


def spondylolisthesis(rng: Generator, drawn: Drawn) -> LevelCase:
    """All above one disc have slipped 2 to 5 mm forwards or backwards."""
    level = int(rng.integers(1, NAMED_BODIES))
    slip = float(rng.uniform(2, 5)) * (1 if rng.random() < 0.7 else -1)
    moved = drawn.anatomy.bodies[level].frame.axes[0] * slip
    bodies, discs = list(drawn.anatomy.bodies), list(drawn.anatomy.discs)
    for parts, last in ((bodies, level), (discs, level - 1)):
        for n in range(last):
            parts[n] = replace(parts[n], frame=Frame(parts[n].frame.centre_mm + moved, parts[n].frame.axes))
    slipped = replace(drawn.anatomy, bodies=tuple(bodies), discs=tuple(discs))
    return draw_case(_scene(rng, replace(drawn, anatomy=slipped)))


def kyphosis(rng: Generator, drawn: Drawn) -> LevelCase:
    """The neck is bent forwards by 20 to 45 degrees in all."""
    return draw_case(_scene(rng, replace(drawn, anatomy=bent(drawn.anatomy, float(rng.uniform(20, 45)) / 6))))


def scoliosis(rng: Generator, drawn: Drawn) -> LevelCase:
    """The neck is bent to the side by 10 to 25 degrees in all, in a slab wide enough for it."""
    sideways = bent(drawn.anatomy, float(rng.uniform(10, 25)) / 6 * (1 if rng.random() < 0.5 else -1), axis=1)
    return draw_case(_scene(rng, replace(drawn, anatomy=sideways)))


def thick_slices(rng: Generator, drawn: Drawn) -> LevelCase:
    """Nine to twelve slices of 4 to 5 mm."""
    return draw_case(_scene(rng, replace(drawn, anatomy=replace(drawn.anatomy, slice_mm=float(rng.uniform(4, 5))))))


def some_slices(rng: Generator, drawn: Drawn) -> LevelCase:
    """The reference is drawn in three to five slices, the prediction in these or in all."""
    case = draw_case(_scene(rng, drawn))
    return in_slices(case, int(rng.integers(3, 6)), also_prediction=bool(rng.random() < 0.5))


def tilted(rng: Generator, drawn: Drawn) -> LevelCase:
    """The patient's head is bent by 10 to 30 degrees."""
    angle = float(rng.uniform(10, 30)) * (1 if rng.random() < 0.5 else -1)
    return draw_case(_scene(rng, replace(drawn, anatomy=reposed(drawn.anatomy, rotation(0, angle)))))


def arch_of_c1(rng: Generator, drawn: Drawn) -> LevelCase:
    """The front arch of C1 has the label of bodies too, in the reference, the prediction or both."""
    scene = _scene(rng, drawn)
    c2, which = drawn.anatomy.bodies[0], int(rng.integers(3))
    forward = float(rng.uniform(8.5, 11.0))
    height = c2.half_height_mm + float(rng.uniform(0.45, 0.8)) * drawn.dens_mm
    frame = Frame(c2.frame.point_mm(forward, 0, height), c2.frame.axes)
    half = (float(rng.uniform(2, 3)), float(rng.uniform(3, 8)), float(rng.uniform(3.5, 5.5)))
    arch = Labelled(Block("C1", _BODY, frame, *half, is_oval=True), NO_LEVEL)
    return draw_case(
        replace(
            scene,
            reference=(*scene.reference, *([arch] if which != 1 else [])),
            prediction=(*scene.prediction, *([arch] if which != 0 else [])),
        )
    )


def poor_prediction(rng: Generator, drawn: Drawn) -> LevelCase:
    """The prediction lacks a body and a disc, and another disc is in two pieces."""
    scene = _scene(rng, drawn)
    body = int(rng.integers(7))
    disc, split = rng.choice(np.arange(1, 7), 2, replace=False)
    predicted = []
    for one in scene.prediction:
        if (one.part.structure, one.level) in ((_BODY, body), (_DISC, disc)):
            continue
        if (one.part.structure, one.level) == (_DISC, split):
            one = replace(one, crack=Crack(0, 0.0, 3.0 * drawn.anatomy.pixel_mm))  # noqa: PLW2901 - the same part
        predicted.append(one)
    return draw_case(replace(scene, prediction=tuple(predicted)))


def block_vertebra(rng: Generator, drawn: Drawn) -> LevelCase:
    """Two bodies have grown together without a disc, C2 and C3 in every second case."""
    scene = _scene(rng, drawn)
    level = 1 if rng.random() < 0.5 else int(rng.integers(2, NAMED_BODIES))
    bone = tuple(bone_between(drawn.anatomy, level))
    left = [
        tuple(one for one in labels if one.part.structure is not _DISC or one.level != level)
        for labels in (scene.reference, scene.prediction)
    ]
    return draw_case(replace(scene, reference=(*left[0], *bone), prediction=(*left[1], *bone)))


def block_in_short_field(rng: Generator, drawn: Drawn) -> LevelCase:
    """The same, in a field of view that ends between C5 and T1: nothing can be counted."""
    case = block_vertebra(rng, drawn)
    upper, lower = (drawn.anatomy.bodies[n].frame.centre_mm for n in (3, 6))
    return cropped_below(case, _row(case, upper + (lower - upper) * rng.random()))


def dens_cut_off(rng: Generator, drawn: Drawn) -> LevelCase:
    """The field of view ends within the dens."""
    case, c2 = draw_case(_scene(rng, drawn, dens=_Dens(1.0))), drawn.anatomy.bodies[0]
    above = c2.half_height_mm + drawn.dens_mm * float(rng.uniform(0.1, 0.9))
    return cropped_above(case, _row(case, c2.frame.point_mm(0, 0, above)))


def field_from_c3(rng: Generator, drawn: Drawn) -> LevelCase:
    """The field of view ends above C3, within C2, which is not drawn; the disc below it is, in every second case."""
    scene, with_disc = _scene(rng, drawn, dens=_NONE), rng.random() < 0.5
    left = [
        tuple(one for one in labels if not (one.part.structure is _BODY and one.level == 0))
        for labels in (scene.reference, scene.prediction)
    ]
    if not with_disc:
        left = [tuple(one for one in labels if not (one.part.structure is _DISC and one.level == 1)) for labels in left]
    case = draw_case(replace(scene, reference=left[0], prediction=left[1]))
    c2 = drawn.anatomy.bodies[0]
    return cropped_above(case, _row(case, c2.frame.point_mm(0, 0, float(rng.uniform(-1, 0.6)) * c2.half_height_mm)))


def without_t1(rng: Generator, drawn: Drawn) -> LevelCase:
    """T1 and the disc above it are in the field of view, and are not drawn."""
    return draw_case(_scene(rng, drawn, bodies=NAMED_BODIES - 1))


DECIDED: Final[tuple[DrawnScenario, ...]] = (
    plain,
    no_dens,
    dens_in_few_slices,
    tall_c2,
    cropped_bottom,
    long_field,
    discs_gone,
    spondylolisthesis,
    kyphosis,
    scoliosis,
    thick_slices,
    some_slices,
    tilted,
    arch_of_c1,
    poor_prediction,
)
"""The field of view goes on above C2 by more than a body and a disc, and the numbers fit: the names can be known."""

UNDECIDED: Final[tuple[DrawnScenario, ...]] = (
    block_vertebra,
    block_in_short_field,
    dens_cut_off,
    field_from_c3,
    without_t1,
)
"""The field of view ends too near, bodies are fused, or the count does not fit: it may be right to be unsure."""

DRAWN_SCENARIOS: Final = (*DECIDED, *UNDECIDED)
"""All scenarios, in the order of the printed table."""


def draw_drawn_scenario(scenario: DrawnScenario, kind: Draw, *, seed: int, number: int) -> LevelCase:
    """Returns one case of a scenario; equal arguments give equal masks, whatever was drawn before.

    Args:
        scenario: One of ``DRAWN_SCENARIOS``.
        kind: Draws the patient and the spacing.
        seed: Seed of the whole trial.
        number: Which case.
    """
    rng = np.random.default_rng([seed, 1000 + DRAWN_SCENARIOS.index(scenario), number])
    return scenario(rng, kind(rng))
