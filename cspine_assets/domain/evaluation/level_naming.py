"""Which voxels of a reference and of a prediction belong to which disc level.

Add a rule here when it decides the level of a component. What bodies there are is the spine frame's; Dice and the
rows of the table are the levels'.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from cspine_assets.domain.anatomy import DISC_LEVELS
from cspine_assets.domain.evaluation.flags import Flag
from cspine_assets.domain.evaluation.spine_frame import SpineFrame
from cspine_assets.domain.evaluation.voxels import Piece, pieces_of, usual_size, without_specks

CUT_SHARE: Final = 0.2
"""A component with more than this part of its voxels in each of two levels is two discs and is cut between them."""

REACH_MM: Final = 8.0
"""A prediction that touches no reference may be meant for an empty level this near: half the way between discs."""

NONE: Final = -1
"""Level of a voxel that belongs to none."""


@dataclass(frozen=True)
class NamedDiscs:
    """Discs by level index: 1 is below the first body, 0 above all.

    Attributes:
        pieces: Components, or parts of them, of each level that has any.
        flags: What was found at each level.
    """

    pieces: dict[int, list[Piece]] = field(default_factory=lambda: defaultdict(list))
    flags: dict[int, set[Flag]] = field(default_factory=lambda: defaultdict(set))

    def level_map(self, shape: tuple[int, ...]) -> NDArray[np.int8]:
        """Returns the level index of every voxel, ``NONE`` where there is no disc."""
        levels = np.full(shape, NONE, np.int8)
        for level, pieces in self.pieces.items():
            for piece in pieces:
                levels[tuple(piece.indices.T)] = level
        return levels


@dataclass(frozen=True)
class _Candidate:
    """A predicted component and the level that the bodies' planes give it."""

    level: int
    piece: Piece


def name_reference(discs: NDArray[np.bool_], affine: NDArray[np.float64], frame: SpineFrame) -> NamedDiscs:
    """Returns the reference's discs, named by the planes of its bodies.

    Args:
        discs: Disc voxels of the reference.
        affine: From voxel indices to millimetres.
        frame: The reference's bodies.
    """
    named = NamedDiscs()
    found = pieces_of(discs, affine)
    for candidate in _sift(found, frame, usual_size(found), named, merged=Flag.DISCS_MERGED):
        named.pieces[candidate.level].append(candidate.piece)
    for level, pieces in named.pieces.items():
        if len(pieces) > 1:
            named.flags[level].add(Flag.DISC_IN_PIECES)
    if 0 in named.pieces:
        for level in range(len(DISC_LEVELS) + 1):
            named.flags[level].add(Flag.DISC_ABOVE_TOP)
    return named


def name_prediction(
    discs: NDArray[np.bool_], affine: NDArray[np.float64], frame: SpineFrame, reference: NamedDiscs
) -> NamedDiscs:
    """Returns the predicted discs, each at the level whose reference it overlaps most.

    One without overlap goes to a reference level that has no prediction yet, within ``REACH_MM`` and by the best
    assignment over all; else to the level of the bodies' planes, where the reference has none; else it is an extra
    component: flagged, and part of no level.

    Args:
        discs: Disc voxels of the prediction.
        affine: From voxel indices to millimetres.
        frame: The bodies of the reference.
        reference: Its named discs.
    """
    named = NamedDiscs()
    found = pieces_of(discs, affine)
    usual = usual_size([piece for pieces in reference.pieces.values() for piece in pieces]) or usual_size(found)
    true_level = reference.level_map(discs.shape)
    alone: list[_Candidate] = []
    for candidate in _sift(found, frame, usual, named, merged=Flag.PREDICTION_MERGED):
        touched = np.bincount(true_level[tuple(candidate.piece.indices.T)] - NONE)[1:]
        if touched.any():
            named.pieces[int(touched.argmax())].append(candidate.piece)
        else:
            alone.append(candidate)
    for level, pieces in named.pieces.items():
        if len(pieces) > 1:
            named.flags[level].add(Flag.PREDICTION_IN_PIECES)
    _place(_assign_near(alone, reference, named), reference, named)
    return named


def _sift(found: list[Piece], frame: SpineFrame, usual: float, named: NamedDiscs, *, merged: Flag) -> list[_Candidate]:
    """Returns components with the level of the bodies' planes: specks left out, merged discs cut, both flagged."""
    sifted = without_specks(found, usual=usual)
    for speck in sifted.specks:
        named.flags[_nearest_named(_cut(speck, frame)[0].level)].add(Flag.SPECKS)
    candidates = []
    for piece in sifted.kept:
        parts = _cut(piece, frame)
        if len(parts) > 1:
            for part in parts:
                named.flags[part.level].add(merged)
        candidates.extend(parts)
    return candidates


def _cut(piece: Piece, frame: SpineFrame) -> list[_Candidate]:
    """Returns a component whole, at the level where most of it lies, or cut where it lies in several."""
    level = frame.level_index(piece.points_mm)
    count = np.bincount(level)
    chosen = np.flatnonzero(count > CUT_SHARE * len(piece))
    if len(chosen) < 2:
        return [_Candidate(int(count.argmax()), piece)]
    nearest = chosen[np.abs(level[:, None] - chosen).argmin(axis=1)]
    return [_Candidate(int(n), piece.part(nearest == n)) for n in chosen]


def _assign_near(alone: list[_Candidate], reference: NamedDiscs, named: NamedDiscs) -> list[_Candidate]:
    """Gives predictions without overlap to empty levels nearby; returns those that found none."""
    empty = [level for level in reference.pieces if level not in named.pieces]
    if not alone or not empty:
        return alone
    ours = np.array([candidate.piece.points_mm.mean(axis=0) for candidate in alone])
    theirs = np.array([np.concatenate([piece.points_mm for piece in reference.pieces[n]]).mean(axis=0) for n in empty])
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


def _place(left: list[_Candidate], reference: NamedDiscs, named: NamedDiscs) -> None:
    """Puts the remaining predictions where the reference has no disc, or flags them."""
    for candidate in left:
        if candidate.level in reference.pieces or not 1 <= candidate.level <= len(DISC_LEVELS):
            named.flags[_nearest_named(candidate.level)].add(Flag.PREDICTION_EXTRA)
        else:
            named.pieces[candidate.level].append(candidate.piece)


def _nearest_named(level: int) -> int:
    """Returns the level index with a name that is nearest, so that no finding is lost beyond the ends."""
    return min(max(level, 1), len(DISC_LEVELS))
