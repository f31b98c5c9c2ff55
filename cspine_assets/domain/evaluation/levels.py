"""Dice of every level of bodies and discs: each level of each view is scored or has its reason.

Add a view here. How a level gets its name stands in the naming modules, a row's place among patients and
predictors in ``score``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cspine_assets.domain.anatomy import LEVELS, Structure
from cspine_assets.domain.evaluation.flags import Flag
from cspine_assets.domain.evaluation.level_doubt import LevelVoxels, hinges_on_doubt
from cspine_assets.domain.evaluation.level_naming import (
    NamedPair,
    NamedReference,
    Namer,
    name_pair,
    name_reference,
    once,
)
from cspine_assets.domain.evaluation.level_score import LEVEL_STATUS, LevelScore, Protocol, View, all_excluded
from cspine_assets.domain.evaluation.named_pieces import level_indices
from cspine_assets.domain.evaluation.overlap import status_of
from cspine_assets.domain.evaluation.published_levels import measure_published_levels
from cspine_assets.domain.evaluation.top_body import UNKNOWN, Confidence, confidence_of
from cspine_assets.domain.evaluation.voxels import SPECK, Piece
from cspine_assets.domain.volume import Geometry, middle_slice

NO_BODY = "the reference has no vertebral body to name levels by"
"""Why nothing has a name in an exam whose reference has no body."""


def measure_levels(
    reference: NDArray[np.uint8],
    prediction: NDArray[np.uint8],
    geometry: Geometry,
    *,
    name: Namer = name_reference,
) -> list[LevelScore]:
    """Returns all level scores of an exam: both views by anatomy, and the published rule on the middle slice.

    For each view all bodies C2 to T1 and then all discs C2/C3 to C7/T1, at last the discs by the published rule:
    always 32 scores in this order.

    Args:
        reference: Mask with the study's labels.
        prediction: Mask on the same grid.
        geometry: That grid.
        name: Names the reference; one that remembers serves all predictions of an exam.
    """
    named = name_pair(name(reference, geometry), prediction)
    return score_all_levels(named, reference, prediction, slice_axis=geometry.slice_axis)


def score_all_levels(
    named: NamedPair | None, reference: NDArray[np.uint8], prediction: NDArray[np.uint8], *, slice_axis: int
) -> list[LevelScore]:
    """Returns all level scores of an exam whose levels are named, as ``measure_levels``.

    Args:
        named: Reference and prediction with their levels named; None where the reference has no body.
        reference: Mask with the study's labels.
        prediction: Mask on the same grid.
        slice_axis: Array axis along which sagittal slices lie.
    """
    return [*score_levels(named), *measure_published_levels(reference, prediction, slice_axis=slice_axis)]


def measure_anatomical_levels(
    reference: NDArray[np.uint8], prediction: NDArray[np.uint8], geometry: Geometry
) -> list[LevelScore]:
    """Returns all levels of the middle slice and of the volume, named by the reference's bodies in the world.

    Args:
        reference: Mask with the study's labels.
        prediction: Mask on the same grid.
        geometry: That grid.
    """
    return score_levels(name_pair(name_reference(reference, geometry), prediction))


def score_levels(named: NamedPair | None) -> list[LevelScore]:
    """Returns all levels of the middle slice and of the volume of one prediction.

    Names are found once, in 3-D; the middle slice shows a part of the same pieces under the same names.

    Args:
        named: Reference and prediction with their levels named; None where the reference has no body.
    """
    if named is None:
        return [
            row
            for view in View
            for structure in Structure
            for row in all_excluded(
                structure,
                view,
                Protocol.ANATOMICAL,
                reason=NO_BODY,
                flags=(),
                confidence=Confidence.LOW,
                named_by=UNKNOWN,
            )
        ]
    scored = {structure: _score_structure(named, structure) for structure in Structure}
    return [row for view in View for structure in Structure for row in scored[structure] if row.view is view]


def _score_structure(named: NamedPair, structure: Structure) -> list[LevelScore]:
    """Returns both views of all levels of one structure."""
    reference, found = named.reference, named.prediction[structure]
    rows, top = [], reference.frame.top
    for name, index in zip(LEVELS[structure], level_indices(structure), strict=True):
        flags = reference.flags(structure, index) | found.flags_at(index)
        ours, theirs = found.at(index), reference.named[structure].at(index)
        for view in View:
            counts = _count(reference, structure, index, view, theirs=theirs, ours=ours)
            seen = flags | voxels_in_doubt(named, structure, index, view)
            rows.append(
                LevelScore(
                    structure=structure,
                    level=name,
                    view=view,
                    protocol=Protocol.ANATOMICAL,
                    status=LEVEL_STATUS[status_of(counts.reference, counts.prediction)],
                    dice=counts.dice,
                    flags=tuple(sorted(seen)),
                    reason=None if counts.dice is not None else _why_absent(reference, structure, index, view),
                    confidence=confidence_of(seen, top),
                    named_by=top.words(),
                )
            )
    return rows


def voxels_in_doubt(named: NamedPair, structure: Structure, index: int, view: View) -> set[Flag]:
    """Returns the flag of a level whose score hinges on doubtful voxels, in the view where it does; else nothing.

    Args:
        named: Reference and prediction.
        structure: Bodies or discs.
        index: Level index.
        view: The volume, or the middle slice.
    """
    both = (named.reference.named[structure], named.prediction[structure])
    if not any(pieces.is_in_doubt(index) for pieces in both):
        return set()

    def hinges() -> bool:
        reference = named.reference
        seen = [
            LevelVoxels.of(pieces, index, reference.geometry.shape, lambda piece: _shown(piece, reference, view))
            for pieces in both
        ]
        return hinges_on_doubt(*seen, speck=_speck(reference, structure, view))

    return {Flag.VOXELS_UNSURE} if once(named.computed, f"doubt {structure} {index} {view}", hinges) else set()


def _shown(piece: Piece, reference: NamedReference, view: View) -> Piece:
    """Returns the voxels of a piece that a view shows."""
    if view is View.VOLUME:
        return piece
    return piece.part(piece.indices[:, reference.geometry.slice_axis] == middle_slice(reference.geometry))


def _speck(reference: NamedReference, structure: Structure, view: View) -> float:
    """Returns the number of voxels below which a level counts as not seen: a speck of the reference's median level."""
    named = reference.named[structure]
    sizes = [len(_shown(named.at(index), reference, view)) for index in named.pieces]
    return SPECK * float(np.median([size for size in sizes if size] or [0]))


@dataclass(frozen=True)
class _Counts:
    """Number of voxels of one level in the reference, in the prediction, and in both."""

    reference: int
    prediction: int
    both: int

    @property
    def dice(self) -> float | None:
        total = self.reference + self.prediction
        return 2 * self.both / total if total else None


def _count(
    reference: NamedReference, structure: Structure, index: int, view: View, *, theirs: Piece, ours: Piece
) -> _Counts:
    """Returns the voxels of one level that a view shows."""
    theirs, ours = (_shown(piece, reference, view) for piece in (theirs, ours))
    both = reference.level_map[structure][tuple(ours.indices.T)] == index
    return _Counts(len(theirs), len(ours), int(both.sum()))


def _why_absent(reference: NamedReference, structure: Structure, index: int, view: View) -> str:
    """Returns the reason of a level that neither mask shows."""
    last = len(reference.frame) - 1 if structure is Structure.VERTEBRAL_BODY else len(reference.frame)
    if index > last:
        return "lies below the reference's bodies"
    kind = "body" if structure is Structure.VERTEBRAL_BODY else "disc"
    return f"neither mask has this {kind} {'in the volume' if view is View.VOLUME else 'in the middle slice'}"
