"""Pieces of one structure by level: what belongs to each, what may not, and what may belong though it was left out.

Add here what any naming leaves behind. Who names the pieces, and by what rule, stands in the naming modules.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cspine_assets.domain.anatomy import LEVELS, Structure
from cspine_assets.domain.evaluation.flags import Flag
from cspine_assets.domain.evaluation.voxels import Piece

LevelOf: TypeAlias = Callable[[Piece], int]
"""Returns the level index in which a piece lies by its place alone."""

NONE: Final = -1
"""Level of a voxel that belongs to none."""

_LAST: Final = 126
"""The highest level that a map holds, one below its type's end, since levels are counted from ``NONE`` on. A spine has
none beyond 8; noise has hundreds, which are one here."""

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
        doubtful: Voxels among the pieces that may not be the level's.
        left_out: Voxels not among them that may be the level's.
    """

    pieces: dict[int, list[Piece]] = field(default_factory=lambda: defaultdict(list))
    flags: dict[int, set[Flag]] = field(default_factory=lambda: defaultdict(set))
    doubtful: dict[int, list[Piece]] = field(default_factory=lambda: defaultdict(list))
    left_out: dict[int, list[Piece]] = field(default_factory=lambda: defaultdict(list))

    def level_map(self, shape: tuple[int, ...]) -> NDArray[np.int8]:
        """Returns the level index of every voxel, ``NONE`` where there is no piece."""
        levels = np.full(shape, NONE, np.int8)
        for level, pieces in self.pieces.items():
            for piece in pieces:
                levels[tuple(piece.indices.T)] = min(level, _LAST)
        return levels

    def at(self, level: int) -> Piece:
        """Returns all voxels of a level, none where it has no piece."""
        return Piece.joined(self.pieces.get(level, []))

    def size_at(self, level: int) -> int:
        """Returns the number of voxels of a level."""
        return sum(len(piece) for piece in self.pieces.get(level, []))

    def flags_at(self, level: int) -> set[Flag]:
        """Returns the findings at a level."""
        return self.flags.get(level, set())

    def is_in_doubt(self, level: int) -> bool:
        """Returns whether there are voxels of which it is not sure whether they are the level's."""
        return bool(self.doubtful.get(level) or self.left_out.get(level))


def most_touched(piece: Piece, level_map: NDArray[np.int8]) -> int | None:
    """Returns the level of a map that a piece overlaps most, or None where it touches none."""
    touched = touched_levels(piece, level_map)
    return int(touched.argmax()) if touched.any() else None


def touched_levels(piece: Piece, level_map: NDArray[np.int8]) -> NDArray[np.int64]:
    """Returns how many voxels of a piece lie in each level of a map."""
    counts: NDArray[np.int64] = np.bincount(level_map[tuple(piece.indices.T)] - NONE, minlength=2)[1:]
    return counts


def add_crumbs(specks: list[Piece], level_map: NDArray[np.int8], named: NamedPieces, level_of: LevelOf) -> list[Piece]:
    """Adds specks to the level that they touch in a map; returns those that touch none.

    A thin disc falls into crumbs at its edge, held together by corners of voxels. They count with their level whether
    they hit the reference or not: to leave out the hits would take from the model, to leave out the others would give.
    One that touches another level than the one where it lies may be either's.
    """
    return _add(specks, named, level_of, lambda speck: most_touched(speck, level_map))


def add_edge_crumbs(specks: list[Piece], named: NamedPieces, shape: tuple[int, ...], level_of: LevelOf) -> list[Piece]:
    """Adds specks that touch a named piece by an edge or a corner to its level; returns the others."""
    if not specks:
        return specks
    level_map = named.level_map(shape)
    return _add(specks, named, level_of, lambda speck: _level_beside(speck, level_map))


def _add(
    specks: list[Piece], named: NamedPieces, level_of: LevelOf, touches: Callable[[Piece], int | None]
) -> list[Piece]:
    left = []
    for speck in specks:
        level = touches(speck)
        if level is None:
            left.append(speck)
            continue
        named.pieces[level].append(speck)
        own = level_of(speck)
        if own != level:
            named.doubtful[level].append(speck)
            named.left_out[own].append(speck)
    return left


def _level_beside(speck: Piece, level_map: NDArray[np.int8]) -> int | None:
    """Returns the level that most of a speck's voxels have for a neighbour, or None where they have none."""
    # a speck is small and the map as large as the volume: only the box around it is looked at
    start = np.maximum(speck.indices.min(axis=0) - 1, 0)
    stop = speck.indices.max(axis=0) + 2
    near = _with_neighbours(level_map[tuple(slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))])
    touched = np.bincount(near[tuple((speck.indices - start).T)] - NONE, minlength=2)[1:]
    return int(touched.argmax()) if touched.any() else None


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
