"""How much predictors differ on the same exams: the paired tests, and beside them the published study's.

Add a test here when it compares two predictors. Groups of patients and levels of the spine are compared elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from cspine_assets.domain.evaluation.bootstrap import paired_interval, unpaired_interval
from cspine_assets.domain.evaluation.sets import SUMMARY_METRICS, with_set_name
from cspine_assets.domain.tables.base import empty_frame, validate
from cspine_assets.domain.tables.evaluation import ModelComparison

ALPHA: Final = 0.05

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Comparison:
    """Two predictors on one metric; what cannot be said is None.

    Attributes:
        n: Exams that both predictors have a value for.
        median_difference: Paired: median of a - b over exams. Published: median of a - median of b.
        ci_low: Lower end of its 95 % bootstrap interval.
        ci_high: Upper end.
        statistic: Wilcoxon's W, or Mann-Whitney's U of a.
        p_value: Two-sided, uncorrected.
        effect_size: Matched-pairs rank-biserial correlation, above 0 where a is higher; None where not paired.
    """

    n: int
    median_difference: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    statistic: float | None = None
    p_value: float | None = None
    effect_size: float | None = None


def model_comparison(exam_metrics: pd.DataFrame, *, metrics: Sequence[str] = SUMMARY_METRICS) -> pd.DataFrame:
    """Returns ``evaluation.model_comparison``: all pairs of predictors by both protocols.

    Holm's correction takes as one family all pairs and structures of one set and metric.

    Args:
        exam_metrics: Rows of ``evaluation.exam_metrics``.
        metrics: Columns to compare.
    """
    families = [
        _compare_family(identity, exams, metric) for identity, exams in _by_set(exam_metrics) for metric in metrics
    ]
    rows = [row for family in families for row in family]
    if not rows:
        return empty_frame(ModelComparison)
    return validate(ModelComparison, pd.DataFrame(rows).astype(empty_frame(ModelComparison).dtypes.to_dict()))


def compare_paired(first: Values, second: Values) -> Comparison:
    """Returns the paired comparison: Wilcoxon signed-rank, rank-biserial effect, paired bootstrap.

    Fewer than two exams, or no difference in any, leave nothing to test: the test and its effect are None.

    Args:
        first: Values of predictor a, one per exam, finite.
        second: Values of predictor b on the same exams in the same order.
    """
    differences = first - second
    if len(differences) < 2:
        return Comparison(len(differences))
    interval = paired_interval(differences)
    median = float(np.median(differences))
    if not differences.any():
        return Comparison(len(differences), median, interval.low, interval.high)
    test = stats.wilcoxon(first, second)
    return Comparison(
        n=len(differences),
        median_difference=median,
        ci_low=interval.low,
        ci_high=interval.high,
        statistic=float(test.statistic),
        p_value=float(test.pvalue),
        effect_size=rank_biserial(differences),
    )


def compare_as_published(first: Values, second: Values) -> Comparison:
    """Returns the published study's comparison: Mann-Whitney U, and the unpaired bootstrap of medians' difference.

    It treats scores of the same exams as two independent samples. Fewer than two exams, or one value throughout,
    leave nothing to test.

    Args:
        first: Values of predictor a, finite.
        second: Values of predictor b, finite.
    """
    if len(first) < 2:
        return Comparison(len(first))
    interval = unpaired_interval(first, second)
    median = float(np.median(first) - np.median(second))
    if np.ptp(np.concatenate([first, second])) == 0:
        return Comparison(len(first), median, interval.low, interval.high)
    test = stats.mannwhitneyu(first, second)
    return Comparison(
        n=len(first),
        median_difference=median,
        ci_low=interval.low,
        ci_high=interval.high,
        statistic=float(test.statistic),
        p_value=float(test.pvalue),
    )


def rank_biserial(differences: Values) -> float:
    """Returns the matched-pairs rank-biserial correlation (Kerby 2014): share of ranks above 0 minus share below.

    Args:
        differences: One per exam, at least one of them not zero; zeros are left out, as in Wilcoxon's test.
    """
    changed = differences[differences != 0]
    ranks = stats.rankdata(np.abs(changed))
    return float((ranks[changed > 0].sum() - ranks[changed < 0].sum()) / ranks.sum())


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Returns p-values after Holm's step-down correction (1979); a missing one is no member of the family."""
    present = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    running = 0.0
    for rank, (p, place) in enumerate(present):
        running = max(running, min(1.0, (len(present) - rank) * p))
        corrected[place] = running
    return corrected


def _by_set(exam_metrics: pd.DataFrame) -> Iterator[tuple[dict[str, object], pd.DataFrame]]:
    """Yields the exams that may stand in one number, with the columns that name them."""
    columns = ["set_name", "profile", "split_sha256"]
    for key, exams in with_set_name(exam_metrics).groupby(columns, sort=True):
        yield dict(zip(columns, key, strict=True)), exams


def _compare_family(identity: dict[str, object], exams: pd.DataFrame, metric: str) -> list[dict[str, object]]:
    """Returns the rows of all pairs and structures for one set and metric, the paired ones corrected together."""
    paired: list[dict[str, object]] = []
    published: list[dict[str, object]] = []
    for structure, rows in exams.groupby("structure", sort=True):
        by_predictor = {str(name): own.set_index("exam_id")[metric] for name, own in rows.groupby("predictor")}
        # sorted: a bootstrap draws positions, so the order of exams is part of its result
        scores = pd.concat(by_predictor, axis=1).sort_index()
        for a, b in combinations(sorted(scores.columns), 2):
            common = scores[[a, b]].dropna()
            first, second = (common[name].to_numpy(dtype=np.float64) for name in (a, b))
            subject = {**identity, "predictor_a": a, "predictor_b": b, "structure": structure, "metric": metric}
            paired.append({**subject, "protocol": "paired", **asdict(compare_paired(first, second))})
            published.append({**subject, "protocol": "paper", **asdict(compare_as_published(first, second))})
    corrected = holm([_number(row["p_value"]) for row in paired])
    for row, p in zip(paired, corrected, strict=True):
        row.update(p_value_holm=p, significant=None if p is None else p < ALPHA)
    for row in published:
        p = _number(row["p_value"])
        row.update(p_value_holm=None, significant=None if p is None else p < ALPHA)
    return paired + published


def _number(value: object) -> float | None:
    """Returns a number or None as such: rows hold values of every column."""
    return value if isinstance(value, float) else None
