"""The 21 adversarial scenarios that names of levels are tried on: what goes wrong in masks, scans and spines.

Add a scenario when a real mask misled the method. How parts are drawn, and on which spines, stands beside this.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final, TypeAlias

import numpy as np
from numpy.random import Generator

from cspine_assets.domain.anatomy import Structure
from cspine_assets.domain.phantom.blocks import Block
from cspine_assets.domain.phantom.grid import Frame, Matrix
from cspine_assets.domain.phantom.level_case import (
    NAMED_BODIES,
    NO_LEVEL,
    Anatomy,
    Crack,
    Labelled,
    LevelCase,
    Part,
    Scene,
    cropped_below,
    draw_case,
    misjudged,
    moved,
    observe,
    turned,
)

Scenario: TypeAlias = Callable[[Generator, Anatomy], LevelCase]
Labels: TypeAlias = tuple[Labelled, ...]

_BODY: Final = Structure.VERTEBRAL_BODY
_DISC: Final = Structure.INTERVERTEBRAL_DISC


def _without(labels: Labels, structure: Structure, *levels: int) -> Labels:
    return tuple(one for one in labels if one.part.structure is not structure or one.level not in levels)


def _is(labelled: Labelled, structure: Structure, level: int) -> bool:
    return labelled.part.structure is structure and labelled.level == level


def _cracked(labels: Labels, structure: Structure, level: int, crack: Crack) -> Labels:
    return tuple(replace(one, crack=crack) if _is(one, structure, level) else one for one in labels)


def _some_disc(rng: Generator) -> int:
    return int(rng.integers(1, NAMED_BODIES))


def _box(structure: Structure, frame: Frame, half_mm: tuple[float, float, float]) -> Block:
    """Returns an extra part of half sizes anterior, right, superior."""
    return Block("extra", structure, frame, *half_mm)


def missing_in_prediction(rng: Generator, anatomy: Anatomy) -> LevelCase:
    """One disc and one body lack in the prediction."""
    scene = observe(rng, anatomy)
    left = _without(_without(scene.prediction, _DISC, _some_disc(rng)), _BODY, int(rng.integers(NAMED_BODIES)))
    return draw_case(replace(scene, prediction=left))


def missing_in_reference(rng: Generator, anatomy: Anatomy) -> LevelCase:
    """One disc lacks in the reference, and in every second case in the prediction too."""
    scene, level = observe(rng, anatomy), _some_disc(rng)
    predicted = _without(scene.prediction, _DISC, level) if rng.random() < 0.5 else scene.prediction
    return draw_case(replace(scene, reference=_without(scene.reference, _DISC, level), prediction=predicted))


def merged(rng: Generator, anatomy: Anatomy) -> LevelCase:
    """Predicted discs hang together behind one to five bodies, and two predicted bodies in front of a disc."""
    scene, first = observe(rng, anatomy), int(rng.integers(1, NAMED_BODIES - 1))
    last = int(rng.integers(first + 1, min(first + 6, NAMED_BODIES)))
    strips = [_behind(anatomy, body) for body in range(first, last)] + [_before(anatomy, _some_disc(rng))]
    bridges = [half for strip in strips for half in strip]
    return draw_case(replace(scene, prediction=(*scene.prediction, *bridges)))


def _behind(anatomy: Anatomy, body: int) -> list[Labelled]:
    """Returns a strip of disc label behind a body, from the disc above to the disc below."""
    part = anatomy.bodies[body]
    frame = Frame(part.frame.point_mm(-part.half_depth_mm - 0.7, 0, 0), part.frame.axes)
    return _strip(_DISC, frame, part.half_height_mm + 2.5, upper=body, lower=body + 1)


def _before(anatomy: Anatomy, disc: int) -> list[Labelled]:
    """Returns a strip of body label in front of a disc, from the body above to the body below."""
    part = anatomy.discs[disc - 1]
    frame = Frame(part.frame.point_mm(part.half_depth_mm - 0.7, 0, 0), part.frame.axes)
    return _strip(_BODY, frame, part.half_height_mm + 2.5, upper=disc - 1, lower=disc)


def _strip(structure: Structure, frame: Frame, half_height: float, *, upper: int, lower: int) -> list[Labelled]:
    """Returns a strip between two levels, each half of it the nearer one's."""
    half = half_height / 2
    return [
        Labelled(_box(structure, Frame(frame.point_mm(0, 0, sign * half), frame.axes), (1.2, 4.5, half)), level)
        for sign, level in ((1, upper), (-1, lower))
    ]


