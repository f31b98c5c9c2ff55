"""Whether the score of a level hinges on voxels of which the masks do not say that they are the level's.

Add here what makes a score depend on a doubt. Which voxels are in doubt is found where pieces get their names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cspine_assets.domain.evaluation.named_pieces import NamedPieces
from cspine_assets.domain.evaluation.overlap import Status, status_of
from cspine_assets.domain.evaluation.voxels import Piece

HINGE_DICE: Final = 0.03
"""A Dice that doubtful voxels may move by more than this is unsure: the best and the worst disc of the published study
differ by 0.044 (Sci Data 12:1695), and a doubt must not look like a level."""

Shows: TypeAlias = Callable[[Piece], Piece]
"""Returns the voxels of a piece that a view shows."""

_Voxels: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True)
class LevelVoxels:
    """Voxels of one level in one mask and view, as places in the flat array.

    Attributes:
        named: Those that count.
        doubtful: Those among them that may not be the level's.
        left_out: Those not among them that may be.
    """

    named: _Voxels
    doubtful: _Voxels
    left_out: _Voxels

    @classmethod
    def of(cls, pieces: NamedPieces, level: int, shape: tuple[int, ...], shows: Shows) -> LevelVoxels:
        """Returns the voxels of a level that a view shows."""

        def places(chosen: list[Piece]) -> _Voxels:
            return np.unique(np.ravel_multi_index(tuple(shows(Piece.joined(chosen)).indices.T), shape))

        return cls(
            places(pieces.pieces.get(level, [])),
            places(pieces.doubtful.get(level, [])),
            places(pieces.left_out.get(level, [])),
        )

    def readings(self) -> Iterator[_Voxels]:
        """Yields what the level may be: as named, without what is doubtful, and with what was left out."""
        yield self.named
        if self.doubtful.size:
            yield np.setdiff1d(self.named, self.doubtful, assume_unique=True)
        if self.left_out.size:
            yield np.union1d(self.named, self.left_out)


def hinges_on_doubt(reference: LevelVoxels, prediction: LevelVoxels, *, speck: float) -> bool:
    """Returns whether the Dice of a level moves by more than ``HINGE_DICE``, or its status changes, with the reading.

    Args:
        reference: The level in the reference.
        prediction: The level in the prediction.
        speck: Number of voxels below which a level counts as not seen.
    """
    named = _Reading(reference.named, prediction.named)
    readings = [_Reading(*pair) for pair in product(reference.readings(), prediction.readings())]
    return any(
        one.status(speck) is not named.status(speck) or abs(one.dice - named.dice) > HINGE_DICE for one in readings
    )


@dataclass(frozen=True)
class _Reading:
    """One level as both masks may show it."""

    reference: _Voxels
    prediction: _Voxels

    def status(self, speck: float) -> Status:
        """Returns the level's status; less than a speck counts as nothing."""
        return status_of(*(len(one) if len(one) >= speck else 0 for one in (self.reference, self.prediction)))

    @property
    def dice(self) -> float:
        """Dice of both, 0 where neither has a voxel."""
        total = len(self.reference) + len(self.prediction)
        both = np.intersect1d(self.reference, self.prediction, assume_unique=True)
        return 2 * len(both) / total if total else 0.0
