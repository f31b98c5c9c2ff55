"""Which voxels of a reference and of a prediction belong to which level, for discs and bodies alike.

Add a rule here when it decides the level of a component. What bodies there are is the spine frame's; Dice and the
rows of the table are the levels'.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from cspine_assets.domain.anatomy import LABELS, Structure
from cspine_assets.domain.evaluation.flags import Flag
from cspine_assets.domain.evaluation.named_pieces import (
    NamedPieces,
    add_crumbs,
    add_edge_crumbs,
    level_indices,
    most_touched,
)
from cspine_assets.domain.evaluation.spine_frame import SpineFrame, build_spine_frame
from cspine_assets.domain.evaluation.voxels import RIM, SPECK, Piece, pieces_of, usual_size, without_specks
from cspine_assets.domain.volume import Geometry

CUT_SHARE: Final = 0.2
"""A component with more than this part of its voxels, or of the usual component's where it is larger, in each of two
levels is two of its kind, cut between them."""

REACH_MM: Final = 8.0
"""A prediction that touches no reference may be meant for an empty level this near: half the way between discs."""

OWN_SHARE: Final = SPECK
"""So does a predicted component that covers this part of a second level's own reference, beyond the plane between: a
part that would count if it stood alone counts where it hangs on a neighbour, however small the level is."""

@dataclass(frozen=True)
class _Ladder:
    """How one structure's voxels get a level by the planes of the frame, and which levels have a name."""

    index: Callable[[NDArray[np.float64]], NDArray[np.int64]]
    named: range
    merged: Flag

    def nearest_named(self, level: int) -> int:
        """Returns the level index with a name that is nearest, so that no finding is lost beyond the ends."""
        return min(max(level, self.named.start), self.named.stop - 1)


def _ladder(structure: Structure, frame: SpineFrame, *, merged: Flag) -> _Ladder:
    index = frame.body_index if structure is Structure.VERTEBRAL_BODY else frame.disc_index
    return _Ladder(index, level_indices(structure), merged)


@dataclass(frozen=True)
class NamedReference:
    """One reference with all its levels named: made once, and used for every prediction of the exam.

    Attributes:
        geometry: Its grid.
        frame: Its bodies.
        named: Pieces of each structure.
        level_map: Level index of every voxel, for each structure.
    """

    geometry: Geometry
    frame: SpineFrame
    named: dict[Structure, NamedPieces]
    level_map: dict[Structure, NDArray[np.int8]]

    def flags(self, structure: Structure, level: int) -> set[Flag]:
        """Returns all that was found in the reference about a level."""
        is_body = structure is Structure.VERTEBRAL_BODY
        of_frame = self.frame.body_flags(level) if is_body else self.frame.disc_flags(level)
        return of_frame | self.named[structure].flags_at(level)


@dataclass(frozen=True)
class _Candidate:
    """A component and the level that the frame's planes give it.

    Attributes:
        level: That level.
        piece: Its voxels.
        strays: Its parts beyond a plane, too small to be cut off, at the levels where they lie.
    """

    level: int
    piece: Piece
    strays: tuple[_Candidate, ...] = ()

    def put_at(self, level: int, named: NamedPieces) -> None:
        """Adds the component to a level; a part that strays into another may be the other's."""
        named.pieces[level].append(self.piece)
        for stray in self.strays:
            if stray.level != level:
                named.doubtful[level].append(stray.piece)
                named.left_out[stray.level].append(stray.piece)


Namer: TypeAlias = Callable[[NDArray[np.uint8], Geometry], "NamedReference | None"]
"""Names the levels of a reference, as ``name_reference`` does."""


def name_reference(reference: NDArray[np.uint8], geometry: Geometry) -> NamedReference | None:
    """Returns a reference with its levels named by its bodies, or None where it has no body.

    Args:
        reference: Mask with the study's labels.
        geometry: Its grid.
    """
    found = {s: pieces_of(reference == LABELS[s], geometry.affine) for s in Structure}
    frame = build_spine_frame(found[Structure.VERTEBRAL_BODY], found[Structure.INTERVERTEBRAL_DISC], geometry)
    if frame is None:
        return None
    discs = _name_discs(found[Structure.INTERVERTEBRAL_DISC], frame, reference.shape)
    bodies = _name_bodies(found[Structure.VERTEBRAL_BODY], frame, reference.shape)
    if discs.pieces.get(0):
        for level in level_indices(Structure.VERTEBRAL_BODY):
            bodies.flags[level].add(Flag.DISC_ABOVE_TOP)
    named = {Structure.VERTEBRAL_BODY: bodies, Structure.INTERVERTEBRAL_DISC: discs}
    maps = {structure: pieces.level_map(reference.shape) for structure, pieces in named.items()}
    return NamedReference(geometry, frame, named, maps)