def split(rng: Generator, anatomy: Anatomy) -> LevelCase:
    """One predicted disc and one predicted body are in two pieces, front and back or left and right."""
    scene = observe(rng, anatomy)
    predicted = scene.prediction
    for structure, level in ((_DISC, _some_disc(rng)), (_BODY, int(rng.integers(1, NAMED_BODIES)))):
        axis = int(rng.integers(2))
        width = (3.0 * anatomy.pixel_mm, 1.2 * anatomy.slice_mm)[axis]
        predicted = _cracked(predicted, structure, level, Crack(axis, float(rng.normal(0, 1.5)), width))
    return draw_case(replace(scene, prediction=predicted))


def spurious(rng: Generator, anatomy: Anatomy) -> LevelCase:
    """Something behind or before the spine is labelled in the prediction, in every third case in the reference too."""
    scene = observe(rng, anatomy)
    extra = tuple(_aside(rng, anatomy, structure) for structure in (_DISC, _BODY))
    in_reference = extra if rng.random() < 1 / 3 else ()
    return draw_case(
        replace(scene, prediction=(*scene.prediction, *extra), reference=(*scene.reference, *in_reference))
    )


def _aside(rng: Generator, anatomy: Anatomy, structure: Structure) -> Labelled:
    """Returns a component of a small disc's size 12 to 25 mm off the spine's edge, at any height."""
    part = anatomy.bodies[int(rng.integers(1, NAMED_BODIES))]
    sign = -1 if rng.random() < 0.75 else 1
    forward = sign * (part.half_depth_mm + float(rng.uniform(12, 25)))
    frame = Frame(part.frame.point_mm(forward, 0, float(rng.uniform(-10, 10))), part.frame.axes)
    half = (float(rng.uniform(3, 6)), 6.0, float(rng.uniform(2, 5)))
    return Labelled(_box(structure, frame, half), NO_LEVEL)


def specks(rng: Generator, anatomy: Anatomy) -> LevelCase:
    """Both masks have a dozen specks of both labels, anywhere but on a part of the same label: there none is seen."""
    scene = observe(rng, anatomy)
    return draw_case(
        replace(
            scene,
            reference=(*scene.reference, *_specks(scene, anatomy)),
            prediction=(*scene.prediction, *_specks(scene, anatomy)),
        )
    )


def _specks(scene: Scene, anatomy: Anatomy) -> list[Labelled]:
    size, found = np.array(scene.grid.shape), list[Labelled]()
    half = np.array([0.8 * anatomy.pixel_mm, 0.6 * anatomy.slice_mm, 0.8 * anatomy.pixel_mm])
    while len(found) < 12:
        structure = _BODY if len(found) % 2 else _DISC
        index = scene.rng.uniform(0.05, 0.95, 3) * size
        frame = Frame(scene.grid.affine[:3, :3] @ index + scene.grid.affine[:3, 3], anatomy.bodies[3].frame.axes)
        others = [one.part for one in (*scene.reference, *scene.prediction) if one.part.structure is structure]
        if not any(_is_in_box(frame.centre_mm, part, half) for part in others):
            found.append(Labelled(_box(structure, frame, (half[0], half[1], half[2])), NO_LEVEL))
    return found


def _is_in_box(point_mm: Matrix, part: Part, margin_mm: Matrix) -> bool:
    """Returns whether a point lies in the box around a part, some millimetres and a margin beyond its surface."""
    beside: Matrix = np.abs(part.frame.axes @ (point_mm - part.frame.centre_mm))
    return bool(np.all(beside < part.half_extent_mm + margin_mm))


def fused_bodies(rng: Generator, anatomy: Anatomy) -> LevelCase:
    """Two bodies of the patient have grown together and have no disc; a model may still predict one."""
    scene, level = observe(rng, anatomy), _some_disc(rng)
    bone = bone_between(anatomy, level)
    predicted = scene.prediction
    if rng.random() < 0.5:
        predicted = (*_without(predicted, _DISC, level), *bone)
    return draw_case(replace(scene, reference=(*_without(scene.reference, _DISC, level), *bone), prediction=predicted))


def bone_between(anatomy: Anatomy, level: int) -> list[Labelled]:
    """Returns body label in a disc's place, its upper half the upper body's."""
    part = anatomy.discs[level - 1]
    half = part.half_height_mm / 2
    return [
        Labelled(
            _box(
                _BODY,
                Frame(part.frame.point_mm(0, 0, sign * half), part.frame.axes),
                (0.9 * part.half_depth_mm, 0.9 * part.half_width_mm, half + 0.8),
            ),
            body,
        )
        for sign, body in ((1, level - 1), (-1, level))
    ]


def field_of_view_from_c3(rng: Generator, anatomy: Anatomy) -> LevelCase:
    """Neither mask has C2; every second one still has the disc below it."""
    scene = observe(rng, anatomy)
    masks = [_without(labels, _BODY, 0) for labels in (scene.reference, scene.prediction)]
    if rng.random() < 0.5:
        masks = [_without(labels, _DISC, 1) for labels in masks]
    return draw_case(replace(scene, reference=masks[0], prediction=masks[1]))


