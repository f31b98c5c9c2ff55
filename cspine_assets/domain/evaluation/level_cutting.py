"""Which levels a component lies in by the planes of the frame, and how one that lies in several is cut.

Add a rule here when it decides where a merged component ends. What a part is called in the end stands in the naming.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cspine_assets.domain.anatomy import Structure
from cspine_assets.domain.evaluation.flags import Flag
from cspine_assets.domain.evaluation.named_pieces import NamedPieces, level_indices
from cspine_assets.domain.evaluation.spine_column import PITCH
from cspine_assets.domain.evaluation.spine_frame import SpineFrame
from cspine_assets.domain.evaluation.spine_line import SpineLine
from cspine_assets.domain.evaluation.voxels import RIM, SPECK, Piece

CUT_SHARE: Final = 0.2
"""A component with more than this part of its voxels, or of the usual component's where it is larger, in each of two
levels is two of its kind, cut between them."""

OWN_SHARE: Final = SPECK
"""So does a predicted component that covers this part of a second level's own reference, beyond the plane between: a
part that would count if it stood alone counts where it hangs on a neighbour, however small the level is."""


@dataclass(frozen=True)
class Ladder:
    """How one structure's voxels get a level by the planes of the frame, and which levels have a name.

    Attributes:
        line: The spine's line.
        borders_mm: Where along it each level but the first begins.
        slack_mm: How far off such a border may be that no mask shows from both sides.
        named: Level indices with a name.
        merged: What to note at the levels of a component that was cut.
    """

    line: SpineLine
    borders_mm: NDArray[np.float64]
    slack_mm: float
    named: range
    merged: Flag

    def index(self, piece: Piece) -> NDArray[np.int64]:
        """Returns the level index of each voxel, shape (n,)."""
        return np.searchsorted(self.borders_mm, piece.along_mm(self.line))

    def is_near_border(self, piece: Piece, level: int) -> NDArray[np.bool_]:
        """Returns for each voxel whether it lies within the slack of the border above a level."""
        off_mm = piece.along_mm(self.line) - self.borders_mm[level - 1]
        near: NDArray[np.bool_] = np.abs(off_mm) < self.slack_mm
        return near

    def level_of(self, piece: Piece) -> int:
        """Returns the level index in which most of a piece lies."""
        return int(np.bincount(self.index(piece)).argmax())

    def nearest_named(self, level: int) -> int:
        """Returns the level index with a name that is nearest, so that no finding is lost beyond the ends."""
        return min(max(level, self.named.start), self.named.stop - 1)


def ladder_of(structure: Structure, frame: SpineFrame, *, merged: Flag) -> Ladder:
    """Returns the ladder of a structure.

    Args:
        structure: Bodies or discs.
        frame: The reference's bodies.
        merged: What to note at the levels of a component that was cut.
    """
    is_body = structure is Structure.VERTEBRAL_BODY
    return Ladder(
        line=frame.line,
        borders_mm=frame.ends_mm if is_body else frame.centres_mm,
        slack_mm=(PITCH - 1) / 2 * frame.height_mm if is_body else 0.0,
        named=level_indices(structure),
        merged=merged,
    )


@dataclass(frozen=True)
class Candidate:
    """A component and the level that the frame's planes give it.

    Attributes:
        level: That level.
        piece: Its voxels.
        strays: Its parts that may be another level's, at that level: beyond a plane, but too small to be cut off, or at
            a cut between levels of which the reference has but one, for then no mask shows where they meet.
    """

    level: int
    piece: Piece
    strays: tuple[Candidate, ...] = ()

    def put_at(self, level: int, named: NamedPieces) -> None:
        """Adds the component to a level; where it, or a part that strays, lies in another, it may be the other's."""
        named.pieces[level].append(self.piece)
        for part in (self, *self.strays):
            if part.level != level:
                named.doubtful[level].append(part.piece)
                named.left_out[part.level].append(part.piece)

    def leave_out(self, named: NamedPieces) -> None:
        """Leaves the component out of all levels, though it may belong to those where it and its strays lie."""
        for part in (self, *self.strays):
            named.left_out[part.level].append(part.piece)


@dataclass(frozen=True)
class NamedMask:
    """The reference that a prediction is named by.

    Attributes:
        level_map: Level index of every voxel.
        pieces: The pieces of each level.
    """

    level_map: NDArray[np.int8]
    pieces: NamedPieces

    def covered(self, piece: Piece, level: NDArray[np.int64]) -> NDArray[np.float64]:
        """Returns which part of each level a component covers on that level's side of the planes, NaN where none is.

        Args:
            piece: A predicted component.
            level: Level of each of its voxels by the planes.
        """
        sizes = np.array([self.pieces.size_at(n) for n in range(level.max() + 1)], np.float64)
        hits = np.bincount(level[self.level_map[tuple(piece.indices.T)] == level], minlength=len(sizes))
        return hits / np.where(sizes > 0, sizes, np.nan)


def candidates_of(
    pieces: list[Piece], ladder: Ladder, usual: float, named: NamedPieces, reference: NamedMask | None = None
) -> list[Candidate]:
    """Returns components with the level of the frame's planes; merged ones are cut and flagged.

    Args:
        pieces: Components of one structure without specks.
        ladder: The planes.
        usual: Voxels of the usual component.
        named: Where what was found is noted.
        reference: The named reference where the components are predicted, None where they are the reference's.
    """
    candidates = []
    for piece in pieces:
        parts = _cut(piece, ladder, usual, reference)
        if len(parts) > 1:
            for part in parts:
                named.flags[part.level].add(ladder.merged)
        candidates.extend(parts)
    return candidates


def _cut(piece: Piece, ladder: Ladder, usual: float, reference: NamedMask | None) -> list[Candidate]:
    """Returns a component whole, at the level where most of it lies, or cut where it lies in several."""
    level = ladder.index(piece)
    count = np.bincount(level)
    covered = np.full(len(count), np.nan) if reference is None else reference.covered(piece, level)
    is_chosen = (count > CUT_SHARE * min(len(piece), usual)) | (covered > OWN_SHARE)
    is_chosen[count.argmax()] = True
    chosen = np.flatnonzero(is_chosen)
    nearest = chosen[np.abs(level[:, None] - chosen).argmin(axis=1)]
    too_small = np.flatnonzero(~is_chosen & (count > RIM * usual)).tolist()
    at_border = [
        (upper, lower, ladder.is_near_border(piece, lower))
        for upper, lower in pairwise(chosen.tolist())
        if np.isnan(covered[[upper, lower]]).any()
    ]
    candidates = []
    for own in chosen.tolist():
        is_own = nearest == own
        others = {other: is_own & (level == other) for other in too_small}
        for upper, lower, is_near in at_border:
            if own in (upper, lower):
                others[lower if own == upper else upper] = is_own & is_near
        strays = tuple(Candidate(other, piece.part(part)) for other, part in others.items() if part.any())
        candidates.append(Candidate(own, piece.part(is_own) if len(chosen) > 1 else piece, strays))
    return candidates
