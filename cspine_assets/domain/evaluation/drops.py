"""Whether the newest evaluation is worse than the one before it, by more than chance.

Change it when a drop should be told otherwise. What an evaluation is stands in ``history``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd

from cspine_assets.domain.evaluation.score_file import DISTANCES
from cspine_assets.domain.evaluation.sets import COMPARED_METRICS
from cspine_assets.domain.tables.base import rows_of

_SAME: Final = ["predictor", "set_name", "structure", "metric", "profile", "exams_sha256"]


@dataclass(frozen=True)
class Drop:
    """A predictor that does worse than before on the same exams.

    Attributes:
        predictor: Who.
        set_name: Where.
        structure: Structure, or macro.
        metric: By what.
        before: Mean of the last evaluation but one.
        now: Mean of the newest.
        noise: How far the mean before could have lain on the worse side, by its 95 % bootstrap interval.
        large: Whether the change is also above the share that was called too much.
    """

    predictor: str
    set_name: str
    structure: str
    metric: str
    before: float
    now: float
    noise: float
    large: bool


def find_drops(history: pd.DataFrame, *, too_much: float) -> list[Drop]:
    """Returns what has become worse by more than its bootstrap noise, the newest rows against the ones before.

    Only values on the very same exams are held against each other. The measure is the interval of the older mean, over
    exams; scores of one exam by two models go along, so it is usually wider than the noise of their difference.

    Args:
        history: Rows of ``evaluation.history``.
        too_much: Share of the former value; a drop above it is large.
    """
    comparable = history[history["metric"].isin(COMPARED_METRICS)].dropna(subset=["mean", "ci_low", "ci_high"])
    in_order = comparable.sort_values("evaluated_at", kind="stable")
    return [drop for _, rows in in_order.groupby(_SAME, sort=True) for drop in _drop(rows, too_much)]


def _drop(rows: pd.DataFrame, too_much: float) -> Iterator[Drop]:
    """Yields the drop of one predictor, set, structure and metric, if there is one."""
    if len(rows) < 2:
        return
    before, now = _last_two(rows)
    far_is_worse = now.metric in DISTANCES
    worse = now.mean - before.mean if far_is_worse else before.mean - now.mean
    noise = before.ci_high - before.mean if far_is_worse else before.mean - before.ci_low
    if not worse > noise:
        return
    yield Drop(
        predictor=now.predictor,
        set_name=now.set_name,
        structure=now.structure,
        metric=now.metric,
        before=float(before.mean),
        now=float(now.mean),
        noise=float(noise),
        large=bool(worse > too_much * abs(before.mean)),
    )


def _last_two(rows: pd.DataFrame) -> list[Any]:
    """Returns the last row but one, and the last."""
    return list(rows_of(rows.tail(2)))