def tilted(rng: Generator, anatomy: Anatomy) -> LevelCase:
    """The head is bent: the scan is turned by 15 to 35 degrees in the sagittal plane."""
    angle = float(rng.uniform(15, 35)) * (1 if rng.random() < 0.5 else -1)
    return _reposed(rng, anatomy, rotation(0, angle), np.eye(3))


def rotation(axis: int, degrees: float) -> Matrix:
    """Returns the rotation about a world axis, x, y or z."""
    turn, angle = np.eye(3), np.deg2rad(degrees)
    first, second = (axis + 1) % 3, (axis + 2) % 3
    turn[first, first] = turn[second, second] = np.cos(angle)
    turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
    return turn


def _reposed(rng: Generator, anatomy: Anatomy, body_turn: Matrix, scan_turn: Matrix) -> LevelCase:
    """Returns the plain case of a patient who is turned about C6, in a scan that is turned too."""
    return draw_case(observe(rng, reposed(anatomy, body_turn), turn=scan_turn))


def reposed(anatomy: Anatomy, turn: Matrix) -> Anatomy:
    """Returns a spine turned about C6."""

    def repose(part: Part) -> Part:
        pivot = anatomy.bodies[4].frame.centre_mm
        centre = pivot + turn @ (part.frame.centre_mm - pivot)
        return replace(part, frame=Frame(centre, part.frame.axes @ turn.T))

    return replace(anatomy, bodies=tuple(map(repose, anatomy.bodies)), discs=tuple(map(repose, anatomy.discs)))


def flipped(rng: Generator, anatomy: Anatomy) -> LevelCase:
    """One to three axes of the array run the other way."""
    flips = [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)]
    return turned(draw_case(observe(rng, anatomy)), flips=flips[int(rng.integers(len(flips)))])


def ras_order(rng: Generator, anatomy: Anatomy) -> LevelCase:
    """Axes of the array run across, forwards, upwards, as after a conversion to RAS."""
    return turned(draw_case(observe(rng, anatomy)), order=(2, 0, 1), flips=(0,))


def extra_component(rng: Generator, anatomy: Anatomy) -> LevelCase:
    """Masks go on below T1: T1/T2 and T2 in the reference, the prediction, or both."""
    scene = observe(rng, anatomy)
    more = tuple(
        Labelled(part, level)
        for part, level in ((anatomy.discs[NAMED_BODIES - 1], NAMED_BODIES), (anatomy.bodies[NAMED_BODIES], 7))
    )
    which = int(rng.integers(3))
    predicted = tuple(replace(one, part=misjudged(rng, one.part)) for one in more)
    return draw_case(
        replace(
            scene,
            reference=(*scene.reference, *(more if which != 1 else ())),
            prediction=(*scene.prediction, *(predicted if which != 0 else ())),
        )
    )


def body_split(rng: Generator, anatomy: Anatomy) -> LevelCase:
    """A crack or a vessel's canal cuts one body of the reference in two: across, front to back, or side to side."""
    scene, axis = observe(rng, anatomy), int(rng.integers(3))
    width = (2.5 * anatomy.pixel_mm, 1.2 * anatomy.slice_mm, 2.0 * anatomy.pixel_mm)[axis]
    crack = Crack(axis, float(rng.normal(0, 1)), width)
    level = int(rng.integers(1, NAMED_BODIES))
    return draw_case(replace(scene, reference=_cracked(scene.reference, _BODY, level, crack)))


def body_missing(rng: Generator, anatomy: Anatomy) -> LevelCase:
    """One body between two others lacks in the reference."""
    scene = observe(rng, anatomy)
    left = _without(scene.reference, _BODY, int(rng.integers(1, NAMED_BODIES - 1)))
    return draw_case(replace(scene, reference=left))


def cropped_bottom(rng: Generator, anatomy: Anatomy) -> LevelCase:
    """The field of view ends anywhere between C5 and T1."""
    case = draw_case(observe(rng, anatomy))
    upper, lower = anatomy.bodies[3].frame.centre_mm, anatomy.bodies[6].frame.centre_mm
    end_mm = upper + (lower - upper) * rng.random()
    row = (np.linalg.inv(case.affine) @ [*end_mm, 1.0])[1]
    return cropped_below(case, int(row))


def lateral_shift(rng: Generator, anatomy: Anatomy) -> LevelCase:
    """The whole prediction lies 4 to 9 mm to one side."""
    scene = observe(rng, anatomy)
    by_mm = np.array([float(rng.uniform(4, 9)) * (1 if rng.random() < 0.5 else -1), 0, 0])
    shifted = tuple(replace(one, part=moved(one.part, by_mm)) for one in scene.prediction)
    return draw_case(replace(scene, prediction=shifted))


