"""Two columns of scores of the same exams compared: the paired protocol, and beside it the published study's.

Add a statistic here when every comparison of scores on the same exams should have it. Who is compared with whom
stands in the modules of each table; the tests themselves in ``rank_tests``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from cspine_assets.domain.evaluation.bootstrap import Interval, median_interval, unpaired_interval
from cspine_assets.domain.evaluation.multiplicity import holm, is_significant
from cspine_assets.domain.evaluation.rank_tests import (
    Sample,
    difference_of,
    mann_whitney_each,
    rank_biserial,
    wilcoxon_each,
)

Values = NDArray[np.float64]


class Protocol(StrEnum):
    """How two columns are compared."""

    PAIRED = "paired"
    PAPER = "paper"


@dataclass(frozen=True)
class Comparison:
    """Two columns a and b of one metric; what cannot be said is None.

    Attributes:
        n: Exams compared; the published protocol may have other numbers of a and b, and then counts the smaller.
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


@dataclass(frozen=True)
class Verdict:
    """A comparison as a table holds it.

    Attributes:
        protocol: By which protocol.
        comparison: What it found.
        p_value_holm: p-value after Holm's correction over the family; None by the published protocol.
        significant: Whether that, or by the published protocol the uncorrected one, is below 0.05.
    """

    protocol: Protocol
    comparison: Comparison
    p_value_holm: float | None
    significant: bool | None

    def as_columns(self) -> dict[str, object]:
        """Returns the columns of a table."""
        judged = {"p_value_holm": self.p_value_holm, "significant": self.significant}
        return {"protocol": self.protocol.value, **asdict(self.comparison), **judged}


def judge_paired(pairs: Sequence[Sample]) -> list[Verdict]:
    """Returns the paired comparison of each pair, all together one family of Holm's.

    Args:
        pairs: Values of a and b on the same exams in the same order.
    """
    compared = compare_paired_each(pairs)
    corrected = holm([found.p_value for found in compared])
    return [
        Verdict(Protocol.PAIRED, found, p_value, is_significant(p_value))
        for found, p_value in zip(compared, corrected, strict=True)
    ]


def judge_as_published(
    samples: Sequence[Sample], *, interval: Callable[[Values, Values], Interval] = unpaired_interval
) -> list[Verdict]:
    """Returns the published study's comparison of each pair, uncorrected as there.

    Args:
        samples: Values of a and b, taken for independent.
        interval: Bootstrap of the medians' difference; the published study's to the last bit, unless another is given.
    """
    return [
        Verdict(Protocol.PAPER, found, None, is_significant(found.p_value))
        for found in compare_as_published_each(samples, interval=interval)
    ]


def compare_paired_each(pairs: Sequence[Sample]) -> list[Comparison]:
    """Returns Wilcoxon's signed-rank test, the rank-biserial effect and the paired bootstrap of each pair.

    Fewer than two exams, or no difference in any, leave nothing to test: the test and its effect are None. Two
    infinite distances differ by 0; a difference that is infinite has the highest rank, and a median or interval that
    is not finite is None.

    Args:
        pairs: Values of a and b on the same exams in the same order.
    """
    differences = [difference_of(pair.first, pair.second) for pair in pairs]
    found = []
    for difference, test in zip(differences, wilcoxon_each(differences), strict=True):
        several = len(difference) > 1
        interval = median_interval(difference) if several else Interval()
        found.append(
            Comparison(
                n=len(difference),
                median_difference=_finite(_median(difference)) if several else None,
                ci_low=interval.low,
                ci_high=interval.high,
                statistic=test.statistic if test else None,
                p_value=test.p_value if test else None,
                effect_size=rank_biserial(difference) if test else None,
            )
        )
    return found


def compare_as_published_each(
    samples: Sequence[Sample], *, interval: Callable[[Values, Values], Interval] = unpaired_interval
) -> list[Comparison]:
    """Returns Mann-Whitney's U test and the unpaired bootstrap of the medians' difference of each pair.

    It treats scores of the same exams as two independent samples. Fewer than two exams, or one value throughout,
    leave nothing to test.

    Args:
        samples: Values of a and b, in the order that the bootstrap draws from.
        interval: Bootstrap of the medians' difference.
    """
    found = []
    for sample, test in zip(samples, mann_whitney_each(samples), strict=True):
        count = min(len(sample.first), len(sample.second))
        drawn = interval(sample.first, sample.second) if count > 1 else Interval()
        found.append(
            Comparison(
                n=count,
                median_difference=_finite(_median(sample.first) - _median(sample.second)) if count > 1 else None,
                ci_low=drawn.low,
                ci_high=drawn.high,
                statistic=test.statistic if test else None,
                p_value=test.p_value if test else None,
            )
        )
    return found


def _median(values: Values) -> float:
    """Returns the median; that of two opposite infinities is no number."""
    with np.errstate(invalid="ignore"):
        return float(np.median(values))


def _finite(value: float) -> float | None:
    """Returns a number, or None for one that a table cannot hold."""
    return value if isfinite(value) else None
