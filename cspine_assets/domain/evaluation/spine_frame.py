"""The frame that names levels: the vertebral bodies of the reference, one below the other, in the world.

Add a rule here when it decides which bodies there are or what the first one is called. Discs and scores are
assigned to levels elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cspine_assets.domain.evaluation.flags import Flag
from cspine_assets.domain.evaluation.voxels import Piece, pieces_of, usual_size, without_specks

Points = NDArray[np.float64]

FUSED_HEIGHT: Final = 1.75
"""A body this much taller than the median is two or more that grew, or were drawn, together."""

C2_HEIGHT: Final = 2.4
"""Height of C2 with its dens in medians: about 35 mm against 14 to 15 mm."""

FUSED_C2_HEIGHT: Final = 3.1
"""A C2 this tall holds C3 as well: alone it reaches 2.2 to 2.7 medians."""

DENS_HEIGHT: Final = 1.45
"""A topmost body at least this tall may show the dens; no other single body comes near."""

DENS_TAPER: Final = 0.65
"""The upper quarter of C2 is dens: it has fewer than this part of the lower quarter's voxels. Two fused bodies are
as tall, but not tapered."""

PITCH: Final = 4 / 3
"""From one body to the next in body heights: a cervical disc is about a third as high as a body."""

GAP_HEIGHT: Final = 0.9
"""A gap between neighbours of this many body heights has lost a body: discs are a third to a half as high."""

SPLIT_OVERLAP: Final = 0.5
"""Two components that share this part of the lower one's height lie beside one another: one body in pieces."""

UPRIGHT: Final = -0.5
"""Towards the feet the axis must fall by at least half its length: beyond 60 degrees no one says what is above."""

CRACK_HEIGHT: Final = 1.3
"""Neighbours that together, gap included, are no taller than this are one body with a crack: two bodies and their
disc reach 1.5 even where the field of view shows but a rim of the lower one."""

_EDGE: Final = (2.0, 98.0)
"""Percentiles of the voxels' positions taken as upper and lower end: a lone voxel moves neither."""


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
        centres_mm: World position of each body, shape (bodies, 3).
        down: Unit vector along the spine towards the feet at each body, shape (bodies, 3).
        ends_mm: World position half-way between each body and the next, and below the last one, shape (bodies, 3).
        flags: What was found.
    """

    bodies: tuple[Piece, ...]
    centres_mm: Points
    down: Points
    ends_mm: Points
    flags: tuple[FrameFlag, ...]

    def __len__(self) -> int:
        """Returns the number of bodies."""
        return len(self.centres_mm)

    def disc_index(self, points_mm: Points) -> NDArray[np.int64]:
        """Returns for each point, shape (n, 3), how many bodies' planes lie above it.

        1 is below the first body, so in the disc space C2/C3 where the first body is C2; 0 is above all of them.
        """
        return _planes_above(points_mm, self.centres_mm, self.down)

    def body_index(self, points_mm: Points) -> NDArray[np.int64]:
        """Returns for each point, shape (n, 3), how many disc spaces lie above it: 0 is at the first body."""
        return _planes_above(points_mm, self.ends_mm, self.down)

    def disc_flags(self, index: int) -> set[Flag]:
        """Returns the findings that touch the name of one disc."""
        return {found.flag for found in self.flags if index >= found.first_disc}

    def body_flags(self, index: int) -> set[Flag]:
        """Returns the findings that touch the name of one body."""
        return {found.flag for found in self.flags if index >= found.first_body}


def _planes_above(points_mm: Points, through_mm: Points, down: Points) -> NDArray[np.int64]:
    """Returns for each point how many planes lie above it, each given by a point and the direction to the feet."""
    height = points_mm @ down.T - (through_mm * down).sum(axis=1)
    count: NDArray[np.int64] = (height > 0).sum(axis=1)
    return count


@dataclass(frozen=True)
class _Body:
    """One body along the spine: its voxels, where it begins and ends along the axis, and what was done to it."""

    piece: Piece
    top: float
    bottom: float
    done: frozenset[Flag] = frozenset()

    @property
    def height(self) -> float:
        return self.bottom - self.top

    @property
    def centre_mm(self) -> Points:
        centre: Points = self.piece.points_mm.mean(axis=0)
        return centre


def build_spine_frame(bodies: NDArray[np.bool_], affine: NDArray[np.float64]) -> SpineFrame | None:
    """Returns the frame of a reference's bodies, or None where it has none.

    Args:
        bodies: Voxels of vertebral bodies.
        affine: From voxel indices to millimetres.
    """
    found = pieces_of(bodies, affine)
    pieces = without_specks(found, usual=usual_size(found)).kept
    if not pieces:
        return None
    axis = _axis([piece.points_mm.mean(axis=0) for piece in pieces])
    flags = [FrameFlag(Flag.SPINE_ACROSS, 0, 0)] if axis[2] > UPRIGHT else []
    column = _join_split(_along(pieces, axis), axis)
    is_c2 = _shows_dens(column, axis)
    if not is_c2:
        flags.append(FrameFlag(Flag.TOP_NOT_C2, 0, 0))
    return _frame(_cut_fused(column, axis, is_c2=is_c2), axis, flags)


def _axis(centres: list[Points]) -> Points:
    """Returns the unit vector along the spine towards the feet: the main direction of the bodies' centres."""
    if len(centres) == 1:
        return np.array([0.0, 0.0, -1.0])
    spread = np.asarray(centres) - np.mean(centres, axis=0)
    axis: Points = np.linalg.svd(spread, full_matrices=False)[2][0]
    return -axis if axis[2] > 0 else axis


