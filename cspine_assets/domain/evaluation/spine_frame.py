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
from cspine_assets.domain.evaluation.spine_column import ASIDE, PITCH, Body, Column, build_column, bulk
from cspine_assets.domain.evaluation.spine_line import Points, SpineLine, fit_spine_line
from cspine_assets.domain.evaluation.voxels import Piece, usual_size, without_specks
from cspine_assets.domain.volume import Geometry

GAP_HEIGHT: Final = 0.9
"""A gap between neighbours of this many body heights has lost a body: discs are a third to a half as high."""

WIDE_GAP: Final = 0.7
"""No disc is this high in body heights: from here on it is unsure whether a pressed body is missing."""

CROWDED: Final = 0.6
"""Centres of neighbours lie more than a body's height apart, 0.8 of one where both are pressed: nearer than this is
none of two bodies."""

UNSEEN_C2_BULK: Final = 1.7
"""C2 and C3 in one have at least this bulk in medians, 1.73 the least of 800 synthetic spines of two kinds, and so have
many C2: where the field of view ends above T1, so that none can be counted from below, it is unsure."""

UPRIGHT: Final = -0.5
"""Towards the feet the axis must fall by at least half its length: beyond 60 degrees no one says what is above."""


@dataclass(frozen=True)
class FrameFlag:
    """A finding about the bodies that touches all levels from one on.

    Attributes:
        flag: What was found.
        first_body: Index of the first body whose name it touches, 0 is the topmost.
        first_disc: Index of the first disc whose name it touches, 1 is below the topmost body.
    """

    flag: Flag
    first_body: int
    first_disc: int


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
        aside: Components of bodies beside the spine, which were left out.
    """

    bodies: tuple[Piece, ...]
    is_whole: tuple[bool, ...]
    line: SpineLine
    height_mm: float
    centres_mm: Points
    ends_mm: Points
    flags: tuple[FrameFlag, ...]
    aside: tuple[Piece, ...] = ()

    def __len__(self) -> int:
        """Returns the number of bodies."""
        return len(self.centres_mm)

    def is_aside(self, piece: Piece) -> bool:
        """Returns whether a component lies beside the spine, too far to be a body or a disc."""
        return bool(self.line.offset_mm(piece.points_mm.mean(axis=0)[None, :])[0] > ASIDE * self.height_mm)

    def disc_flags(self, index: int) -> set[Flag]:
        """Returns the findings that touch the name of one disc."""
        return {found.flag for found in self.flags if index >= found.first_disc}

    def body_flags(self, index: int) -> set[Flag]:
        """Returns the findings that touch the name of one body."""
        return {found.flag for found in self.flags if index >= found.first_body}


def build_spine_frame(bodies: list[Piece], discs: list[Piece], geometry: Geometry) -> SpineFrame | None:
    """Returns the frame of a reference, or None where it has no body.

    Args:
        bodies: Its components of vertebral bodies.
        discs: Its components of discs, which tell where one body ends and the next begins.
        geometry: Its grid, which tells whether another body would be seen below the last.
    """
    bodies, discs = (without_specks(found, usual=usual_size(found)).kept for found in (bodies, discs))
    if not bodies:
        return None
    line = _line(bodies, discs)
    column = build_column(bodies, discs, line)
    flags = [FrameFlag(Flag.SPINE_ACROSS, 0, 0)] if line.axis[2] > UPRIGHT else []
    if not column.is_c2:
        flags.append(FrameFlag(Flag.TOP_NOT_C2, 0, 0))
    if column.aside:
        flags.append(FrameFlag(Flag.BODY_ASIDE, 0, 0))
    frame = _frame(column, line, flags, _voxel_mm(line, geometry))
    return replace(frame, flags=(*frame.flags, *_of_count(frame, column, geometry)))


def _of_count(frame: SpineFrame, column: Column, geometry: Geometry) -> list[FrameFlag]:
    """Returns what the count from below says about the names from above, which only C2's look stands for.

    The study's masks show C2 to T1. With fewer bodies, and room for another one below, two of them may be one, or the
    topmost is not C2: no proportion of C2 tells it from C2 and C3 in one, for both overlap among patients. With more,
    one of two without a disc between may be a part of a body; a column with all its discs just goes on below T1.
    """
    if len(frame) < len(VERTEBRAE) and _has_room_below(frame, column.bodies[-1], geometry):
        return [FrameFlag(Flag.BODIES_TOO_FEW, 0, 0)]
    if len(frame) < len(VERTEBRAE) and column.is_c2 and bulk(column.bodies[0], column.height_mm) > UNSEEN_C2_BULK:
        return [FrameFlag(Flag.ONE_BODY_OR_TWO, 0, 0)]
    apart = [column.discs_between(upper, lower) > 0 for upper, lower in pairwise(frame.centres_mm)]
    if len(frame) > len(VERTEBRAE) and not all(apart):
        return [FrameFlag(Flag.BODIES_TOO_MANY, apart.index(False), apart.index(False) + 1)]
    return []


def _has_room_below(frame: SpineFrame, last: Body, geometry: Geometry) -> bool:
    """Returns whether the field of view goes on so far below the last body that another one would be seen."""
    below_mm = frame.line.point_mm(last.bottom_mm + GAP_HEIGHT * frame.height_mm)
    index = np.linalg.solve(geometry.affine[:3, :3], below_mm - geometry.affine[:3, 3])
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


def _frame(column: Column, line: SpineLine, flags: list[FrameFlag], voxel_mm: float) -> SpineFrame:
    """Returns the frame of bodies in order, with one put in wherever a body is missing between two."""
    places = [_Place(column.bodies[0], column.bodies[0].middle_mm)]
    flags = [*flags, *_flags(column.bodies[0].found, 0)]
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
    return SpineFrame(
        bodies=tuple(place.body.piece if place.body else Piece.joined([]) for place in places),
        is_whole=tuple(place.body is not None and place.body.is_whole for place in places),
        line=line,
        height_mm=column.height_mm,
        centres_mm=np.array([place.centre_mm for place in places]),
        ends_mm=_ends(places, column.height_mm),
        flags=tuple(flags),
        aside=column.aside,
    )


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
