"""A trial of level names on masks whose levels are known: right, flagged, or wrong without a word.

Add a rule of naming that is to be tried. Where the masks come from is no matter here; scores that users see stand in
``levels``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cspine_assets.domain.anatomy import LABELS, LEVELS, Structure
from cspine_assets.domain.evaluation.flags import Severity
from cspine_assets.domain.evaluation.level_naming import name_pair, name_reference
from cspine_assets.domain.evaluation.level_score import LevelScore, LevelStatus, Protocol, View
from cspine_assets.domain.evaluation.levels import score_levels
from cspine_assets.domain.evaluation.named_pieces import NONE, level_indices
from cspine_assets.domain.evaluation.overlap import Status, status_of
from cspine_assets.domain.evaluation.published_levels import components_by_column, measure_published_levels
from cspine_assets.domain.evaluation.voxels import SPECK
from cspine_assets.domain.volume import Geometry, middle_slice

DICE_TOLERANCE: Final = 0.05
"""A level's Dice may differ from the true one by this: specks left out, and cuts a voxel beside the true border."""

_DISC: Final = Structure.INTERVERTEBRAL_DISC


class Verdict(StrEnum):
    """What a rule made of one level."""

    RIGHT = "right"
    FLAGGED = "flagged"
    SILENTLY_WRONG = "silently_wrong"


@dataclass(frozen=True)
class KnownLevels:
    """Two masks, and the level that every voxel of them truly belongs to.

    Attributes:
        reference: Mask with the study's labels.
        prediction: Mask on the same grid.
        reference_levels: Level index of every voxel of the reference, -1 for none.
        prediction_levels: The same of the prediction.
        geometry: The grid.
    """

    reference: NDArray[np.uint8]
    prediction: NDArray[np.uint8]
    reference_levels: NDArray[np.int8]
    prediction_levels: NDArray[np.int8]
    geometry: Geometry


@dataclass(frozen=True)
class Judgement:
    """The verdict on one level of one view.

    Attributes:
        protocol: The rule.
        structure: Bodies or discs.
        level: The name that the rule gave.
        view: Middle slice or volume.
        verdict: Right whether or not it is flagged; wrong with the severity ``name_unsure`` or excluded with a reason
            is flagged; wrong otherwise is silently wrong.
        is_unsure: Whether the level has the severity ``name_unsure``, also where it is right.
    """

    protocol: Protocol
    structure: Structure
    level: str
    view: View
    verdict: Verdict
    is_unsure: bool


@dataclass(frozen=True)
class _Seen:
    """One level in one mask as a rule sees it and as it is: which voxels, of the same array.

    Attributes:
        named: Voxels with the level's name.
        true: Voxels that are the level's.
        speck: Number of voxels below which a level counts as not seen.
    """

    named: NDArray[np.bool_]
    true: NDArray[np.bool_]
    speck: float

    def is_same(self) -> bool:
        """Returns whether more than half of either are the other's voxels; two that are not seen are the same."""
        named, true, both = (int(np.count_nonzero(one)) for one in (self.named, self.true, self.named & self.true))
        return max(named, true) < max(self.speck, 1) or 2 * both > max(named, true)

    def seen(self, which: NDArray[np.bool_]) -> int:
        """Returns the number of voxels, 0 for a speck."""
        count = int(np.count_nonzero(which))
        return count if count >= self.speck else 0


def judge(known: KnownLevels) -> list[Judgement]:
    """Returns the verdict on every level of both rules.

    A level is **right** when all of this holds in its view, else it is wrong:

    - the voxels called by its name are mostly its true voxels, and most of those have its name: more than half of
      either, in the reference and in the prediction, so that both the name and the pairing are right;
    - its status is the true one (found, missed, spurious, absent);
    - where both masks have it, its Dice differs from that of the true voxels by at most ``DICE_TOLERANCE``.

    Nothing else is forgiven but one thing: a level of which a mask shows less than a speck, ``SPECK`` of the
    reference's median level of that structure in the same view, counts as not seen there, in the truth as in the
    answer. That is the rule that is tried, for specks are left out and counted, and no score hides behind it: such a
    level is absent, missed or spurious, or its Dice stands on a few voxels. It decides one in 3,000 of the levels
    that are right. A strip that a model drew between two levels is true of the nearer one, whatever it hangs on.

    A wrong level is **flagged** when it has the severity ``name_unsure``, or was excluded with its reason; a lighter
    flag does not count. Any other wrong level is **silently wrong**. The published rule flags nothing: the flag that
    this project adds to it does not count here.
    """
    return [*_judge_anatomical(known), *_judge_published(known)]