def _along(pieces: list[Piece], axis: Points) -> list[_Body]:
    """Returns the bodies sorted from head to feet."""
    column = [_body(piece, axis) for piece in pieces]
    return sorted(column, key=lambda body: body.top + body.bottom)


def _body(piece: Piece, axis: Points, done: frozenset[Flag] = frozenset()) -> _Body:
    top, bottom = np.percentile(piece.points_mm @ axis, _EDGE)
    return _Body(piece, float(top), float(bottom), done)


def _join_split(column: list[_Body], axis: Points) -> list[_Body]:
    """Returns the bodies with pieces that lie beside one another, or close above, made one."""
    joined = column[:1]
    height = _usual_height(column)
    for body in column[1:]:
        last = joined[-1]
        shared = min(last.bottom, body.bottom) - max(last.top, body.top)
        beside = shared > SPLIT_OVERLAP * min(last.height, body.height)
        if beside or body.bottom - last.top < CRACK_HEIGHT * height:
            whole = Piece.joined([last.piece, body.piece])
            joined[-1] = _body(whole, axis, frozenset({Flag.BODY_IN_PIECES}))
        else:
            joined.append(body)
    return joined


def _cut_fused(column: list[_Body], axis: Points, *, is_c2: bool) -> list[_Body]:
    """Returns the bodies with those that are much too tall cut along the axis."""
    height = _usual_height(column)
    result: list[_Body] = []
    for position, body in enumerate(column):
        edges = _cuts(body, height, is_c2=is_c2 and position == 0) if len(column) > 2 else np.empty(0)
        part = np.digitize(body.piece.points_mm @ axis, edges)
        done = body.done | ({Flag.BODIES_FUSED} if edges.size else set())
        parts = [body.piece.part(part == n) for n in range(len(edges) + 1)]
        result.extend(_body(piece, axis, done) for piece in parts if len(piece))
    return result


