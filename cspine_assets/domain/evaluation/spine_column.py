"""Which vertebral bodies a mask has, superior to inferior: components joined, cut or left out by what lies between.

Add a rule here when it decides whether something is one body, two or none. What the bodies are called stands in the
frame.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from cspine_assets.domain.evaluation.flags import Flag
from cspine_assets.domain.evaluation.spine_line import Points, SpineLine
from cspine_assets.domain.evaluation.voxels import RIM, Piece, percentiles, usual_size

FUSED_HEIGHT: Final = 1.75
"""A body this much taller than the median is two or more that grew, or were drawn, together."""

TALL_HEIGHT: Final = 1.45
"""No single body below C2 is this much taller than the median; two pressed ones may be no taller: it is unsure."""

C2_BODY: Final = 1.2
"""Height of C2's body below its dens in medians."""

TALL_C2_BODY: Final = 1.6
"""From here on the wide part of the topmost body may be C2 and a pressed C3 in one: it is unsure."""

FUSED_C2_BODY: Final = 1.95
"""From here on it is cut. C2's body alone reaches 1.7 medians, 22 mm below a dens of 16 against 13 to 14 mm (Yousuf et
al., Int J Res Med Sci 2023; 11: 1621); with a C3 of two thirds of a median and a narrow disc it has 1.9."""

WIDE: Final = 0.7
"""A body is as wide as this part of its lower end up to where its dens begins: the dens has a third to a half."""

SMALL_TOP: Final = 0.35
"""A topmost component under this part of the usual size, without a disc below it, is no body: the tip of the dens,
drawn apart, or the arch of C1, which has no body."""

DOUBTFUL_TOP: Final = 0.6
"""From ``SMALL_TOP`` to here it is unsure whether it is a body."""

FLAT_TOP: Final = 0.85
"""A small one on the line that is taller than this part of a body may be a C2 drawn in one slice: it is unsure."""

ARCH_OFFSET: Final = 0.35
"""The arch of C1 lies in front of the dens, its centre at least this many body heights off the line."""

DENS_HEIGHT: Final = 1.45
"""A topmost body at least this tall may show the dens; no other single body comes near."""

DENS_TAPER: Final = 0.65
"""The upper quarter of C2 is dens: it has fewer than this part of the lower quarter's voxels. Two fused bodies are
as tall, but not tapered."""

C2_HEIGHT: Final = 2.4
"""Height of C2 with its dens in medians: about 35 mm against 14 to 15 mm."""

PITCH: Final = 4 / 3
"""From one body to the next in body heights: a cervical disc is about a third as high as a body."""

SPLIT_OVERLAP: Final = 0.5
"""Two components that share this part of the lower one's height lie beside one another: one body in pieces."""

CRACK_HEIGHT: Final = 1.3
"""Neighbours without a disc between that are together, gap included, no taller than this are one body with a crack:
two bodies and their disc reach 1.5 even where the field of view shows but a rim of the lower one."""

UNSURE_CRACK: Final = (1.15, 1.7)
"""Between these heights it may be a tall body with a crack, or two pressed ones: it is unsure."""

ASIDE: Final = 1.0
"""A component whose centre lies a body's height, about 14 mm, beside the line is no body: those reach 8 mm to front
and back and 14 to the side, and behind them comes the canal."""

CONTACT_SHARE: Final = 0.2
"""A component with more than this part of a body on both sides of a disc is two bodies in contact."""

FLAT_HEIGHT: Final = 0.8
"""A disc component higher than this part of a body is no single disc, so its centre tells nothing."""

_FEWEST_WHOLE: Final = 2
"""Of fewer whole bodies below the topmost none can be held against the others."""

_EDGE: Final = (2.0, 98.0)
"""Percentiles of the voxels' positions taken as upper and lower end: a lone voxel moves neither."""


