"""Which voxels of a reference and of a prediction belong to which level, for discs and bodies alike.

Add a rule here when it decides the level of a component. What bodies there are is the spine frame's; Dice and the
rows of the table are the levels'.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from cspine_assets.domain.anatomy import LABELS, Structure
from cspine_assets.domain.evaluation.flags import Flag
from cspine_assets.domain.evaluation.level_cutting import (
    CUT_SHARE,
    Candidate,
    Ladder,
    NamedMask,
    candidates_of,
    ladder_of,
)
from cspine_assets.domain.evaluation.named_pieces import (
    NamedPieces,
    add_crumbs,
    add_edge_crumbs,
    level_indices,
    touched_levels,
)
from cspine_assets.domain.evaluation.spine_frame import SpineFrame, build_spine_frame
from cspine_assets.domain.evaluation.top_body import StatedTop
from cspine_assets.domain.evaluation.voxels import Piece, percentiles, pieces_of, usual_size, without_specks
from cspine_assets.domain.volume import Geometry

REACH_MM: Final = 8.0
"""A prediction that touches no reference may be meant for an empty level this near: half the way between discs."""


_T = TypeVar("_T")


def once(computed: dict[str, Any], name: str, compute: Callable[[], _T]) -> _T:
    """Returns what was computed under a name; the first call computes it."""
    if name not in computed:
        computed[name] = compute()
    found: _T = computed[name]
    return found


@dataclass(frozen=True)
class NamedReference:
    """One reference with all its levels named: made once, and used for every prediction of the exam.

    Attributes:
        geometry: Its grid.
        frame: Its bodies.
        named: Pieces of each structure.
        level_map: Level index of every voxel, for each structure.
        computed: What was computed from the reference alone, by name, so that all predictions share it.
    """

    geometry: Geometry
    frame: SpineFrame
    named: dict[Structure, NamedPieces]
    level_map: dict[Structure, NDArray[np.int8]]
    computed: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def flags(self, structure: Structure, level: int) -> set[Flag]:
        """Returns all that was found in the reference about a level."""
        is_body = structure is Structure.VERTEBRAL_BODY
        of_frame = self.frame.body_flags(level) if is_body else self.frame.disc_flags(level)
        return of_frame | self.named[structure].flags_at(level)


Namer: TypeAlias = Callable[[NDArray[np.uint8], Geometry], "NamedReference | None"]
"""Names the levels of a reference, as ``name_reference`` does."""


@dataclass(frozen=True)
class NamedPair:
    """A reference and one prediction, both with their levels named.

    Attributes:
        reference: The named reference.
        prediction: Pieces of each structure of the prediction.
        computed: What was computed from both, by name, so that all measures share it.
    """

    reference: NamedReference
    prediction: dict[Structure, NamedPieces]
    computed: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)


def name_pair(reference: NamedReference | None, prediction: NDArray[np.uint8]) -> NamedPair | None:
    """Returns a prediction with its levels named, beside its reference; None where the reference has no body.

    Args:
        reference: The named reference, which serves every prediction of its exam.
        prediction: Mask with the study's labels on the reference's grid.
    """
    if reference is None:
        return None
    found = pieces_of(prediction, LABELS, reference.geometry)
    shape = prediction.shape
    return NamedPair(reference, {one: _name_prediction(found[one], reference, one, shape) for one in Structure})


def name_reference(
    reference: NDArray[np.uint8], geometry: Geometry, *, stated: StatedTop | None = None
) -> NamedReference | None:
    """Returns a reference with its levels named by its bodies, or None where it has no body.

    Args:
        reference: Mask with the study's labels.
        geometry: Its grid.
        stated: What a person says the topmost body is, or None.
    """
    found = pieces_of(reference, LABELS, geometry)
    bodies, discs = found[Structure.VERTEBRAL_BODY], found[Structure.INTERVERTEBRAL_DISC]
    frame = build_spine_frame(bodies, discs, geometry, stated=stated)
    if frame is None:
        return None
    named = {
        Structure.VERTEBRAL_BODY: _name_bodies(bodies, frame, reference.shape),
        Structure.INTERVERTEBRAL_DISC: _name_discs(discs, frame, reference.shape),
    }
    if 0 in named[Structure.INTERVERTEBRAL_DISC].pieces:
        against = {Flag.DISC_ABOVE_TOP} | ({Flag.STATED_CONTRADICTED} if stated else set())
        for structure in Structure:
            for level in level_indices(structure):
                named[structure].flags[level] |= against
    maps = {structure: pieces.level_map(reference.shape) for structure, pieces in named.items()}
    return NamedReference(geometry, frame, named, maps)


def _name_bodies(found: list[Piece], frame: SpineFrame, shape: tuple[int, ...]) -> NamedPieces:
    """Returns the frame's bodies with the crumbs that touch them; what was left out beside one may be a part of it."""
    named = NamedPieces()
    ladder = ladder_of(Structure.VERTEBRAL_BODY, frame, merged=Flag.BODIES_IN_CONTACT)
    named.pieces.update({index: [piece] for index, piece in enumerate(frame.bodies) if len(piece)})
    sifted = without_specks(found, usual=usual_size(found))
    for piece in frame.aside:
        if not frame.is_arch(piece):
            named.left_out[ladder.level_of(piece)].append(piece)
    _note_specks(add_edge_crumbs(sifted.specks, named, shape, ladder.level_of), ladder, named, frame)
    return named