def _name_bodies(found: list[Piece], frame: SpineFrame, shape: tuple[int, ...]) -> NamedPieces:
    """Returns the frame's bodies with the crumbs that touch them."""
    named = NamedPieces()
    ladder = _ladder(Structure.VERTEBRAL_BODY, frame, merged=Flag.BODIES_IN_CONTACT)
    named.pieces.update({index: [piece] for index, piece in enumerate(frame.bodies) if len(piece)})
    sifted = without_specks(found, usual=usual_size(found))
    _note_specks(add_edge_crumbs(sifted.specks, named, shape), ladder, named, frame)
    return named


def _name_discs(found: list[Piece], frame: SpineFrame, shape: tuple[int, ...]) -> NamedPieces:
    """Returns the reference's discs, named by its bodies."""
    named = NamedPieces()
    ladder = _ladder(Structure.INTERVERTEBRAL_DISC, frame, merged=Flag.DISCS_MERGED)
    sifted = without_specks(found, usual=usual_size(found))
    for candidate in _levels_of(sifted.kept, ladder, usual_size(found), named):
        if frame.is_aside(candidate.piece):
            named.flags[ladder.nearest_named(candidate.level)].add(Flag.DISC_ASIDE)
        else:
            candidate.put_at(candidate.level, named)
    _note_pieces(named, Flag.DISC_IN_PIECES, frame, None)
    _note_specks(add_edge_crumbs(sifted.specks, named, shape), ladder, named, frame)
    if 0 in named.pieces:
        for level in range(ladder.named.stop):
            named.flags[level].add(Flag.DISC_ABOVE_TOP)
    return named


def name_prediction(prediction: NDArray[np.uint8], reference: NamedReference, structure: Structure) -> NamedPieces:
    """Returns one structure of a prediction, each piece at the level whose reference it overlaps most.

    One without overlap goes to a reference level that has no prediction yet, within ``REACH_MM`` and by the best
    assignment over all; else to the level of the frame's planes, where the reference has none; else it is an extra
    component: flagged, and part of no level. Specks that touch no reference are left out and flagged.

    Args:
        prediction: Mask with the study's labels, on the reference's grid.
        reference: The named reference.
        structure: Which of both.
    """
    named, theirs = NamedPieces(), reference.named[structure]
    found = pieces_of(prediction == LABELS[structure], reference.geometry.affine)
    usual = usual_size([piece for pieces in theirs.pieces.values() for piece in pieces]) or usual_size(found)
    ladder = _ladder(structure, reference.frame, merged=Flag.PREDICTION_MERGED)
    sifted = without_specks(found, usual=usual)
    alone: list[_Candidate] = []
    level_map = reference.level_map[structure]
    for candidate in _levels_of(sifted.kept, ladder, usual, named, _Own(level_map, theirs)):
        level = most_touched(candidate.piece, level_map)
        if level is None:
            alone.append(candidate)
        else:
            candidate.put_at(level, named)
    _note_pieces(named, Flag.PREDICTION_IN_PIECES, reference.frame, level_map)
    _place(_assign_near(alone, theirs, named), theirs, named, ladder, reference.frame)
    left = add_crumbs(sifted.specks, level_map, named)
    _note_specks(add_edge_crumbs(left, named, prediction.shape), ladder, named, reference.frame)
    return named


def _note_pieces(named: NamedPieces, flag: Flag, frame: SpineFrame, theirs: NDArray[np.int8] | None) -> None:
    """Flags levels in several pieces, and doubts those that do not lie beside the largest one or are small.

    What a crack leaves lies side by side; what lies above or below the largest piece may be something else. A
    prediction that lies mostly in its level's own reference is not doubted.
    """
    for level, pieces in named.pieces.items():
        if len(pieces) < 2:
            continue
        named.flags[level].add(flag)
        largest, *others = sorted(pieces, key=len, reverse=True)
        top, bottom = np.percentile(frame.line.along_mm(largest.points_mm), (2, 98))
        for piece in others:
            is_beside = top <= frame.line.along_mm(piece.points_mm).mean() <= bottom
            is_hit = theirs is not None and 2 * np.count_nonzero(theirs[tuple(piece.indices.T)] == level) > len(piece)
            if not is_hit and not (is_beside and len(piece) > CUT_SHARE * len(largest)):
                named.doubtful[level].append(piece)


