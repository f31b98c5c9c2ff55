"""Which voxels of a reference and of a prediction belong to which level, for discs and bodies alike.

Add a rule here when it decides the level of a component. What bodies there are is the spine frame's; Dice and the
rows of the table are the levels'.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from cspine_assets.domain.anatomy import LABELS, LEVELS, Structure
from cspine_assets.domain.evaluation.flags import Flag
from cspine_assets.domain.evaluation.spine_frame import SpineFrame, build_spine_frame
from cspine_assets.domain.evaluation.voxels import Piece, pieces_of, usual_size, without_specks
from cspine_assets.domain.volume import Geometry

CUT_SHARE: Final = 0.2
"""A component with more than this part of its voxels, or of the usual component's where it is larger, in each of two
levels is two of its kind, cut between them."""

REACH_MM: Final = 8.0
"""A prediction that touches no reference may be meant for an empty level this near: half the way between discs."""

NONE: Final = -1
"""Level of a voxel that belongs to none."""

FIRST_INDEX: Final = {Structure.VERTEBRAL_BODY: 0, Structure.INTERVERTEBRAL_DISC: 1}
"""Index of the first level of each structure: body 0 is C2, disc 1 the one below it."""


def level_indices(structure: Structure) -> range:
    """Returns the level indices that have a name, in the order of ``LEVELS``."""
    return range(FIRST_INDEX[structure], FIRST_INDEX[structure] + len(LEVELS[structure]))


@dataclass(frozen=True)
class NamedPieces:
    """Pieces of one structure by level index.

    Attributes:
        pieces: Components, or parts of them, of each level that has any.
        flags: What was found at each level.
    """

    pieces: dict[int, list[Piece]] = field(default_factory=lambda: defaultdict(list))
    flags: dict[int, set[Flag]] = field(default_factory=lambda: defaultdict(set))

    def level_map(self, shape: tuple[int, ...]) -> NDArray[np.int8]:
        """Returns the level index of every voxel, ``NONE`` where there is no piece."""
        levels = np.full(shape, NONE, np.int8)
        for level, pieces in self.pieces.items():
            for piece in pieces:
                levels[tuple(piece.indices.T)] = level
        return levels

    def at(self, level: int) -> Piece:
        """Returns all voxels of a level, none where it has no piece."""
        return Piece.joined(self.pieces.get(level, []))

    def flags_at(self, level: int) -> set[Flag]:
        """Returns the findings at a level."""
        return self.flags.get(level, set())


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
    """A component and the level that the frame's planes give it."""

    level: int
    piece: Piece


Namer: TypeAlias = Callable[[NDArray[np.uint8], Geometry], "NamedReference | None"]
"""Names the levels of a reference, as ``name_reference`` does."""


def name_reference(reference: NDArray[np.uint8], geometry: Geometry) -> NamedReference | None:
    """Returns a reference with its levels named by its bodies, or None where it has no body.

    Args:
        reference: Mask with the study's labels.
        geometry: Its grid.
    """
    found = {s: pieces_of(reference == LABELS[s], geometry.affine) for s in Structure}
    frame = build_spine_frame(found[Structure.VERTEBRAL_BODY], found[Structure.INTERVERTEBRAL_DISC])
    if frame is None:
        return None
    discs = _name_discs(found[Structure.INTERVERTEBRAL_DISC], frame, reference.shape)
    bodies = NamedPieces()
    bodies.pieces.update({index: [piece] for index, piece in enumerate(frame.bodies) if len(piece)})
    if discs.pieces.get(0):
        for level in level_indices(Structure.VERTEBRAL_BODY):
            bodies.flags[level].add(Flag.DISC_ABOVE_TOP)
    named = {Structure.VERTEBRAL_BODY: bodies, Structure.INTERVERTEBRAL_DISC: discs}
    maps = {structure: pieces.level_map(reference.shape) for structure, pieces in named.items()}
    return NamedReference(geometry, frame, named, maps)


