"""What an evaluation found, beside what it found it with, so that today's number can be held against the last one.

Add a fingerprint here when something more can move a number. Where the rows are kept is the lake's matter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import pandas as pd

from cspine_assets.domain.evaluation.distribution import describe_metrics
from cspine_assets.domain.evaluation.sets import (
    SUMMARY_METRICS,
    by_structure,
    typed,
    with_set_name,
    with_worst_case,
)
from cspine_assets.domain.files import fingerprint_text
from cspine_assets.domain.tables.base import empty_frame, rows_of
from cspine_assets.domain.tables.benchmark import History

_KEY: Final = ("predictor", "set_name", "structure", "metric", "profile")
_FINGERPRINTS: Final = {
    "model": "model_sha256",
    "exams": "exams_sha256",
    "data": "data_sha256",
    "split": "split_sha256",
    "code": "code_version",
}
_REASONS: Final = ("first", *_FINGERPRINTS, "values", "forced")
_VALUES: Final = ("n", "n_used", "n_missed", "mean", "median")
_SET: Final = ("predictor", "set_name", "profile", "split_sha256")


@dataclass(frozen=True)
class Evaluation:
    """One evaluation.

    Attributes:
        evaluation_id: Its id.
        evaluated_at: When it came to its end, ISO 8601 in UTC.
        duration_s: How long it took, in seconds.
        code_version: Version of the metrics' code.
        software: Versions of what computed it, as JSON.
    """

    evaluation_id: str
    evaluated_at: str
    duration_s: float
    code_version: str
    software: str


@dataclass(frozen=True)
class Ingredients:
    """What the numbers were made from.

    Attributes:
        model_sha256: Fingerprint of each predictor's models.
        data_sha256: Fingerprint of each exam's scan and reference mask.
    """

    model_sha256: Mapping[str, str]
    data_sha256: Mapping[str, str]


def history_rows(
    metrics: pd.DataFrame,
    made_from: Ingredients,
    evaluation: Evaluation,
    *,
    earlier: pd.DataFrame,
    forced: bool,
) -> pd.DataFrame:
    """Returns the rows that an evaluation adds to ``evaluation.history``; none where nothing has changed.

    Args:
        metrics: Rows of ``evaluation.exam_metrics`` and ``evaluation.external_metrics``.
        made_from: Fingerprints of models and data.
        evaluation: The evaluation.
        earlier: The history so far.
        forced: Whether rows are added also where nothing has changed.
    """
    if metrics.empty:
        return empty_frame(History)
    rows = [
        {**dict(zip(_SET, key, strict=True)), **row, **_fingerprints(exams, made_from), **asdict(evaluation)}
        for key, exams in with_worst_case(with_set_name(metrics)).groupby(list(_SET), sort=True)
        for row in _summaries(exams)
    ]
    reasons = _reasons(pd.DataFrame(rows), earlier, forced=forced)
    return typed(History, [{**row, "reason": why} for row, why in zip(rows, reasons, strict=True) if why])


def _summaries(exams: pd.DataFrame) -> Iterator[dict[str, object]]:
    """Yields what each structure and metric of one predictor and set came to."""
    for structure, rows in by_structure(exams, SUMMARY_METRICS):
        for metric, found in describe_metrics(rows, SUMMARY_METRICS).items():
            yield {
                "structure": structure,
                "metric": metric,
                "n": found.n,
                "n_used": found.n_used,
                "n_missed": found.n_missed,
                "mean": found.mean,
                "median": found.median,
                "ci_low": found.mean_ci_low,
                "ci_high": found.mean_ci_high,
            }


def _fingerprints(exams: pd.DataFrame, made_from: Ingredients) -> dict[str, str]:
    """Returns the fingerprints of one predictor's models and of the exams it was scored on."""
    names = sorted(exams["exam_id"].unique())
    return {
        "model_sha256": made_from.model_sha256[str(exams["predictor"].iloc[0])],
        "exams_sha256": fingerprint_text(*names),
        "data_sha256": fingerprint_text(*(made_from.data_sha256[name] for name in names)),
    }


def _reasons(frame: pd.DataFrame, earlier: pd.DataFrame, *, forced: bool) -> list[str]:
    """Returns per row why it is added; an empty text where it is not.

    A predictor's rows of a set come together: one value that changed brings its others along.
    """
    last = {_of(row, _KEY): row for row in rows_of(earlier.sort_values("evaluated_at", kind="stable"))}
    found: dict[tuple[str, ...], set[str]] = {}
    for row in rows_of(frame):
        changes = _changes(row, last.get(_of(row, _KEY)))
        found.setdefault(_of(row, _SET), {"forced"} if forced else set()).update(changes)
    return [",".join(reason for reason in _REASONS if reason in found[_of(row, _SET)]) for row in rows_of(frame)]


def _of(row: object, names: tuple[str, ...]) -> tuple[str, ...]:
    """Returns some values of a row."""
    return tuple(str(getattr(row, name)) for name in names)


def _changes(row: object, last: object | None) -> set[str]:
    """Returns what differs between a row and the last one of the same key."""
    if last is None:
        return {"first"}
    found = {name for name, column in _FINGERPRINTS.items() if getattr(row, column) != getattr(last, column)}
    same = all(_equal(getattr(row, name), getattr(last, name)) for name in _VALUES)
    return found if same else found | {"values"}


def _equal(one: Any, other: Any) -> bool:  # noqa: ANN401 - cells of any column
    """Whether two values are the same, two missing ones included."""
    return bool(pd.isna(one) and pd.isna(other)) if pd.isna(one) or pd.isna(other) else bool(one == other)