def _note_specks(specks: list[Piece], ladder: _Ladder, named: NamedPieces, frame: SpineFrame) -> None:
    """Flags the level at which specks were left out; those on the spine may be the level's."""
    for speck in specks:
        level = int(np.bincount(ladder.index(speck.points_mm)).argmax())
        named.flags[ladder.nearest_named(level)].add(Flag.SPECKS)
        if not frame.is_aside(speck):
            named.left_out[level].append(speck)


@dataclass(frozen=True)
class _Own:
    """The reference that a prediction is named by: the level of every voxel, and the pieces of each level."""

    level_map: NDArray[np.int8]
    pieces: NamedPieces

    def covered(self, piece: Piece, level: NDArray[np.int64]) -> NDArray[np.float64]:
        """Returns by plane level which part of that level's own reference a piece covers there; 1 where it has none.

        Args:
            piece: A predicted component.
            level: Level of each of its voxels by the planes.
        """
        count = np.bincount(level)
        hits = np.bincount(level[self.level_map[tuple(piece.indices.T)] == level], minlength=len(count))
        sizes = np.array([len(self.pieces.at(n)) for n in range(len(count))])
        return np.where(sizes > 0, hits / np.maximum(sizes, 1), count > 0)


def _levels_of(
    pieces: list[Piece], ladder: _Ladder, usual: float, named: NamedPieces, own: _Own | None = None
) -> list[_Candidate]:
    """Returns components with the level of the frame's planes; merged ones are cut and flagged."""
    candidates = []
    for piece in pieces:
        parts = _cut(piece, ladder, usual, own)
        if len(parts) > 1:
            for part in parts:
                named.flags[part.level].add(ladder.merged)
        candidates.extend(parts)
    return candidates


def _cut(piece: Piece, ladder: _Ladder, usual: float, own: _Own | None) -> list[_Candidate]:
    """Returns a component whole, at the level where most of it lies, or cut where it lies in several.

    Parts beyond a plane that are too small to be cut off stray; those that touch nothing of a reference that is there
    do not.
    """
    level = ladder.index(piece.points_mm)
    count = np.bincount(level)
    covered = np.zeros(len(count)) if own is None else own.covered(piece, level)
    has_own = np.array([bool(own and own.pieces.pieces.get(n)) for n in range(len(count))])
    is_chosen = (count > CUT_SHARE * min(len(piece), usual)) | (has_own & (covered > OWN_SHARE))
    is_chosen[count.argmax()] = True
    chosen = np.flatnonzero(is_chosen)
    nearest = chosen[np.abs(level[:, None] - chosen).argmin(axis=1)]
    astray = (~is_chosen) & (count > RIM * usual) & ((own is None) | (covered > 0))
    return [
        _Candidate(
            int(n),
            piece if len(chosen) == 1 else piece.part(nearest == n),
            tuple(
                _Candidate(int(m), piece.part((level == m) & (nearest == n)))
                for m in np.flatnonzero(astray)
                if np.any(nearest[level == m] == n)
            ),
        )
        for n in chosen
    ]


def _assign_near(alone: list[_Candidate], reference: NamedPieces, named: NamedPieces) -> list[_Candidate]:
    """Gives predictions without overlap to empty levels nearby; returns those that found none."""
    empty = [level for level in reference.pieces if level not in named.pieces]
    if not alone or not empty:
        return alone
    ours = np.array([candidate.piece.points_mm.mean(axis=0) for candidate in alone])
    theirs = np.array([reference.at(level).points_mm.mean(axis=0) for level in empty])
    distance_mm = np.linalg.norm(ours[:, None] - theirs, axis=2)
    # out of reach costs more than any assignment within reach: as many as possible find a level
    cost = np.where(distance_mm <= REACH_MM, distance_mm, REACH_MM * (len(alone) + len(empty)))
    placed = set()
    for row, column in zip(*linear_sum_assignment(cost), strict=True):
        if distance_mm[row, column] <= REACH_MM:
            placed.add(int(row))
            alone[row].put_at(empty[column], named)
            named.flags[empty[column]].add(Flag.PREDICTION_AWAY)
    return [candidate for row, candidate in enumerate(alone) if row not in placed]


def _place(
    left: list[_Candidate], reference: NamedPieces, named: NamedPieces, ladder: _Ladder, frame: SpineFrame
) -> None:
    """Puts the remaining predictions where the reference has no piece, or flags them."""
    for candidate in left:
        is_taken = candidate.level in reference.pieces or candidate.level not in ladder.named
        if is_taken or frame.is_aside(candidate.piece):
            named.flags[ladder.nearest_named(candidate.level)].add(Flag.PREDICTION_EXTRA)
            if not frame.is_aside(candidate.piece):
                named.left_out[candidate.level].append(candidate.piece)
        else:
            candidate.put_at(candidate.level, named)