def _judge_anatomical(known: KnownLevels) -> Iterator[Judgement]:
    pair = name_pair(name_reference(known.reference, known.geometry), known.prediction)
    scores = {(row.structure, row.level, row.view): row for row in score_levels(pair)}
    for structure in Structure:
        named = [np.full(known.reference.shape, NONE, np.int8)] * 2
        if pair is not None:
            named = [pair.reference.level_map[structure], pair.prediction[structure].level_map(known.reference.shape)]
        for view in View:
            shown = [_shown(array, known, view) for array in named]
            true = [_shown(array, known, view) for array in _true_maps(known, structure)]
            for index, name in zip(level_indices(structure), LEVELS[structure], strict=True):
                speck = _speck(true[0])
                seen = [_Seen(names == index, truth == index, speck) for names, truth in zip(shown, true, strict=True)]
                yield _verdict(scores[structure, name, view], seen)


def _true_maps(known: KnownLevels, structure: Structure) -> list[NDArray[np.int8]]:
    """Returns the true levels of one structure in the reference and in the prediction."""
    pairs = ((known.reference, known.reference_levels), (known.prediction, known.prediction_levels))
    return [np.where(mask == LABELS[structure], levels, np.int8(NONE)) for mask, levels in pairs]


def _shown(array: NDArray[np.int8], known: KnownLevels, view: View) -> NDArray[np.int8]:
    """Returns what a view shows of a map of levels."""
    if view is View.VOLUME:
        return array
    plane: NDArray[np.int8] = np.take(array, middle_slice(known.geometry), known.geometry.slice_axis)
    return plane


def _speck(reference: NDArray[np.int8]) -> float:
    """Returns the number of voxels below which a level counts as not seen, from the true levels of the reference."""
    sizes = np.bincount(reference[reference >= 0], minlength=1)
    usual = float(np.median(sizes[sizes > 0])) if sizes.any() else 0.0
    return SPECK * usual


def _judge_published(known: KnownLevels) -> Iterator[Judgement]:
    scores = measure_published_levels(known.reference, known.prediction, slice_axis=known.geometry.slice_axis)
    planes = [_shown(array, known, View.MID_SAGITTAL) for array in _true_maps(known, _DISC)]
    masks = (known.reference == LABELS[_DISC], known.prediction == LABELS[_DISC])
    found = [components_by_column(_shown(mask.view(np.int8), known, View.MID_SAGITTAL) > 0) for mask in masks]
    for place, (score, index) in enumerate(zip(scores, level_indices(_DISC), strict=True)):
        speck = _speck(planes[0])
        seen = [
            _Seen(parts[place] if place < len(parts) else np.zeros(plane.shape, bool), plane == index, speck)
            for parts, plane in zip(found, planes, strict=True)
        ]
        yield _verdict(score, seen)


def _verdict(score: LevelScore, seen: list[_Seen]) -> Judgement:
    unsure = score.severity is Severity.NAME_UNSURE and score.protocol is Protocol.ANATOMICAL
    if score.status is not LevelStatus.EXCLUDED and _is_right(score, *seen):
        verdict = Verdict.RIGHT
    else:
        verdict = Verdict.FLAGGED if unsure or score.status is LevelStatus.EXCLUDED else Verdict.SILENTLY_WRONG
    return Judgement(score.protocol, score.structure, score.level, score.view, verdict, unsure)


def _is_right(score: LevelScore, reference: _Seen, prediction: _Seen) -> bool:
    true = status_of(reference.seen(reference.true), prediction.seen(prediction.true))
    named = status_of(reference.seen(reference.named), prediction.seen(prediction.named))
    if named is not true or not reference.is_same() or not prediction.is_same():
        return False
    if named is not Status.OK or score.dice is None:
        return True
    total = np.count_nonzero(reference.true) + np.count_nonzero(prediction.true)
    true_dice = 2 * np.count_nonzero(reference.true & prediction.true) / total
    return bool(abs(score.dice - true_dice) <= DICE_TOLERANCE)
