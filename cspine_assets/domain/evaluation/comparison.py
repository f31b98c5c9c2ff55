"""How much predictors differ on the same exams: every pair, structure and metric.

Add here what is particular to comparing predictors. The protocols stand in ``protocols``; levels of the spine and
groups of patients are compared in modules of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import pandas as pd

from cspine_assets.domain.evaluation.protocols import judge_as_published, judge_paired
from cspine_assets.domain.evaluation.rank_tests import Sample
from cspine_assets.domain.evaluation.sets import (
    COMPARED_METRICS,
    MACRO,
    by_structure,
    typed,
    value_array,
    with_set_name,
    with_worst_case,
)
from cspine_assets.domain.tables.evaluation import ModelComparison


def model_comparison(
    exam_metrics: pd.DataFrame, *, metrics: Sequence[str] = COMPARED_METRICS, baseline: str | None = None
) -> pd.DataFrame:
    """Returns ``evaluation.model_comparison``: all pairs of predictors by both protocols.

    Holm's correction takes as one family all pairs and structures of one set and metric; the means over both
    structures are a family of their own. A distance to or from an empty mask counts as the volume's diagonal.

    Args:
        exam_metrics: Rows of ``evaluation.exam_metrics``.
        metrics: Columns to compare.
        baseline: A predictor that is always b, so that a - b has one sign whatever the others are called; without it a
            is the first by name.
    """
    rows: list[dict[str, object]] = []
    for identity, exams in _by_set(with_worst_case(exam_metrics)):
        scores = _scores_by_structure(exams, metrics)
        structures = [name for name in scores if name != MACRO]
        for metric in metrics:
            for family in (structures, [MACRO]):
                pairs = [
                    pair
                    for name in family
                    for pair in _pairs_of(name, scores[name][[metric]].droplevel(0, axis=1), baseline)
                ]
                rows += [{**identity, "metric": metric, **row} for row in _judged(pairs)]
    return typed(ModelComparison, rows)


@dataclass(frozen=True)
class _Pair:
    """Two predictors' values of one structure on the exams that both have."""

    structure: str
    predictor_a: str
    predictor_b: str
    scores: Sample


def _by_set(exam_metrics: pd.DataFrame) -> Iterator[tuple[dict[str, object], pd.DataFrame]]:
    """Yields the exams that may stand in one number, with the columns that name them."""
    columns = ["set_name", "profile", "split_sha256"]
    for key, exams in with_set_name(exam_metrics).groupby(columns, sort=True):
        yield dict(zip(columns, key, strict=True)), exams


def _scores_by_structure(exams: pd.DataFrame, metrics: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Returns for each structure, and for both together, the exams with columns (metric, predictor)."""
    parts: dict[str, dict[str, pd.DataFrame]] = {}
    for predictor, own in exams.groupby("predictor", sort=True):
        for structure, rows in by_structure(own, metrics):
            by_exam = rows if structure == MACRO else rows.set_index("exam_id")
            parts.setdefault(structure, {})[str(predictor)] = by_exam[list(metrics)]
    # sorted: the published bootstrap draws positions, so the order of exams is part of its result
    return {name: pd.concat(frames, axis=1).swaplevel(axis=1).sort_index() for name, frames in parts.items()}


def _pairs_of(structure: str, scores: pd.DataFrame, baseline: str | None) -> list[_Pair]:
    """Returns all pairs of predictors of one structure and metric."""
    pairs = []
    for a, b in combinations(sorted(scores.columns, key=lambda name: (name == baseline, name)), 2):
        common = scores[[a, b]].dropna()
        pairs.append(_Pair(structure, a, b, Sample(value_array(common[a]), value_array(common[b]))))
    return pairs


def _judged(pairs: Sequence[_Pair]) -> list[dict[str, object]]:
    """Returns the rows of one family: all pairs by the paired protocol, then all by the published one."""
    scores = [pair.scores for pair in pairs]
    return [
        {
            "structure": pair.structure,
            "predictor_a": pair.predictor_a,
            "predictor_b": pair.predictor_b,
            **verdict.as_columns(),
        }
        for verdicts in (judge_paired(scores), judge_as_published(scores))
        for pair, verdict in zip(pairs, verdicts, strict=True)
    ]