@dataclass(frozen=True)
class Body:
    """One body: its voxels, where it begins and ends along the line, and what was found about it.

    Attributes:
        piece: Its voxels.
        along_mm: Where each voxel lies along the line.
        top_mm: Upper end.
        bottom_mm: Lower end.
        found: Findings that bear on its name and all below.
        is_whole: False where an end of it was made by a cut through bone.
    """

    piece: Piece
    along_mm: Points
    top_mm: float
    bottom_mm: float
    found: frozenset[Flag] = frozenset()
    is_whole: bool = True

    @property
    def height_mm(self) -> float:
        """Returns the height along the line."""
        return self.bottom_mm - self.top_mm

    @property
    def middle_mm(self) -> float:
        """Returns where along the line its voxels lie in the mean."""
        return float(self.along_mm.mean())

    def with_flag(self, flag: Flag) -> Body:
        """Returns the body with one finding more."""
        return replace(self, found=self.found | {flag})


@dataclass(frozen=True)
class Column:
    """All bodies of a mask, superior to inferior.

    Attributes:
        bodies: One at least.
        discs_mm: Where along the line single discs lie, sorted.
        height_mm: Usual height of a body.
        has_dens: Whether the topmost body is tall and narrow at its upper end, as C2 with its dens is.
        aside: Components beside the line, or above C2, which were left out.
    """

    bodies: list[Body]
    discs_mm: Points
    height_mm: float
    has_dens: bool
    aside: tuple[Piece, ...]

    def discs_between(self, upper_mm: float, lower_mm: float) -> int:
        """Returns how many discs lie between two places; pieces of one disc count once."""
        return _count_discs(self.discs_mm, upper_mm, lower_mm, self.height_mm)


def build_column(bodies: list[Piece], discs: list[Piece], line: SpineLine) -> Column:
    """Returns the bodies of a mask.

    Args:
        bodies: Components of vertebral bodies without specks, one at least.
        discs: Components of discs without specks.
        line: The spine's line.
    """
    sorted_all = _sorted([_body(piece, piece.along_mm(line)) for piece in bodies])
    kept = _beside_left_out(sorted_all, line)
    discs_mm = _single_discs(discs, line, usual_height(kept))
    without_arch = _without_arch(kept, discs_mm, line)
    column = _cut_at_discs(without_arch, discs_mm)
    column = _join_pieces(column, discs_mm, usual_height(column))
    used = _without_small_top(column, discs_mm)
    height = usual_height(used)
    has_dens = _shows_dens(used, height)
    left_out = [*_but(sorted_all, kept), *_but(kept, without_arch), *_but(column, used)]
    aside = tuple(body.piece for body in left_out)
    return Column(_cut_fused(used, height), discs_mm, height, has_dens, aside)


def _but(bodies: list[Body], others: list[Body]) -> list[Body]:
    """Returns the bodies that are not among others."""
    return [body for body in bodies if not any(body is one for one in others)]


