"""The rows of a score of many cases: measured, missed, or failed with the reason, and none left out.

Add here what is true of a row outside the platform. Measures stand in their own modules, files of rows in
``score_file``; no pandas here, see ``mask_score``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Final

from cspine_assets.domain.anatomy import Structure
from cspine_assets.domain.errors import CSpineError, unexpected_reason
from cspine_assets.domain.evaluation.mask_folders import MaskFiles
from cspine_assets.domain.evaluation.mask_score import MaskScore, score_masks
from cspine_assets.domain.evaluation.overlap import Overlap
from cspine_assets.domain.evaluation.pair import PairScratch
from cspine_assets.domain.machine import usable_cores
from cspine_assets.domain.volume import STRICT, Allowance

if TYPE_CHECKING:
    from cspine_assets.domain.evaluation.level_score import LevelScore
    from cspine_assets.domain.evaluation.surface import SurfaceDistance

FAILED: Final = "failed"
"""Status of a case that could not be measured: a file is unreadable, or the grids differ."""

_LOST: Final = (
    "the process that measured it was ended twice, as the system does where memory is short. Call again with fewer "
    "--jobs."
)

_CASES_PER_CHUNK: Final = 4
_CASES_PER_WORKER: Final = 20
"""A process that measures surfaces takes as long to start as some twenty cases take."""


class Metrics(StrEnum):
    """What is measured of each structure."""

    DICE = "dice"
    SURFACE = "surface"
    ALL = "all"


@dataclass(frozen=True)
class Choice:
    """What a score is to measure.

    Attributes:
        labels: Number of each structure in all files.
        metrics: Overlap, surface distances, or both.
        with_levels: Whether levels are measured too.
        allowed: What is allowed of the files beyond the rules.
    """

    labels: Mapping[Structure, int]
    metrics: Metrics
    with_levels: bool
    allowed: Allowance = STRICT


@dataclass(frozen=True)
class StructureScore:
    """One structure of one case.

    Attributes:
        case_id: Case.
        structure: Structure.
        status: ``ok``, ``missed``, ``spurious``, ``both_empty``, or ``failed``.
        overlap: Overlap; None where the case failed.
        surface: Surface distances; None where the case failed or none were asked for.
        diagonal_mm: Diagonal of the volume; None where the case failed.
        reason: What has to be known about the row: no prediction, or why the case failed.
    """

    case_id: str
    structure: Structure
    status: str
    overlap: Overlap | None = None
    surface: SurfaceDistance | None = None
    diagonal_mm: float | None = None
    reason: str | None = None


@dataclass(frozen=True)
class CaseScore:
    """All rows of one case."""

    case_id: str
    structures: list[StructureScore]
    levels: list[LevelScore]


def score_cases(cases: Sequence[MaskFiles], choice: Choice, *, jobs: int | None) -> list[CaseScore]:
    """Returns the scores of all cases, in their order.

    A case that cannot be read or compared has rows with its reason, and the others are scored.

    Args:
        cases: Files of each case.
        choice: What to measure.
        jobs: Processes to work in. None takes one where overlap alone is measured, which costs less than starting a
            second one, and otherwise as many as there are processors and enough cases.
    """
    if jobs is None:
        is_quick = choice.metrics is Metrics.DICE and not choice.with_levels
        jobs = 1 if is_quick else min(usable_cores(), len(cases) // _CASES_PER_WORKER)
    if jobs <= 1:
        return _score_chunk(list(cases), choice)
    place = {case.case_id: index for index, case in enumerate(cases)}
    return sorted(_score_in_workers(cases, choice, jobs), key=lambda score: place[score.case_id])


def _score_in_workers(cases: Sequence[MaskFiles], choice: Choice, jobs: int) -> Iterator[CaseScore]:
    """Yields scores as workers give them; a case over which its process dies twice has failed."""
    from cspine_assets.domain.workers import each_in_workers  # noqa: PLC0415 - one process needs none of it

    chunks = [cases[start : start + _CASES_PER_CHUNK] for start in range(0, len(cases), _CASES_PER_CHUNK)]
    yield from each_in_workers(
        chunks,
        partial(_score_chunk, choice=choice),
        lost=partial(_failed, choice=choice, reason=_LOST),
        workers=jobs,
        preload=["cspine_assets.domain.evaluation.surface", "cspine_assets.domain.evaluation.levels"],
    )


def _score_chunk(cases: list[MaskFiles], choice: Choice) -> list[CaseScore]:
    scratch = PairScratch()
    return [_score_case(case, choice, scratch) for case in cases]


def _score_case(case: MaskFiles, choice: Choice, scratch: PairScratch) -> CaseScore:
    try:
        score = score_masks(
            case.reference,
            case.prediction,
            labels=choice.labels,
            with_surfaces=choice.metrics is not Metrics.DICE,
            with_levels=choice.with_levels,
            scratch=scratch,
            allowed=choice.allowed,
        )
    except CSpineError as error:
        return _failed(case, choice=choice, reason=str(error))
    except Exception as error:  # noqa: BLE001 - masks that nobody foresaw, and all other cases wait
        return _failed(case, choice=choice, reason=unexpected_reason(case.case_id, error))
    return CaseScore(case.case_id, _rows(case, score), score.levels)


def _rows(case: MaskFiles, score: MaskScore) -> list[StructureScore]:
    return [
        StructureScore(
            case_id=case.case_id,
            structure=structure,
            status=overlap.status,
            overlap=overlap,
            surface=score.surfaces.get(structure),
            diagonal_mm=score.diagonal_mm,
            reason=None if case.prediction else "there is no prediction",
        )
        for structure, overlap in score.overlap.items()
    ]


def _failed(case: MaskFiles, *, choice: Choice, reason: str) -> CaseScore:
    """Returns the rows of a case that could not be measured."""
    rows = [StructureScore(case.case_id, structure, FAILED, reason=reason) for structure in choice.labels]
    return CaseScore(case.case_id, rows, _failed_levels(choice.labels, reason) if choice.with_levels else [])


def _failed_levels(labels: Mapping[Structure, int], reason: str) -> list[LevelScore]:
    from cspine_assets.domain.evaluation.level_score import Protocol, View, all_excluded  # noqa: PLC0415 - as above

    kinds = [(structure, view, Protocol.ANATOMICAL) for view in View for structure in Structure]
    kinds.append((Structure.INTERVERTEBRAL_DISC, View.MID_SAGITTAL, Protocol.PAPER))
    return [
        level
        for structure, view, protocol in kinds
        if structure in labels
        for level in all_excluded(structure, view, protocol, reason=reason, flags=())
    ]
