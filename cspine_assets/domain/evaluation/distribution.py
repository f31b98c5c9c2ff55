"""What is said of one metric over many exams: counts, mean and median with their intervals, spread, quartiles.

Add a statistic here when it describes the exams of one predictor. Over which exams it is taken stands in
``summaries`` and ``group_metrics``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cspine_assets.domain.evaluation.bootstrap import Interval, mean_intervals, median_intervals
from cspine_assets.domain.evaluation.overlap import Status
from cspine_assets.domain.evaluation.sets import value_array

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Distribution:
    """A metric over exams; without values all but the counts are None.

    Attributes:
        n: Exams.
        n_used: Exams with a value.
        n_missed: Exams whose prediction is empty; they count with their value, 0 for a volumetric Dice and the
            volume's diagonal for a distance.
        n_spurious: Exams whose reference is empty and prediction is not; they count alike.
        mean: Mean.
        mean_ci_low: Lower end of its 95 % bootstrap interval; None for one value.
        mean_ci_high: Upper end.
        sd: Standard deviation with n in the denominator, as published.
        sd_sample: The same with n - 1; None for one value.
        median: Median.
        median_ci_low: Lower end of its 95 % bootstrap interval; None for one value.
        median_ci_high: Upper end.
        q1: First quartile, interpolated linearly.
        q3: Third quartile.
    """

    n: int
    n_used: int
    n_missed: int
    n_spurious: int
    mean: float | None = None
    mean_ci_low: float | None = None
    mean_ci_high: float | None = None
    sd: float | None = None
    sd_sample: float | None = None
    median: float | None = None
    median_ci_low: float | None = None
    median_ci_high: float | None = None
    q1: float | None = None
    q3: float | None = None


def describe_metrics(exams: pd.DataFrame, metrics: Sequence[str]) -> dict[str, Distribution]:
    """Returns the distribution of each metric over exams.

    Args:
        exams: A row per exam with its ``status`` and a column per metric, finite or missing.
        metrics: The columns.
    """
    columns = np.column_stack([value_array(exams[metric]) for metric in metrics])
    return dict(zip(metrics, describe_columns(columns, exams["status"].tolist()), strict=True))


def describe_columns(columns: Values, statuses: Sequence[str]) -> list[Distribution]:
    """Returns the distribution of each column, the draws of exams shared by all.

    Args:
        columns: Values of shape (exams, metrics), NaN where an exam has none, finite otherwise.
        statuses: Status of each exam.
    """
    counted = Distribution(
        n=len(columns),
        n_used=0,
        n_missed=sum(status == Status.MISSED for status in statuses),
        n_spurious=sum(status == Status.SPURIOUS for status in statuses),
    )
    whole = np.asarray(~np.isnan(columns).any(axis=0))
    # whole columns share one product and one look at the draws; one with gaps draws from fewer exams, and goes alone
    together = iter(_intervals_of(columns[:, whole]))
    found = []
    for column, is_whole in zip(columns.T, whole, strict=True):
        used = column[~np.isnan(column)]
        found.append(_measured(counted, used, next(together) if is_whole else _intervals_of(used[:, None])[0]))
    return found


@dataclass(frozen=True)
class _Intervals:
    """Intervals of one column; empty for fewer than two exams."""

    mean: Interval
    median: Interval


def _intervals_of(columns: Values) -> list[_Intervals]:
    """Returns the intervals of every column."""
    if len(columns) < 2 or not columns.shape[1]:
        return [_Intervals(Interval(), Interval())] * columns.shape[1]
    pairs = zip(mean_intervals(columns), median_intervals(columns), strict=True)
    return [_Intervals(mean, median) for mean, median in pairs]


def _measured(counted: Distribution, used: Values, intervals: _Intervals) -> Distribution:
    """Returns the distribution of the values that are there."""
    if not used.size:
        return counted
    q1, middle, q3 = np.percentile(used, [25, 50, 75]).tolist()
    return replace(
        counted,
        n_used=len(used),
        mean=float(used.mean()),
        mean_ci_low=intervals.mean.low,
        mean_ci_high=intervals.mean.high,
        sd=float(used.std()),
        sd_sample=float(used.std(ddof=1)) if used.size > 1 else None,
        median=middle,
        median_ci_low=intervals.median.low,
        median_ci_high=intervals.median.high,
        q1=q1,
        q3=q3,
    )
