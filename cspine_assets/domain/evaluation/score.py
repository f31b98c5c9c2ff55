"""Exams scored for the study: pairs of mask files in, the rows of both metric tables out.

Add a column of the exam's identity here. Measures themselves stand in their own modules, statistics over exams in
``summaries`` and ``comparison``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cspine_assets.domain.anatomy import Structure
from cspine_assets.domain.evaluation.flags import flags_text
from cspine_assets.domain.evaluation.level_naming import NamedReference, Namer, name_reference
from cspine_assets.domain.evaluation.level_score import LevelScore
from cspine_assets.domain.evaluation.mask_score import MaskScore, score_masks
from cspine_assets.domain.evaluation.morphometry import Morphometry as Measurement
from cspine_assets.domain.evaluation.pair import PairScratch
from cspine_assets.domain.evaluation.top_body import StatedTop
from cspine_assets.domain.tables.base import empty_frame, validate
from cspine_assets.domain.tables.evaluation import ExamMetrics, LevelMetrics, Morphometry
from cspine_assets.domain.volume import Geometry


@dataclass(frozen=True)
class ScoredCase:
    """Whose masks are compared: the identity columns of every metric row.

    Attributes:
        exam_id: Exam.
        patient_id: Its patient.
        set: ``cv`` or ``test``.
        fold: Fold that held the exam out, None for the test set.
        predictor: Who predicted.
        profile: Profile of the model.
        split_sha256: Split that the model was trained by.
        annotation_provenance: Who drew the reference.
        model_sha256: The models that drew the prediction.
    """

    exam_id: str
    patient_id: str
    set: str
    fold: int | None
    predictor: str
    profile: str
    split_sha256: str
    annotation_provenance: str
    model_sha256: str


@dataclass(frozen=True)
class ScoredPair:
    """Two masks to compare.

    Attributes:
        reference: Mask that is taken as true, with the study's labels.
        prediction: Mask that is judged; None stands for a missing prediction.
        case: Whose they are.
        stated: What a person says the reference's topmost body is, or None.
    """

    reference: Path
    prediction: Path | None
    case: ScoredCase
    stated: StatedTop | None = None


class Part(StrEnum):
    """A metric table."""

    EXAMS = "exams"
    LEVELS = "levels"
    MORPHOMETRY = "morphometry"


@dataclass(frozen=True)
class MetricFrames:
    """Validated rows of ``evaluation.exam_metrics``, ``evaluation.level_metrics`` and ``evaluation.morphometry``."""

    exams: pd.DataFrame
    levels: pd.DataFrame
    morphometry: pd.DataFrame


def score_pairs(pairs: Sequence[ScoredPair], *, parts: Collection[Part]) -> MetricFrames:
    """Returns the metric rows of some pairs: two of the whole structures each, 32 of levels, 46 measurements.

    Args:
        pairs: Masks and whose they are.
        parts: Tables to make; the others are empty.

    Raises:
        GeometryError: A file cannot be read, or the grids differ; the message names the difference.
        TableError: An exam stands twice for one predictor and set.
    """
    scratch, name, named = PairScratch(), _remembering(None), None
    exams: list[dict[str, object]] = []
    levels: list[dict[str, object]] = []
    measured: list[dict[str, object]] = []
    for pair in pairs:
        if pair.reference != named:  # the pairs of an exam stand together: one reference is kept, not all
            name, named = _remembering(pair.stated), pair.reference
        score = score_masks(
            pair.reference,
            pair.prediction,
            with_surfaces=Part.EXAMS in parts,
            with_levels=Part.LEVELS in parts,
            with_morphometry=Part.MORPHOMETRY in parts,
            scratch=scratch,
            name=name,
        )
        identity = asdict(pair.case)
        if Part.EXAMS in parts:
            exams += [{**identity, **_structure_columns(score, structure)} for structure in score.overlap]
        levels += [{**identity, **_level_columns(level)} for level in score.levels]
        measured += [{**identity, **_measurement_columns(one)} for one in score.morphometry]
    return MetricFrames(_frame(ExamMetrics, exams), _frame(LevelMetrics, levels), _frame(Morphometry, measured))


def concat_frames(frames: Iterable[MetricFrames]) -> MetricFrames:
    """Returns the rows of many exams, validated together; without any, empty tables.

    Raises:
        TableError: An exam was scored twice for one predictor and set.
    """
    parts = list(frames)
    if not parts:
        return MetricFrames(empty_frame(ExamMetrics), empty_frame(LevelMetrics), empty_frame(Morphometry))
    return MetricFrames(
        validate(ExamMetrics, pd.concat([part.exams for part in parts], ignore_index=True)),
        validate(LevelMetrics, pd.concat([part.levels for part in parts], ignore_index=True)),
        validate(Morphometry, pd.concat([part.morphometry for part in parts], ignore_index=True)),
    )


def _remembering(stated: StatedTop | None) -> Namer:
    """Returns a namer for one reference: it names it at the first call, and gives that answer again."""
    answers: list[NamedReference | None] = []

    def name(reference: NDArray[np.uint8], geometry: Geometry) -> NamedReference | None:
        if not answers:
            answers.append(name_reference(reference, geometry, stated=stated))
        return answers[0]

    return name


def _structure_columns(score: MaskScore, structure: Structure) -> dict[str, object]:
    """Returns the columns of one structure."""
    return {
        "structure": structure.value,
        **asdict(score.overlap[structure]),
        **asdict(score.surfaces[structure]),
        "diagonal_mm": score.diagonal_mm,
    }


def _level_columns(level: LevelScore) -> dict[str, object]:
    """Returns the columns of one level."""
    return {
        "structure": level.structure.value,
        "level": level.level,
        "view": level.view.value,
        "protocol": level.protocol.value,
        "dice": level.dice,
        "status": level.status.value,
        "reason": level.reason,
        "flags": flags_text(level.flags),
        "severity": level.severity.value,
        "confidence": level.confidence.value if level.confidence else None,
        "named_by": level.named_by,
    }


def _measurement_columns(measured: Measurement) -> dict[str, object]:
    """Returns the columns of one measurement."""
    return {
        "level": measured.level,
        "measure": measured.measure.value,
        "value_reference": measured.reference,
        "value_prediction": measured.prediction,
        "difference": measured.difference,
        "status": measured.status.value,
        "reason": measured.reason,
        "flags": flags_text(measured.flags),
        "severity": measured.severity.value,
        "confidence": measured.confidence.value if measured.confidence else None,
        "named_by": measured.named_by,
    }


def _frame(table: type[ExamMetrics | LevelMetrics | Morphometry], rows: list[dict[str, object]]) -> pd.DataFrame:
    """Returns rows as a validated table."""
    if not rows:
        return empty_frame(table)
    # a column of None alone has no type of its own: start from the described one
    return validate(table, pd.DataFrame(rows).astype(empty_frame(table).dtypes.to_dict()))
