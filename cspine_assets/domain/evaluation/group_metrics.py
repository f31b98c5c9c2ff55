"""How well each group of patients is segmented: every metric described for every group.

Add a column here when it describes one group. Comparing groups stands in ``group_comparison``, what a group is in
``groupings``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cspine_assets.domain.evaluation.distribution import describe_metrics
from cspine_assets.domain.evaluation.groupings import MIN_EXAMS, Group, scored_sets
from cspine_assets.domain.evaluation.sets import COMPARED_METRICS, failed_array, typed, value_array
from cspine_assets.domain.evaluation.success import CRITERIA, Rate
from cspine_assets.domain.tables.evaluation import GroupMetrics

Values = NDArray[np.float64]


def group_metrics(
    exam_metrics: pd.DataFrame, strata: pd.DataFrame, *, metrics: Sequence[str] = COMPARED_METRICS
) -> pd.DataFrame:
    """Returns ``evaluation.group_metrics``: each metric in each group, all exams of a set included as group ``all``.

    Args:
        exam_metrics: Rows of ``evaluation.exam_metrics``.
        strata: A row per exam: ``exam_id``, and a column of text per attribute, missing where it is not known.
        metrics: Columns to describe.
    """
    rows: list[dict[str, object]] = []
    for scored in scored_sets(exam_metrics, strata):
        for grouping in scored.groupings:
            for group in grouping.groups_of(scored.exams):
                named = {**scored.names(), "grouping": grouping.name, "group_value": group.value}
                rows += [{**named, **row} for row in _describe(group, metrics)]
    return typed(GroupMetrics, rows)


def _describe(group: Group, metrics: Sequence[str]) -> Iterator[dict[str, object]]:
    """Yields a row per predictor, structure and metric of a group."""
    for (predictor, structure), exams in group.exams.groupby(["predictor", "structure"], sort=True):
        failed = failed_array(exams["status"])
        volume = float(np.median(value_array(exams["volume_reference_mm3"])))
        for metric, found in describe_metrics(exams, metrics).items():
            values = value_array(exams[metric])
            yield {
                "predictor": predictor,
                "structure": structure,
                "metric": metric,
                "n_patients": exams["patient_id"].nunique(),
                **asdict(found),
                "volume_median_mm3": volume,
                **_success_columns(metric, values[~np.isnan(values)], failed[~np.isnan(values)]),
                "is_small": found.n_used < MIN_EXAMS,
            }


def _success_columns(metric: str, values: Values, failed: NDArray[np.bool_]) -> dict[str, object]:
    """Returns the success rate of a metric that has a criterion; a group without values has none."""
    criterion = CRITERIA.get(metric)
    if criterion is None:
        return {
            "success_criterion": None,
            "n_success": None,
            "success_rate": None,
            "success_ci_low": None,
            "success_ci_high": None,
        }
    rate = Rate(criterion.count(values, failed=failed), len(values)) if values.size else None
    return {
        "success_criterion": criterion.text,
        "n_success": rate.count if rate else 0,
        "success_rate": rate.share if rate else None,
        "success_ci_low": rate.interval.low if rate else None,
        "success_ci_high": rate.interval.high if rate else None,
    }