def _cuts(body: _Body, height: float, *, is_c2: bool) -> Points:
    """Returns where along the axis a body is to be cut; nowhere where it is one."""
    if is_c2:
        if body.height <= FUSED_C2_HEIGHT * height:
            return np.empty(0)
        extra = max(1, round((body.height / height - C2_HEIGHT) / PITCH))
        return np.array([body.bottom - PITCH * height * n for n in range(extra, 0, -1)])
    if body.height <= FUSED_HEIGHT * height:
        return np.empty(0)
    # n bodies have n - 1 discs between them
    parts = max(2, round((body.height / height - 1) / PITCH) + 1)
    edges: Points = np.linspace(body.top, body.bottom, parts + 1)[1:-1]
    return edges


def _usual_height(column: list[_Body]) -> float:
    """Returns the median height, without the topmost body, whose dens makes it another kind."""
    return float(np.median([body.height for body in column[1:] or column]))


def _shows_dens(column: list[_Body], axis: Points) -> bool:
    """Returns whether the topmost body looks like C2: tall, and narrow at its upper end."""
    top = column[0]
    if len(column) < 3 or top.height < DENS_HEIGHT * _usual_height(column):
        return False
    # measured over the height of a C2 at most, so that a C3 fused to it does not hide the dens
    along = top.piece.points_mm @ axis - top.top
    quarter = min(top.height, C2_HEIGHT * _usual_height(column)) / 4
    return float(np.sum(along < quarter)) < DENS_TAPER * float(np.sum(along > top.height - quarter))


def _frame(column: list[_Body], axis: Points, flags: list[FrameFlag]) -> SpineFrame:
    """Returns the frame of bodies in order, with one put in wherever a body is missing between two."""
    height = _usual_height(column)
    bodies, centres = [column[0].piece], [column[0].centre_mm]
    flags = [*flags, *_flags(column[0], 0)]
    for upper, lower in pairwise(column):
        gap = lower.top - upper.bottom
        if gap > GAP_HEIGHT * height:
            missing = max(1, round((gap / height + 1) / PITCH) - 1)
            flags.append(FrameFlag(Flag.BODY_MISSING, len(bodies), len(bodies)))
            step = (lower.centre_mm - upper.centre_mm) / (missing + 1)
            centres.extend(upper.centre_mm + step * (n + 1) for n in range(missing))
            bodies.extend(Piece.joined([]) for _ in range(missing))
        flags.extend(_flags(lower, len(bodies)))
        bodies.append(lower.piece)
        centres.append(lower.centre_mm)
    middles = np.asarray(centres)
    down = _directions(middles, axis)
    return SpineFrame(tuple(bodies), middles, down, _ends(bodies, middles, down, height), tuple(flags))


def _flags(body: _Body, index: int) -> list[FrameFlag]:
    """Returns what was done to a body: it bears on its own name, and on all below it."""
    return [FrameFlag(flag, index, index + 1) for flag in sorted(body.done)]


def _directions(centres: Points, axis: Points) -> Points:
    """Returns the unit vector towards the feet at each centre: from the neighbour above to the one below."""
    if len(centres) == 1:
        return axis[None, :]
    steps = np.gradient(centres, axis=0)
    directions: Points = steps / np.linalg.norm(steps, axis=1, keepdims=True)
    return directions


def _ends(bodies: list[Piece], centres: Points, down: Points, height: float) -> Points:
    """Returns the point below each body where the next begins: the middle of the gap between the two."""
    half_disc = (PITCH - 1) * height / 2
    ends = []
    for index, body in enumerate(bodies):
        following = bodies[index + 1] if index + 1 < len(bodies) else Piece.joined([])
        sides = [(body, 98, half_disc), (following, 2, -half_disc)]
        reached = [
            (float(np.percentile((piece.points_mm - centres[index]) @ down[index], percentile)), beyond)
            for piece, percentile, beyond in sides
            if len(piece)
        ]
        if len(reached) == 2:
            end = (reached[0][0] + reached[1][0]) / 2
        elif reached:
            end = sum(reached[0])
        else:  # two missing in a row
            end = float((centres[index + 1] - centres[index]) @ down[index]) / 2
        ends.append(centres[index] + down[index] * end)
    return np.asarray(ends)
