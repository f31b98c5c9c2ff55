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
from cspine_assets.domain.evaluation.voxels import pieces_of, usual_size, without_specks

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
class SpineFrame:
    """The bodies of one reference, superior to inferior.

    Attributes:
        centres_mm: World position of each body, shape (bodies, 3); bodies without voxels of their own included.
        down: Unit vector along the spine towards the feet at each body, shape (bodies, 3).
        flags: What was found, by the first level index from which on names are touched.
    """

    centres_mm: Points
    down: Points
    flags: tuple[tuple[int, Flag], ...]

    def __len__(self) -> int:
        """Returns the number of bodies."""
        return len(self.centres_mm)

    def level_index(self, points_mm: Points) -> NDArray[np.int64]:
        """Returns for each point, shape (n, 3), how many bodies' planes lie above it.

        1 is below the first body, so in the disc space C2/C3 where the first body is C2; 0 is above all of them.
        """
        below = ((points_mm[:, None, :] - self.centres_mm) * self.down).sum(axis=2) > 0
        count: NDArray[np.int64] = below.sum(axis=1)
        return count

    def flags_of(self, index: int) -> set[Flag]:
        """Returns the findings that touch the name of one level."""
        return {flag for first, flag in self.flags if index >= first}


@dataclass(frozen=True)
class _Body:
    """One body along the spine: its voxels' world positions, and where it begins and ends along the axis."""

    points_mm: Points
    top: float
    bottom: float

    @property
    def height(self) -> float:
        return self.bottom - self.top


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
    flags: list[tuple[int, Flag]] = [(0, Flag.SPINE_ACROSS)] if axis[2] > UPRIGHT else []
    column = _join_split(_along([piece.points_mm for piece in pieces], axis), axis, flags)
    is_c2 = _shows_dens(column, axis)
    if not is_c2:
        flags.append((0, Flag.TOP_NOT_C2))
    column = _cut_fused(column, axis, flags, is_c2=is_c2)
    centres = _fill_gaps(column, flags)
    return SpineFrame(centres, _directions(centres, axis), tuple(flags))


def _axis(centres: list[Points]) -> Points:
    """Returns the unit vector along the spine towards the feet: the main direction of the bodies' centres."""
    if len(centres) == 1:
        return np.array([0.0, 0.0, -1.0])
    spread = np.asarray(centres) - np.mean(centres, axis=0)
    axis: Points = np.linalg.svd(spread, full_matrices=False)[2][0]
    return -axis if axis[2] > 0 else axis


def _along(clouds: list[Points], axis: Points) -> list[_Body]:
    """Returns the bodies sorted from head to feet."""
    column = [_body(points, axis) for points in clouds]
    return sorted(column, key=lambda body: body.top + body.bottom)


def _body(points_mm: Points, axis: Points) -> _Body:
    top, bottom = np.percentile(points_mm @ axis, _EDGE)
    return _Body(points_mm, float(top), float(bottom))


def _join_split(column: list[_Body], axis: Points, found: list[tuple[int, Flag]]) -> list[_Body]:
    """Returns the bodies with pieces that lie beside one another, or close above, made one."""
    joined = column[:1]
    height = _usual_height(column)
    for body in column[1:]:
        last = joined[-1]
        shared = min(last.bottom, body.bottom) - max(last.top, body.top)
        beside = shared > SPLIT_OVERLAP * min(last.height, body.height)
        if beside or body.bottom - last.top < CRACK_HEIGHT * height:
            joined[-1] = _body(np.concatenate([last.points_mm, body.points_mm]), axis)
            found.append((len(joined), Flag.BODY_IN_PIECES))
        else:
            joined.append(body)
    return joined


def _cut_fused(column: list[_Body], axis: Points, found: list[tuple[int, Flag]], *, is_c2: bool) -> list[_Body]:
    """Returns the bodies with those that are much too tall cut along the axis."""
    height = _usual_height(column)
    result: list[_Body] = []
    for position, body in enumerate(column):
        edges = _cuts(body, height, is_c2=is_c2 and position == 0) if len(column) > 2 else np.empty(0)
        if not edges.size:
            result.append(body)
            continue
        found.append((len(result) + 1, Flag.BODIES_FUSED))
        part = np.digitize(body.points_mm @ axis, edges)
        result.extend(_body(body.points_mm[part == n], axis) for n in range(len(edges) + 1) if np.any(part == n))
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
    along = top.points_mm @ axis - top.top
    quarter = min(top.height, C2_HEIGHT * _usual_height(column)) / 4
    return float(np.sum(along < quarter)) < DENS_TAPER * float(np.sum(along > top.height - quarter))


def _fill_gaps(column: list[_Body], found: list[tuple[int, Flag]]) -> Points:
    """Returns the centres, shape (bodies, 3), with one put in wherever a body is missing between two."""
    height = _usual_height(column)
    centres = [column[0].points_mm.mean(axis=0)]
    for upper, lower in pairwise(column):
        gap = lower.top - upper.bottom
        start, end = upper.points_mm.mean(axis=0), lower.points_mm.mean(axis=0)
        if gap > GAP_HEIGHT * height:
            missing = max(1, round((gap / height + 1) / PITCH) - 1)
            found.append((len(centres), Flag.BODY_MISSING))
            centres.extend(start + (end - start) * (n + 1) / (missing + 1) for n in range(missing))
        centres.append(end)
    return np.asarray(centres)


def _directions(centres: Points, axis: Points) -> Points:
    """Returns the unit vector towards the feet at each centre: from the neighbour above to the one below."""
    if len(centres) == 1:
        return axis[None, :]
    steps = np.gradient(centres, axis=0)
    directions: Points = steps / np.linalg.norm(steps, axis=1, keepdims=True)
    return directions
