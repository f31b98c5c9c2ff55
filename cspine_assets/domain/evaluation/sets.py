"""Which exams may stand in one number: the name of a set carries who drew its reference masks.

Add here what every statistic over exams has in common. The statistics themselves stand in their own modules.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cspine_assets.domain.anatomy import Structure
from cspine_assets.domain.evaluation.overlap import Status
from cspine_assets.domain.evaluation.score_file import DISTANCES
from cspine_assets.domain.tables.base import Table, empty_frame, typed_frame, validate

COMPARED_METRICS: Final = (
    "dice_volumetric",
    "dice_slice_mean",
    "iou",
    "hd95_mm",
    "assd_mm",
    "nsd_1mm",
    "nsd_2mm",
)
"""Columns of ``evaluation.exam_metrics`` in which one prediction can be better than another."""

SUMMARY_METRICS: Final = (*COMPARED_METRICS, "volume_difference_relative")
"""Columns that are summed up: also the one that has a best value in the middle."""

MACRO: Final = "macro"
"""Structure of a row over both structures."""


def set_name(side: str, annotation_provenance: str) -> str:
    """Returns the name under which a score is kept: the plain one only where experts drew the reference.

    Args:
        side: ``cv`` or ``test``.
        annotation_provenance: ``expert``, ``model`` or ``unknown``.
    """
    return side if annotation_provenance == "expert" else f"{side}_{annotation_provenance}"


def sides(sets: pd.Series[str]) -> pd.Series[str]:
    """Returns ``cv`` or ``test`` for each name of a set, whoever drew its reference masks."""
    return sets.str.partition("_")[0] if len(sets) else sets


def mixed_set_name(side: str) -> str:
    """Returns the name of a set whose reference masks are by experts and by others: for comparing the two alone."""
    return f"{side}_mixed"


def with_set_name(exam_metrics: pd.DataFrame) -> pd.DataFrame:
    """Returns the rows with their set in the column ``set_name``, as summaries call it."""
    return exam_metrics.assign(set_name=exam_metrics["set"])


def with_worst_case(exam_metrics: pd.DataFrame) -> pd.DataFrame:
    """Returns the rows with the diagonal of the exam's volume in place of an infinite distance.

    Every statistic takes a missed or spurious structure at this worst case: no two voxels lie further apart, so the
    exam ranks last, weighs in a mean, and two predictors that both miss differ by 0. Leaving it out would let a model
    win by missing.

    Args:
        exam_metrics: Rows of ``evaluation.exam_metrics``.
    """
    diagonals = exam_metrics["diagonal_mm"]
    distances = {name: exam_metrics[name] for name in DISTANCES}
    return exam_metrics.assign(
        **{name: values.where(~np.isinf(values).fillna(False), diagonals) for name, values in distances.items()}
    )


def by_structure(exams: pd.DataFrame, metrics: Sequence[str]) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yields the exams of each structure, then the exams' means over both as structure ``macro``.

    Args:
        exams: Rows of ``evaluation.exam_metrics`` of one predictor.
        metrics: Columns that are averaged.
    """
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


def value_array(values: pd.Series[float]) -> NDArray[np.float64]:
    """Returns a column's values, NaN where one is missing."""
    return np.asarray(values.to_numpy(dtype=np.float64, na_value=np.nan), dtype=np.float64)


def failed_array(statuses: pd.Series[str]) -> NDArray[np.bool_]:
    """Returns whether each exam is missed or spurious: one of its masks is empty, and the other is not."""
    return statuses.isin([Status.MISSED, Status.SPURIOUS]).to_numpy(dtype=np.bool_)


def typed(table: type[Table], rows: Sequence[Mapping[str, object]]) -> pd.DataFrame:
    """Returns rows as a validated table; what a row does not say is missing, typed as described."""
    return validate(table, typed_frame(table, rows)) if rows else empty_frame(table)
