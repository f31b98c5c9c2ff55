"""The frame that names levels: the vertebral bodies of the reference, one below the other, in the world.

Add a rule here when it decides what the first body is called or whether one is missing. Which bodies there are
stands in the column; discs and scores are assigned to levels elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

import numpy as np

from cspine_assets.domain.anatomy import VERTEBRAE
from cspine_assets.domain.evaluation.flags import Flag
from cspine_assets.domain.evaluation.spine_column import (
    ARCH_OFFSET,
    ASIDE,
    PITCH,
    SMALL_TOP,
    Body,
    Column,
    build_column,
)
from cspine_assets.domain.evaluation.spine_line import Points, SpineLine, fit_spine_line
from cspine_assets.domain.evaluation.top_body import StatedTop, TopEvidence
from cspine_assets.domain.evaluation.voxels import Piece, usual_size, without_specks
from cspine_assets.domain.volume import Geometry

GAP_HEIGHT: Final = 0.9
"""A gap between neighbours of this many body heights has lost a body: discs are a third to a half as high."""

WIDE_GAP: Final = 0.7
"""No disc is this high in body heights: from here on it is unsure whether a pressed body is missing."""

CROWDED: Final = 0.6
"""Centres of neighbours lie more than a body's height apart, 0.8 of one where both are pressed: nearer than this is
none of two bodies."""

ROOM_ABOVE: Final = 2.0
"""The field of view goes on by more than C2's body, up to 1.6 usual bodies as people draw it, and a disc: if C2 lay
above the topmost body, all of its own body would be seen, and somebody had drawn it."""

UPRIGHT: Final = -0.5
"""Towards the feet the axis must fall by at least half its length: beyond 60 degrees no one says what is above."""


_ALL: Final = 1_000_000
"""An index beyond all levels."""


@dataclass(frozen=True)
class FrameFlag:
    """A finding about the bodies that touches all levels from one on.

    Attributes:
        flag: What was found.
        first_body: Index of the first body whose name it touches, 0 is C2.
        first_disc: Index of the first disc whose name it touches, 1 is below C2.
        last_body: Index of the last such body.
        last_disc: Index of the last such disc.
    """

    flag: Flag
    first_body: int
    first_disc: int
    last_body: int = _ALL
    last_disc: int = _ALL


@dataclass(frozen=True)
class SpineFrame:
    """The bodies of one reference, superior to inferior.

    Attributes:
        bodies: Voxels of each body; none for one that is missing and was put in between two others.
        is_whole: Whether each body was drawn by itself: not put in, and not cut out of a fused one.
        line: The spine's line.
        height_mm: Usual height of a body.
        centres_mm: Place of each body's centre along the line, shape (bodies,).
        ends_mm: Place half-way between each body and the next, and below the last one, shape (bodies,).
        flags: What was found.
        top: What the topmost body's name stands on.
        aside: Components of bodies beside the spine, or above C2, which were left out.
    """

    bodies: tuple[Piece, ...]
    is_whole: tuple[bool, ...]
    line: SpineLine
    height_mm: float
    centres_mm: Points
    ends_mm: Points
    flags: tuple[FrameFlag, ...]
    top: TopEvidence
    aside: tuple[Piece, ...] = ()

    def __len__(self) -> int:
        """Returns the number of bodies."""
        return len(self.centres_mm)

    def is_aside(self, piece: Piece) -> bool:
        """Returns whether a component lies beside the spine, too far to be a body or a disc."""
        return bool(self.line.offset_mm(piece.points_mm.mean(axis=0)[None, :])[0] > ASIDE * self.height_mm)

    def is_arch(self, piece: Piece) -> bool:
        """Returns whether a component of body label is C1's arch: small, above C2's middle, in front of its dens."""
        usual = usual_size([body for body in self.bodies if len(body)])
        if len(piece) >= SMALL_TOP * usual or piece.along_mm(self.line).mean() >= self.centres_mm[0]:
            return False
        off_mm = float(self.line.offset_mm(piece.points_mm.mean(axis=0)[None, :])[0])
        return off_mm > ARCH_OFFSET * self.height_mm

    def disc_flags(self, index: int) -> set[Flag]:
        """Returns the findings that touch the name of one disc."""
        return {found.flag for found in self.flags if found.first_disc <= index <= found.last_disc}

    def body_flags(self, index: int) -> set[Flag]:
        """Returns the findings that touch the name of one body."""
        return {found.flag for found in self.flags if found.first_body <= index <= found.last_body}


def build_spine_frame(
    bodies: list[Piece], discs: list[Piece], geometry: Geometry, *, stated: StatedTop | None = None
) -> SpineFrame | None:
    """Returns the frame of a reference, or None where it has no body.

    Args:
        bodies: Its components of vertebral bodies.
        discs: Its components of discs, which tell where one body ends and the next begins.
        geometry: Its grid, which tells whether another body would be seen above the first or below the last.
        stated: What a person says the topmost body is, or None.
    """
    bodies, discs = (without_specks(found, usual=usual_size(found)).kept for found in (bodies, discs))
    if not bodies:
        return None
    line = _line(bodies, discs)
    column = build_column(bodies, discs, line)
    first = stated.index if stated else 0
    places, found = _places(column, first, _voxel_mm(line, geometry))
    room_below = _is_seen(line.point_mm(column.bodies[-1].bottom_mm + GAP_HEIGHT * column.height_mm), geometry)
    top = _evidence(column, line, geometry, stated, is_counted=room_below and len(places) == len(VERTEBRAE))
    flags = [FrameFlag(flag, 0, 0) for flag in sorted(top.flags)]
    if line.axis[2] > UPRIGHT:
        flags.append(FrameFlag(Flag.SPINE_ACROSS, 0, 0))
    if column.aside:
        flags.append(FrameFlag(Flag.BODY_ASIDE, 0, 0))
    flags += _of_count(places, column, room_below=room_below, is_stated=stated is not None)
    is_settled = top.is_counted and top.is_named and Flag.SPINE_ACROSS not in {one.flag for one in flags}
    flags += _settled(found) if is_settled else found
    return SpineFrame(
        bodies=tuple(place.body.piece if place.body else Piece.joined([]) for place in places),
        is_whole=tuple(place.body is not None and place.body.is_whole for place in places),
        line=line,
        height_mm=column.height_mm,
        centres_mm=np.array([place.centre_mm for place in places]),
        ends_mm=_ends(places, column.height_mm),
        flags=tuple(flags),
        top=top,
        aside=column.aside,
    )


def _evidence(
    column: Column, line: SpineLine, geometry: Geometry, stated: StatedTop | None, *, is_counted: bool
) -> TopEvidence:
    """Returns what bears on the name of the topmost body."""
    top, usual = column.bodies[0], float(np.median([len(body.piece) for body in column.bodies]))
    above = [piece for piece in column.aside if piece.along_mm(line).mean() < top.middle_mm]
    room_mm = next(
        (away for away in np.arange(0.0, 200.0) if not _is_seen(line.point_mm(top.top_mm - away - 1), geometry)), 200.0
    )
    return TopEvidence(
        room_above_mm=float(room_mm),
        is_open_above=bool(room_mm > ROOM_ABOVE * column.height_mm) and not top.piece.is_cut_off,
        is_annotated_above=any(len(piece) >= SMALL_TOP * usual for piece in above),
        has_dens=column.has_dens,
        is_counted=is_counted,
        stated=stated,
    )


def _of_count(places: list[_Place], column: Column, *, room_below: bool, is_stated: bool) -> list[FrameFlag]:
    """Returns what the count from below says about the names from above.

    The study's masks show C2 to T1. With fewer bodies, and room for another one below, two of them may be one, or the
    topmost is not C2, or T1 was left out; a person's word settles it. With more, one of two without a disc between may
    be a part of a body; a column with all its discs just goes on below T1.
    """
    if len(places) < len(VERTEBRAE) and room_below and not is_stated:
        return [FrameFlag(Flag.BODIES_TOO_FEW, 0, 0)]
    apart = [column.discs_between(upper.centre_mm, lower.centre_mm) > 0 for upper, lower in pairwise(places)]
    if len(places) > len(VERTEBRAE) and not all(apart):
        return [FrameFlag(Flag.BODIES_TOO_MANY, apart.index(False), apart.index(False) + 1)]
    return []


def _settled(found: list[FrameFlag]) -> list[FrameFlag]:
    """Returns findings about single bodies where the count from C2 to T1 says that all names are right.

    A body fused, missing or doubted makes the names below it unsure; with exactly seven bodies from C2 on, and room for
    an eighth, it was counted right. What is left is which voxels belong to it: its own level stays unsure.
    Whether one body is one or two is settled altogether.
    """
    fused = {one.first_body for one in found if one.flag is Flag.BODIES_FUSED}
    settled = []
    for one in found:
        if one.flag is Flag.ONE_BODY_OR_TWO:
            continue
        disc = one.first_body + 1 if one.first_body + 1 in fused or one.flag is Flag.BODY_MISSING else -1
        settled.append(replace(one, last_body=one.first_body, first_disc=disc, last_disc=disc))
    if not found:
        return []
    first = min(one.first_body for one in found)
    return [*settled, FrameFlag(Flag.COUNT_SETTLES, first, first + 1)]


def _is_seen(point_mm: Points, geometry: Geometry) -> bool:
    """Returns whether a place lies within the field of view."""
    index = np.linalg.solve(geometry.affine[:3, :3], point_mm - geometry.affine[:3, 3])
    return bool(np.all((index > 0) & (index < np.array(geometry.shape) - 1)))


def _line(bodies: list[Piece], discs: list[Piece]) -> SpineLine:
    """Returns the line through all components; the large ones have one weight, so that a fused one does not rule."""
    centres, weights = [], []
    for pieces in (bodies, discs):
        usual = usual_size(pieces)
        centres += [piece.points_mm.mean(axis=0) for piece in pieces]
        weights += [min(len(piece) / usual, 1.0) for piece in pieces]
    return fit_spine_line(np.array(centres), np.array(weights))


@dataclass(frozen=True)
class _Place:
    """A body in its place, also one that is missing: without voxels, but with a centre."""

    body: Body | None
    centre_mm: float


def _places(column: Column, first: int, voxel_mm: float) -> tuple[list[_Place], list[FrameFlag]]:
    """Returns the places of all bodies from C2 on, with one put in wherever a body is missing, and what was found.

    Args:
        column: The bodies.
        first: Index of the topmost one: those above it are missing too.
        voxel_mm: Extent of a voxel along the spine.
    """
    top, pitch = column.bodies[0], PITCH * column.height_mm
    places = [_Place(None, top.middle_mm - pitch * (first - n)) for n in range(first)]
    places.append(_Place(top, top.middle_mm))
    flags = _flags(top.found, first)
    for upper, lower in pairwise(column.bodies):
        gap = _gap(upper, lower, column.height_mm, voxel_mm)
        missing = _missing_between(column, upper, lower, gap)
        step = (lower.middle_mm - upper.middle_mm) / (missing + 1)
        if missing or gap > WIDE_GAP:
            flags.append(FrameFlag(Flag.BODY_MISSING, len(places), len(places)))
        if step < CROWDED * column.height_mm:
            flags.append(FrameFlag(Flag.ONE_BODY_OR_TWO, len(places) - 1, len(places)))
        places.extend(_Place(None, upper.middle_mm + step * (n + 1)) for n in range(missing))
        flags.extend(_flags(lower.found, len(places)))
        places.append(_Place(lower, lower.middle_mm))
    return places, flags


def _flags(found: frozenset[Flag], index: int) -> list[FrameFlag]:
    """Returns what was found about a body: it bears on its own name, and on all below it."""
    return [FrameFlag(flag, index, index + 1) for flag in sorted(found)]


def _gap(upper: Body, lower: Body, height: float, voxel_mm: float) -> float:
    """Returns the gap between two bodies in body heights, from edge to edge.

    Ends of bodies are centres of voxels, which makes each body a voxel lower and each gap a voxel higher than it is: in
    voxels of 2.5 mm a usual disc would be a gap that has lost a body.
    """
    return (lower.top_mm - upper.bottom_mm - voxel_mm) / (height + voxel_mm)


def _voxel_mm(line: SpineLine, geometry: Geometry) -> float:
    """Returns the extent of a voxel along the spine: its side that is nearest to the line's direction."""
    along = np.abs(geometry.affine[:3, :3].T @ line.axis)
    return float(along[np.argmax(along / np.linalg.norm(geometry.affine[:3, :3], axis=0))])


def _missing_between(column: Column, upper: Body, lower: Body, gap: float) -> int:
    """Returns how many bodies lack between two neighbours: by the gap's height, or by two discs in it."""
    by_height = max(1, round((gap + 1) / PITCH) - 1) if gap > GAP_HEIGHT else 0
    return max(by_height, column.discs_between(upper.middle_mm, lower.middle_mm) - 1)


def _ends(places: list[_Place], height: float) -> Points:
    """Returns where along the line one body ends and the next begins: the middle of the gap between the two."""
    half_disc = (PITCH - 1) * height / 2
    ends = []
    for upper, lower in pairwise([*places, None]):
        bottom = upper.body.bottom_mm if upper and upper.body else None
        top = lower.body.top_mm if lower and lower.body else None
        if bottom is not None and top is not None:
            ends.append((bottom + top) / 2)
        elif bottom is not None:
            ends.append(bottom + half_disc)
        elif top is not None:
            ends.append(top - half_disc)
        elif upper and lower:  # two missing in a row
            ends.append((upper.centre_mm + lower.centre_mm) / 2)
    return np.array(ends)
