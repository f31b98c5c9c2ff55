"""Distributions of a metric over exams: the cross-validation by fold, and the test set.

Add a statistic here when it describes the exams of one predictor. Comparing predictors stands in ``comparison``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cspine_assets.domain.anatomy import Structure
from cspine_assets.domain.evaluation.overlap import Status
from cspine_assets.domain.evaluation.sets import MACRO, SUMMARY_METRICS, with_set_name
from cspine_assets.domain.tables.base import Table, empty_frame, validate
from cspine_assets.domain.tables.evaluation import FoldSummary, SummaryOnTest

ALL_FOLDS: Final = "all"
"""Fold of the row over every exam of the cross-validation."""

_GROUP: Final = ("set_name", "annotation_provenance", "profile", "split_sha256", "predictor")


@dataclass(frozen=True)
class Distribution:
    """A metric over exams; without values all but the counts are None.

    Attributes:
        n: Exams.
        n_used: Exams with a value.
        n_missed: Exams whose prediction is empty; they count with their value, 0 for a volumetric Dice.
        n_spurious: Exams whose reference is empty and prediction is not.
        mean: Mean.
        sd: Standard deviation with n in the denominator, as published.
        sd_sample: The same with n - 1; None for one value.
        median: Median.
        q1: First quartile, interpolated linearly.
        q3: Third quartile.
    """

    n: int
    n_used: int
    n_missed: int
    n_spurious: int
    mean: float | None
    sd: float | None
    sd_sample: float | None
    median: float | None
    q1: float | None
    q3: float | None


def fold_summary(exam_metrics: pd.DataFrame, *, metrics: Sequence[str] = SUMMARY_METRICS) -> pd.DataFrame:
    """Returns ``evaluation.fold_summary``: each fold of the cross-validation, and all of them together.

    Args:
        exam_metrics: Rows of ``evaluation.exam_metrics``; those of other sets are passed over.
        metrics: Columns to sum up.
    """
    scored = exam_metrics[exam_metrics["set"] == "cv"]
    by_fold = scored.assign(fold=scored["fold"].astype("string"))
    together = scored.assign(fold=pd.array([ALL_FOLDS] * len(scored), dtype="string"))
    return _summarise(FoldSummary, pd.concat([by_fold, together]), ("fold", *_GROUP), metrics)


def test_summary(exam_metrics: pd.DataFrame, *, metrics: Sequence[str] = SUMMARY_METRICS) -> pd.DataFrame:
    """Returns ``evaluation.test_summary``: the test set, apart by who drew its reference masks.

    Args:
        exam_metrics: Rows of ``evaluation.exam_metrics``; those of other sets are passed over.
        metrics: Columns to sum up.
    """
    return _summarise(SummaryOnTest, exam_metrics[exam_metrics["set"] == "test"], _GROUP, metrics)


def describe(values: NDArray[np.float64], statuses: Sequence[str]) -> Distribution:
    """Returns the distribution of one metric.

    Args:
        values: One value per exam, NaN where it has none.
        statuses: Status of each exam.
    """
    used = values[~np.isnan(values)]
    q1, median, q3 = np.percentile(used, [25, 50, 75]).tolist() if used.size else (None, None, None)
    return Distribution(
        n=len(values),
        n_used=len(used),
        n_missed=sum(status == Status.MISSED for status in statuses),
        n_spurious=sum(status == Status.SPURIOUS for status in statuses),
        mean=float(used.mean()) if used.size else None,
        sd=float(used.std()) if used.size else None,
        sd_sample=float(used.std(ddof=1)) if used.size > 1 else None,
        median=median,
        q1=q1,
        q3=q3,
    )


def _summarise(
    table: type[Table], scored: pd.DataFrame, group: tuple[str, ...], metrics: Sequence[str]
) -> pd.DataFrame:
    """Returns the table's rows: every group, each structure and both together, each metric."""
    if scored.empty:
        return empty_frame(table)
    rows = []
    for key, exams in with_set_name(scored).groupby(list(group), sort=True):
        for structure, of_structure in _by_structure(exams, metrics):
            for metric in metrics:
                values = of_structure[metric].to_numpy(dtype=np.float64, na_value=np.nan)
                measured = asdict(describe(values, of_structure["status"].tolist()))
                rows.append(
                    {**dict(zip(group, key, strict=True)), "structure": structure, "metric": metric, **measured}
                )
    return validate(table, pd.DataFrame(rows).astype(empty_frame(table).dtypes.to_dict()))


def _by_structure(exams: pd.DataFrame, metrics: Sequence[str]) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yields the exams of each structure, then the exams' means over both."""
    for structure, rows in exams.groupby("structure", sort=True):
        yield str(structure), rows
    yield MACRO, _macro(exams, metrics)


def _macro(exams: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """Returns one row per exam: the mean of both structures' values, missing where one of them is.

    The mean over exams is the published macro-average, the mean of the two structures' means. The spread is not: the
    published one is that of two numbers. An exam counts as missed, or spurious, where one of its structures is.
    """
    by_exam = exams.groupby("exam_id", sort=True)
    complete = by_exam[list(metrics)].count() == len(Structure)
    values = by_exam[list(metrics)].mean().where(complete)
    order = [Status.MISSED, Status.SPURIOUS, Status.OK, Status.BOTH_EMPTY]
    status = by_exam["status"].agg(lambda column: min(column, key=order.index))
    return values.assign(status=status)
