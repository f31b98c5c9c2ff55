"""Success rates: how many exams are segmented well enough, and how far two groups differ in that.

Add a criterion to the list below. All intervals come from Wilson's, which keeps its promise for few exams and for
rates near 0 and 1.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import sqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from cspine_assets.domain.evaluation.bootstrap import CONFIDENCE, Interval

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Criterion:
    """What counts as a success.

    Attributes:
        text: As a table shows it.
        holds: Compares values with the threshold.
        threshold: In the metric's unit.
    """

    text: str
    holds: Callable[[Values, float], NDArray[np.bool_]]
    threshold: float

    def count(self, values: Values, *, failed: NDArray[np.bool_]) -> int:
        """Returns how many values are successes; an infinite distance is none.

        Args:
            values: One per exam, none missing.
            failed: Whether the exam is missed or spurious. Such a one is no success whatever its value: with many
                empty slices ``dice_slice_mean`` passes for a prediction without a voxel.
        """
        return int((self.holds(values, self.threshold) & ~failed).sum())


CRITERIA: Final = {
    "dice_volumetric": Criterion(">= 0.85", operator.ge, 0.85),
    "dice_slice_mean": Criterion(">= 0.85", operator.ge, 0.85),
    "hd95_mm": Criterion("< 5 mm", operator.lt, 5.0),
}
"""By metric; the others have no threshold that the field agrees on."""


@dataclass(frozen=True)
class Rate:
    """Successes among exams.

    Attributes:
        count: Exams that are a success.
        total: Exams with a value, at least one.
    """

    count: int
    total: int

    @property
    def share(self) -> float:
        """Successes per exam."""
        return self.count / self.total

    @property
    def interval(self) -> Interval:
        """Wilson's score interval (1927) of the rate."""
        return _wilson(self.count, self.total)


@lru_cache(maxsize=4096)
def _wilson(count: int, total: int) -> Interval:
    """Returns Wilson's interval, kept: scipy tests the rate too, for a millisecond, and groups repeat their counts."""
    found = stats.binomtest(count, total).proportion_ci(CONFIDENCE, method="wilson")
    return Interval(float(found.low), float(found.high))


@dataclass(frozen=True)
class Contrast:
    """A number that compares two rates, with its interval; what is not finite is None."""

    value: float | None
    interval: Interval


def rate_difference(first: Rate, second: Rate) -> Contrast:
    """Returns first - second with the hybrid score interval (Newcombe, Stat Med 1998;17:873, method 10)."""
    one, other = _Limits.of(first), _Limits.of(second)
    difference = one.rate - other.rate
    return Contrast(
        difference,
        Interval(
            difference - sqrt((one.rate - one.low) ** 2 + (other.high - other.rate) ** 2),
            difference + sqrt((one.high - one.rate) ** 2 + (other.rate - other.low) ** 2),
        ),
    )


def rate_ratio(first: Rate, second: Rate) -> Contrast:
    """Returns first / second with the MOVER-R interval (Donner and Zou, Stat Methods Med Res 2012;21:347).

    No success in the second leaves no ratio and no upper end.
    """
    one, other = _Limits.of(first), _Limits.of(second)
    centre = one.rate * other.rate
    low = 0.0
    if first.count:
        inner = one.low * (2 * one.rate - one.low)
        outer = other.high * (2 * other.rate - other.high)
        # the published (centre - root) / outer, turned over: it has no gap where outer is 0
        low = inner / (centre + sqrt(max(centre**2 - inner * outer, 0.0)))
    if not second.count:
        return Contrast(None, Interval(low, None))
    inner = one.high * (2 * one.rate - one.high)
    outer = other.low * (2 * other.rate - other.low)
    return Contrast(one.rate / other.rate, Interval(low, (centre + sqrt(max(centre**2 - inner * outer, 0.0))) / outer))


@dataclass(frozen=True)
class _Limits:
    """A rate and the ends of its interval."""

    rate: float
    low: float
    high: float

    @classmethod
    def of(cls, rate: Rate) -> _Limits:
        ends = rate.interval
        return cls(rate.share, ends.low or 0.0, 1.0 if ends.high is None else ends.high)
