"""Distributions of a metric over exams: the cross-validation by fold, and the test set.

Add a summary here when it is over another part of the exams. What is said of each stands in ``distribution``,
comparing predictors in ``comparison``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

import pandas as pd

from cspine_assets.domain.evaluation.distribution import describe_metrics
from cspine_assets.domain.evaluation.sets import (
    SUMMARY_METRICS,
    by_structure,
    sides,
    typed,
    with_set_name,
    with_worst_case,
)
from cspine_assets.domain.tables.base import TEXT, Table
from cspine_assets.domain.tables.evaluation import FoldSummary, SummaryOnTest

ALL_FOLDS: Final = "all"
"""Fold of the row over every exam of the cross-validation."""

_GROUP: Final = ("set_name", "annotation_provenance", "profile", "split_sha256", "predictor")


def fold_summary(exam_metrics: pd.DataFrame, *, metrics: Sequence[str] = SUMMARY_METRICS) -> pd.DataFrame:
    """Returns ``evaluation.fold_summary``: each fold of the cross-validation, and all of them together.

    Args:
        exam_metrics: Rows of ``evaluation.exam_metrics``; those of other sets are passed over.
        metrics: Columns to sum up.
    """
    scored = exam_metrics[sides(exam_metrics["set"]) == "cv"]
    by_fold = scored.assign(fold=scored["fold"].astype(TEXT))
    together = scored.assign(fold=pd.array([ALL_FOLDS] * len(scored), dtype=TEXT))
    return _summarise(FoldSummary, pd.concat([by_fold, together]), ("fold", *_GROUP), metrics)


def test_summary(exam_metrics: pd.DataFrame, *, metrics: Sequence[str] = SUMMARY_METRICS) -> pd.DataFrame:
    """Returns ``evaluation.test_summary``: the test set, apart by who drew its reference masks.

    Args:
        exam_metrics: Rows of ``evaluation.exam_metrics``; those of other sets are passed over.
        metrics: Columns to sum up.
    """
    return _summarise(SummaryOnTest, exam_metrics[sides(exam_metrics["set"]) == "test"], _GROUP, metrics)


def _summarise(
    table: type[Table], scored: pd.DataFrame, group: tuple[str, ...], metrics: Sequence[str]
) -> pd.DataFrame:
    """Returns the table's rows: every group, each structure and both together, each metric."""
    rows: list[dict[str, object]] = []
    for key, exams in with_worst_case(with_set_name(scored)).groupby(list(group), sort=True):
        for structure, of_structure in by_structure(exams, metrics):
            named = {**dict(zip(group, key, strict=True)), "structure": structure}
            described = describe_metrics(of_structure, metrics)
            rows += [{**named, "metric": metric, **asdict(found)} for metric, found in described.items()]
    return typed(table, rows)