def disc_above_top(rng: Generator, anatomy: Anatomy) -> LevelCase:
    """Something above C2 is labelled a disc, in the reference, the prediction, or both."""
    scene, axis = observe(rng, anatomy), anatomy.bodies[0]
    height = axis.half_height_mm + axis.dens_mm + 4.0
    frame = Frame(axis.frame.point_mm(0, 0, height), axis.frame.axes)
    extra = (Labelled(_box(_DISC, frame, (6.0, 6.0, 2.0)), NO_LEVEL),)
    which = int(rng.integers(3))
    return draw_case(
        replace(
            scene,
            reference=(*scene.reference, *(extra if which != 1 else ())),
            prediction=(*scene.prediction, *(extra if which != 0 else ())),
        )
    )


def oblique_slices(rng: Generator, anatomy: Anatomy) -> LevelCase:
    """Slices are not sagittal: turned by 10 to 25 degrees about the long axis and up to 12 about the other."""
    yaw = float(rng.uniform(10, 25)) * (1 if rng.random() < 0.5 else -1)
    return _reposed(rng, anatomy, np.eye(3), rotation(2, yaw) @ rotation(1, float(rng.uniform(-12, 12))))


def kyphosis(rng: Generator, anatomy: Anatomy) -> LevelCase:
    """The neck is bent forwards by 25 to 50 degrees in all, a little at each disc."""
    return draw_case(observe(rng, bent(anatomy, float(rng.uniform(25, 50)) / (NAMED_BODIES - 1))))


def bent(anatomy: Anatomy, degrees: float, *, axis: int = 0) -> Anatomy:
    """Returns a spine that bends forwards, or about axis 1 to the side, at every disc: all above turns about it."""
    bodies, discs = list(anatomy.bodies), list(anatomy.discs)
    turn = rotation(axis, -degrees)
    for joint in range(NAMED_BODIES - 1):
        pivot = discs[joint].frame.centre_mm

        def bend(part: Part, pivot: Matrix = pivot) -> Part:
            centre = pivot + turn @ (part.frame.centre_mm - pivot)
            return replace(part, frame=Frame(centre, part.frame.axes @ turn.T))

        bodies[: joint + 1] = map(bend, bodies[: joint + 1])
        discs[:joint] = map(bend, discs[:joint])
    return replace(anatomy, bodies=tuple(bodies), discs=tuple(discs))


def disc_in_body(rng: Generator, anatomy: Anatomy) -> LevelCase:
    """One predicted disc runs into the body below it, past its middle."""
    scene, level = observe(rng, anatomy), _some_disc(rng)
    body = anatomy.bodies[level]
    reach = body.half_height_mm * float(rng.uniform(1.0, 1.3))
    frame = Frame(body.frame.point_mm(0, 0, body.half_height_mm + 1.0 - reach / 2), body.frame.axes)
    width = float(rng.uniform(0.3, 0.6))
    leak = Labelled(_box(_DISC, frame, (width * body.half_depth_mm, width * body.half_width_mm, reach / 2)), level)
    # the body gives way: its own label ends where the leak begins
    hollow = Crack(0, 0.0, 2 * width * body.half_depth_mm)
    predicted = _cracked(scene.prediction, _BODY, level, hollow)
    return draw_case(replace(scene, prediction=(*predicted, leak)))


def off_by_one(rng: Generator, anatomy: Anatomy) -> LevelCase:
    """The prediction begins one level lower than the reference, and ends one lower."""
    scene = observe(rng, anatomy)
    left = _without(_without(scene.prediction, _BODY, 0), _DISC, 1)
    more = tuple(
        Labelled(misjudged(rng, part), NAMED_BODIES)
        for part in (anatomy.discs[NAMED_BODIES - 1], anatomy.bodies[NAMED_BODIES])
    )
    return draw_case(replace(scene, prediction=(*left, *more)))


SCENARIOS: Final[tuple[Scenario, ...]] = (
    missing_in_prediction,
    missing_in_reference,
    merged,
    split,
    spurious,
    specks,
    fused_bodies,
    field_of_view_from_c3,
    tilted,
    flipped,
    ras_order,
    extra_component,
    body_split,
    body_missing,
    cropped_bottom,
    lateral_shift,
    disc_above_top,
    oblique_slices,
    kyphosis,
    disc_in_body,
    off_by_one,
)
"""All scenarios, in the order of the printed table."""


def draw_scenario(scenario: Scenario, spine: Callable[[Generator], Anatomy], *, seed: int, number: int) -> LevelCase:
    """Returns one case of a scenario; equal arguments give equal masks, whatever was drawn before.

    Args:
        scenario: One of ``SCENARIOS``.
        spine: Draws the patient and the spacing.
        seed: Seed of the whole trial.
        number: Which case.
    """
    rng = np.random.default_rng([seed, SCENARIOS.index(scenario), number])
    return scenario(rng, spine(rng))