def _name_discs(found: list[Piece], frame: SpineFrame, shape: tuple[int, ...]) -> NamedPieces:
    """Returns the reference's discs, named by its bodies."""
    named = NamedPieces()
    ladder = _ladder(Structure.INTERVERTEBRAL_DISC, frame, merged=Flag.DISCS_MERGED)
    sifted = without_specks(found, usual=usual_size(found))
    for candidate in _levels_of(sifted.kept, ladder, usual_size(found), named):
        if frame.is_aside(candidate.piece):
            named.flags[ladder.nearest_named(candidate.level)].add(Flag.DISC_ASIDE)
        else:
            named.pieces[candidate.level].append(candidate.piece)
    for level, pieces in named.pieces.items():
        if len(pieces) > 1:
            named.flags[level].add(Flag.DISC_IN_PIECES)
    _note_specks(_add_edge_crumbs(sifted.specks, named, shape), ladder, named)
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
    for candidate in _levels_of(sifted.kept, ladder, usual, named):
        level = _most_touched(candidate.piece, reference.level_map[structure])
        if level is None:
            alone.append(candidate)
        else:
            named.pieces[level].append(candidate.piece)
    for level, pieces in named.pieces.items():
        if len(pieces) > 1:
            named.flags[level].add(Flag.PREDICTION_IN_PIECES)
    _place(_assign_near(alone, theirs, named), theirs, named, ladder, reference.frame)
    left = _add_crumbs(sifted.specks, reference.level_map[structure], named)
    _note_specks(_add_edge_crumbs(left, named, prediction.shape), ladder, named)
    return named


def _most_touched(piece: Piece, level_map: NDArray[np.int8]) -> int | None:
    """Returns the level of the reference that a piece overlaps most, or None where it touches none."""
    touched = np.bincount(level_map[tuple(piece.indices.T)] - NONE)[1:]
    return int(touched.argmax()) if touched.any() else None


def _add_crumbs(specks: list[Piece], level_map: NDArray[np.int8], named: NamedPieces) -> list[Piece]:
    """Adds specks to the level that they touch in a map; returns those that touch none.

    A thin disc falls into crumbs at its edge, held together by corners of voxels. They count with their level whether
    they hit the reference or not: to leave out the hits would take from the model, to leave out the others would give.
    """
    left = []
    for speck in specks:
        level = _most_touched(speck, level_map)
        if level is None:
            left.append(speck)
        else:
            named.pieces[level].append(speck)
    return left


def _add_edge_crumbs(specks: list[Piece], named: NamedPieces, shape: tuple[int, ...]) -> list[Piece]:
    """Adds specks that touch a named piece by an edge or a corner to its level; returns the others."""
    if not specks:
        return specks
    return _add_crumbs(specks, _with_neighbours(named.level_map(shape)), named)


def _with_neighbours(levels: NDArray[np.int8]) -> NDArray[np.int8]:
    """Returns a map of levels grown by one voxel in all 26 directions, the higher level where two meet."""
    for axis in range(levels.ndim):
        grown = levels.copy()
        low, high = ([slice(None)] * levels.ndim for _ in range(2))
        low[axis], high[axis] = slice(None, -1), slice(1, None)
        np.maximum(grown[tuple(low)], levels[tuple(high)], out=grown[tuple(low)])
        np.maximum(grown[tuple(high)], levels[tuple(low)], out=grown[tuple(high)])
        levels = grown
    return levels


def _note_specks(specks: list[Piece], ladder: _Ladder, named: NamedPieces) -> None:
    """Flags the level at which specks were left out."""
    for speck in specks:
        level = int(np.bincount(ladder.index(speck.points_mm)).argmax())
        named.flags[ladder.nearest_named(level)].add(Flag.SPECKS)


def _levels_of(pieces: list[Piece], ladder: _Ladder, usual: float, named: NamedPieces) -> list[_Candidate]:
    """Returns components with the level of the frame's planes; merged ones are cut and flagged."""
    candidates = []
    for piece in pieces:
        parts = _cut(piece, ladder, usual)
        if len(parts) > 1:
            for part in parts:
                named.flags[part.level].add(ladder.merged)
        candidates.extend(parts)
    return candidates


def _cut(piece: Piece, ladder: _Ladder, usual: float) -> list[_Candidate]:
    """Returns a component whole, at the level where most of it lies, or cut where it lies in several."""
    level = ladder.index(piece.points_mm)
    count = np.bincount(level)
    chosen = np.flatnonzero(count > CUT_SHARE * min(len(piece), usual))
    if len(chosen) < 2:
        return [_Candidate(int(count.argmax()), piece)]
    nearest = chosen[np.abs(level[:, None] - chosen).argmin(axis=1)]
    return [_Candidate(int(n), piece.part(nearest == n)) for n in chosen]


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
            named.pieces[empty[column]].append(alone[row].piece)
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
        else:
            named.pieces[candidate.level].append(candidate.piece)