def _name_discs(found: list[Piece], frame: SpineFrame, shape: tuple[int, ...]) -> NamedPieces:
    """Returns the reference's discs, named by its bodies."""
    named = NamedPieces()
    ladder = ladder_of(Structure.INTERVERTEBRAL_DISC, frame, merged=Flag.DISCS_MERGED)
    sifted = without_specks(found, usual=usual_size(found))
    for candidate in candidates_of(sifted.kept, ladder, usual_size(found), named):
        if frame.is_aside(candidate.piece):
            named.flags[ladder.nearest_named(candidate.level)].add(Flag.DISC_ASIDE)
            named.left_out[candidate.level].append(candidate.piece)
        else:
            candidate.put_at(candidate.level, named)
    _note_pieces(named, Flag.DISC_IN_PIECES, frame, None)
    _note_specks(add_edge_crumbs(sifted.specks, named, shape, ladder.level_of), ladder, named, frame)
    return named


def _name_prediction(
    found: list[Piece], reference: NamedReference, structure: Structure, shape: tuple[int, ...]
) -> NamedPieces:
    """Returns one structure of a prediction, each piece at the level whose reference it overlaps most.

    One without overlap goes to a reference level that has no prediction yet, within ``REACH_MM`` and by the best
    assignment over all; else to the level of the frame's planes, where the reference has none; else it is an extra
    component: flagged, and part of no level. Specks that touch no reference are left out and flagged.

    Args:
        found: Components of the prediction.
        reference: The named reference.
        structure: Which of both structures they are.
        shape: Shape of the masks.
    """
    named, theirs = NamedPieces(), reference.named[structure]
    usual = usual_size([piece for pieces in theirs.pieces.values() for piece in pieces]) or usual_size(found)
    ladder = ladder_of(structure, reference.frame, merged=Flag.PREDICTION_MERGED)
    sifted = without_specks(found, usual=usual)
    alone: list[Candidate] = []
    level_map = reference.level_map[structure]
    for candidate in candidates_of(sifted.kept, ladder, usual, named, NamedMask(level_map, theirs)):
        level = _level_by_touch(candidate, reference, structure)
        if level is None:
            alone.append(candidate)
        else:
            candidate.put_at(level, named)
    _note_pieces(named, Flag.PREDICTION_IN_PIECES, reference.frame, level_map)
    if structure is Structure.VERTEBRAL_BODY:
        for candidate in alone:
            if reference.frame.is_arch(candidate.piece):
                named.flags[ladder.named.start].add(Flag.PREDICTION_EXTRA)
        alone = [candidate for candidate in alone if not reference.frame.is_arch(candidate.piece)]
    _place(_assign_near(alone, theirs, named), theirs, named, ladder, reference.frame)
    left = add_crumbs(sifted.specks, level_map, named, ladder.level_of)
    _note_specks(add_edge_crumbs(left, named, shape, ladder.level_of), ladder, named, reference.frame)
    return named


def _level_by_touch(candidate: Candidate, reference: NamedReference, structure: Structure) -> int | None:
    """Returns the level whose reference a component overlaps most, or None where that says nothing.

    One that lies where the reference has no piece, and just grazes a neighbour's, is not the neighbour's.
    """
    touched = touched_levels(candidate.piece, reference.level_map[structure])
    if not touched.any():
        return None
    level = int(touched.argmax())
    grazes = touched[level] < CUT_SHARE * len(candidate.piece)
    is_elsewhere = candidate.level != level and candidate.level not in reference.named[structure].pieces
    return None if grazes and is_elsewhere else level


def _note_pieces(named: NamedPieces, flag: Flag, frame: SpineFrame, theirs: NDArray[np.int8] | None) -> None:
    """Flags levels in several pieces, and doubts those that do not lie beside the main one or are small.

    The main piece is the largest, of a prediction the one that hits most of its level's own reference. What a crack
    leaves lies side by side; what lies above or below the main piece may be something else. A prediction that lies
    mostly in its level's own reference is not doubted.
    """

    def hits(piece: Piece, level: int) -> int:
        return 0 if theirs is None else int(np.count_nonzero(theirs[tuple(piece.indices.T)] == level))

    for level, pieces in named.pieces.items():
        if len(pieces) < 2:
            continue
        named.flags[level].add(flag)
        main, *others = sorted(pieces, key=lambda piece: (hits(piece, level), len(piece)), reverse=True)
        top, bottom = percentiles(main.along_mm(frame.line), 2, 98)
        for piece in others:
            is_beside = top <= piece.along_mm(frame.line).mean() <= bottom
            is_hit = 2 * hits(piece, level) > len(piece)
            if not is_hit and not (is_beside and len(piece) > CUT_SHARE * len(main)):
                named.doubtful[level].append(piece)


def _note_specks(specks: list[Piece], ladder: Ladder, named: NamedPieces, frame: SpineFrame) -> None:
    """Flags the level at which specks were left out; those on the spine may be the level's."""
    for speck in specks:
        level = ladder.level_of(speck)
        named.flags[ladder.nearest_named(level)].add(Flag.SPECKS)
        if not frame.is_aside(speck):
            named.left_out[level].append(speck)


def _assign_near(alone: list[Candidate], reference: NamedPieces, named: NamedPieces) -> list[Candidate]:
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
    left: list[Candidate], reference: NamedPieces, named: NamedPieces, ladder: Ladder, frame: SpineFrame
) -> None:
    """Puts the remaining predictions where the reference has no piece, or flags them."""
    for candidate in left:
        is_taken = candidate.level in reference.pieces or candidate.level not in ladder.named
        if is_taken or frame.is_aside(candidate.piece):
            named.flags[ladder.nearest_named(candidate.level)].add(Flag.PREDICTION_EXTRA)
            if not frame.is_aside(candidate.piece):
                candidate.leave_out(named)
        else:
            candidate.put_at(candidate.level, named)