def usual_height(column: list[Body]) -> float:
    """Returns the median height of whole bodies, 1 mm at least; of an even number the lower one of both in the middle.

    Not of the topmost, whose dens makes it another kind, nor of one that the volume cuts off: with few others, a rim or
    two bodies in one would be half of what is usual.
    """
    heights = sorted(body.height_mm for body in _whole_below_top(column) or column[1:] or column)
    return max(heights[(len(heights) - 1) // 2], 1.0)


def _whole_below_top(column: list[Body]) -> list[Body]:
    return [body for body in column[1:] if not body.piece.is_cut_off]


def wide_height(body: Body, height: float) -> float:
    """Returns the height in medians over which a body is about as wide as at its lower end: without its dens, if any.

    The number of voxels within a third of a body's height is counted around each place along the line, which evens out
    rows of voxels.

    Args:
        body: Any body.
        height: Usual height of a body.
    """
    along, half = np.sort(body.along_mm), height / 6
    places = np.arange(body.top_mm, body.bottom_mm, height / 40)
    if not places.size:
        return body.height_mm / height
    count = np.searchsorted(along, places + half) - np.searchsorted(along, places - half)
    lowest = body.bottom_mm - np.array([0.8, 0.1]) * height
    usual = np.diff(np.searchsorted(along, lowest))[0] / (0.7 * height) * 2 * half
    wide = np.flatnonzero(count >= WIDE * usual)
    if not wide.size:
        return body.height_mm / height
    # at an end only a part of the window is filled: the last place that counts as wide lies inside
    begin = places[wide[0]] - (2 * WIDE - 1) * half
    return float((body.bottom_mm - max(begin, body.top_mm)) / height)


def _body(piece: Piece, along_mm: Points, found: frozenset[Flag] = frozenset(), *, is_whole: bool = True) -> Body:
    top, bottom = percentiles(along_mm, *_EDGE)
    return Body(piece, along_mm, float(top), float(bottom), found, is_whole)


def _sorted(bodies: list[Body]) -> list[Body]:
    return sorted(bodies, key=lambda body: body.top_mm + body.bottom_mm)


def _beside_left_out(column: list[Body], line: SpineLine) -> list[Body]:
    """Returns the components on the line; all of them where none is."""
    centres = np.array([body.piece.points_mm.mean(axis=0) for body in column])
    near = line.offset_mm(centres) <= ASIDE * usual_height(column)
    return [body for body, is_near in zip(column, near, strict=True) if is_near] or column


def _single_discs(discs: list[Piece], line: SpineLine, height: float) -> Points:
    """Returns where along the line discs lie that can be trusted to lie between two bodies: flat, and on the line."""
    found = []
    for disc in discs:
        top, bottom = percentiles(disc.along_mm(line), 10, 90)
        beside = float(line.offset_mm(disc.points_mm.mean(axis=0)[None, :])[0])
        if bottom - top <= FLAT_HEIGHT * height and beside <= ASIDE * height:
            found.append(float(top + bottom) / 2)
    return np.sort(np.array(found))


def _count_discs(discs_mm: Points, upper_mm: float, lower_mm: float, height: float) -> int:
    between = discs_mm[(discs_mm > upper_mm) & (discs_mm < lower_mm)]
    return int(between.size and 1 + np.count_nonzero(np.diff(between) > height / 2))


def _cut_at_discs(column: list[Body], discs_mm: Points) -> list[Body]:
    """Returns the bodies with those in contact cut at the disc that lies between them.

    At the end of the volume a smaller part is cut off as well: the rim of a body that lies outside.
    """
    usual = sum(len(body.piece) for body in column) / (len(discs_mm) + 1)
    result = []
    for body in column:
        share = RIM if body.piece.is_cut_off else CONTACT_SHARE
        edges: list[float] = []
        for disc in discs_mm:
            above = np.count_nonzero(body.along_mm < disc) - np.count_nonzero(
                body.along_mm < max(edges, default=-np.inf)
            )
            if min(above, np.count_nonzero(body.along_mm > disc)) > share * usual:
                edges.append(float(disc))
        result.extend(_parts(body, np.array(edges), Flag.BODIES_IN_CONTACT, is_whole=True) if edges else [body])
    return _sorted(result)


def _without_arch(column: list[Body], discs_mm: Points, line: SpineLine) -> list[Body]:
    """Returns the components without small ones in front of C2, or above it and off the line: the arch of C1."""
    usual, height = usual_size([body.piece for body in column]), usual_height(column)
    large = [body for body in column if len(body.piece) >= SMALL_TOP * usual]
    if len(large) < 2 or len(large) == len(column):
        return column

    def is_arch(body: Body) -> bool:
        if len(body.piece) >= SMALL_TOP * usual or body.middle_mm >= large[0].middle_mm or body.piece.is_cut_off:
            return False
        off_mm = float(line.offset_mm(body.piece.points_mm.mean(axis=0)[None, :])[0])
        no_disc = not _count_discs(discs_mm, body.middle_mm, large[0].middle_mm, height)
        return no_disc and off_mm > ARCH_OFFSET * height

    return [body for body in column if not is_arch(body)]


def _without_small_top(column: list[Body], discs_mm: Points) -> list[Body]:
    """Returns the bodies without a small topmost one that no disc divides from the next; one less small is flagged."""
    height, usual = usual_height(column), float(np.median([len(body.piece) for body in column[1:] or column]))
    while len(column) > 2 and not column[0].piece.is_cut_off:
        top, below = column[:2]
        if _count_discs(discs_mm, top.middle_mm, below.middle_mm, height) or len(top.piece) >= DOUBTFUL_TOP * usual:
            break
        if len(top.piece) >= SMALL_TOP * usual or top.height_mm > FLAT_TOP * height:
            return [top.with_flag(Flag.ONE_BODY_OR_TWO), *column[1:]]
        column = column[1:]
    return column


def _parts(body: Body, edges: Points, flag: Flag, *, is_whole: bool) -> list[Body]:
    """Returns a body cut at places of the line."""
    part = np.digitize(body.along_mm, edges)
    return [
        _body(body.piece.part(part == n), body.along_mm[part == n], body.found | {flag}, is_whole=is_whole)
        for n in range(len(edges) + 1)
        if np.any(part == n)
    ]


def _join_pieces(column: list[Body], discs_mm: Points, height: float) -> list[Body]:
    """Returns the bodies with pieces made one that lie beside one another, or close above, without a disc between."""
    joined = column[:1]
    for body in column[1:]:
        last = joined[-1]
        shared = min(last.bottom_mm, body.bottom_mm) - max(last.top_mm, body.top_mm)
        beside = shared > SPLIT_OVERLAP * min(last.height_mm, body.height_mm)
        together = (body.bottom_mm - last.top_mm) / height
        if _count_discs(discs_mm, last.middle_mm, body.middle_mm, height):
            joined.append(body)
            continue
        is_one = beside or together < CRACK_HEIGHT
        if not beside and UNSURE_CRACK[0] < together < UNSURE_CRACK[1]:
            # the upper one gets the flag: if both are one, it is but a part of a body, and no disc lies between
            last = joined[-1] = last.with_flag(Flag.ONE_BODY_OR_TWO)
        if is_one:
            whole = Piece.joined([last.piece, body.piece])
            found = last.found | body.found | {Flag.BODY_IN_PIECES}
            joined[-1] = _body(whole, np.concatenate([last.along_mm, body.along_mm]), found)
        else:
            joined.append(body)
    return joined


def _shows_dens(column: list[Body], height: float) -> bool:
    """Returns whether the topmost body looks like C2: tall, and narrow at its upper end."""
    top = column[0]
    if len(column) < 3 or top.height_mm < DENS_HEIGHT * height:
        return False
    # measured over the height of a C2 at most, so that a C3 fused to it does not hide the dens
    below_tip = top.along_mm - top.top_mm
    quarter = min(top.height_mm, C2_HEIGHT * height) / 4
    return float(np.sum(below_tip < quarter)) < DENS_TAPER * float(np.sum(below_tip > top.height_mm - quarter))


def _cut_fused(column: list[Body], height: float) -> list[Body]:
    """Returns the bodies with those that are much too tall cut, and those that may be two flagged."""
    if len(_whole_below_top(column)) < _FEWEST_WHOLE:
        # one body by itself does not tell whether it is as high as a body
        return [column[0].with_flag(Flag.ONE_BODY_OR_TWO), *column[1:]]
    result: list[Body] = []
    for position, body in enumerate(column):
        is_top = position == 0
        size = wide_height(body, height) if is_top else body.height_mm / height
        if size > (FUSED_C2_BODY if is_top else FUSED_HEIGHT):
            edges = _cuts_of_c2(body, size, height) if is_top else _even_cuts(body, size)
            result.extend(_parts(body, edges, Flag.BODIES_FUSED, is_whole=False))
        elif size > (TALL_C2_BODY if is_top else TALL_HEIGHT):
            result.append(body.with_flag(Flag.ONE_BODY_OR_TWO))
        else:
            result.append(body)
    return result


def _cuts_of_c2(body: Body, size: float, height: float) -> Points:
    """Returns where to cut a C2 that holds other bodies: these are at its lower end."""
    extra = max(1, round((size - C2_BODY) / PITCH))
    return np.array([body.bottom_mm - PITCH * height * n for n in range(extra, 0, -1)])


def _even_cuts(body: Body, size: float) -> Points:
    """Returns where to cut a fused body: n bodies have n - 1 discs between them."""
    parts = max(2, round((size - 1) / PITCH) + 1)
    edges: Points = np.linspace(body.top_mm, body.bottom_mm, parts + 1)[1:-1]
    return edges
