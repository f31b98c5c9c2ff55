"""Percentile bootstrap intervals of medians, equal to scipy's to the last bit, with the draws shared.

Add an interval here when it is made from the same draws of exams. Which numbers are compared, and other tests,
stand in ``comparison``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

N_RESAMPLES: Final = 9_999
"""Resamples of the published study."""

SEED: Final = 42
"""Seed of the published study."""

CONFIDENCE: Final = 0.95

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A two-sided 95 % interval."""

    low: float
    high: float


def paired_interval(differences: Values) -> Interval:
    """Returns the interval of the median difference: one draw of exams serves both predictors.

    Equal to ``scipy.stats.bootstrap((differences,), np.median, method='percentile', n_resamples=9999,
    random_state=42)``.

    Args:
        differences: One difference per exam, at least two, finite.
    """
    (drawn,) = _draws(len(differences))
    return _interval(np.median(differences[drawn], axis=1))


def unpaired_interval(first: Values, second: Values) -> Interval:
    """Returns the interval of the difference of medians, each predictor's exams drawn by itself, as published.

    Equal to ``scipy.stats.bootstrap((first, second), difference_of_medians, method='percentile', n_resamples=9999,
    vectorized=True, batch=None, random_state=42)``.

    Args:
        first: Values of one predictor, at least two, finite.
        second: Values of the other.
    """
    of_first, of_second = _draws(len(first), len(second))
    return _interval(np.median(first[of_first], axis=1) - np.median(second[of_second], axis=1))


@lru_cache(maxsize=8)
def _draws(*sizes: int) -> tuple[NDArray[np.int64], ...]:
    """Returns positions of the drawn exams, shape (resamples, size) per sample, one sample after the other.

    The draws depend on the sizes alone, and most comparisons have the same: they are the dearest part.
    """
    # the published interval comes from numpy's legacy generator; a new one draws other exams
    random = np.random.RandomState(SEED)
    return tuple(random.randint(0, size, (N_RESAMPLES, size)) for size in sizes)


def _interval(resampled: Values) -> Interval:
    """Returns the percentile interval of a resampled statistic."""
    tail = (1 - CONFIDENCE) / 2
    low, high = stats.quantile(resampled, np.array([tail, 1 - tail])).tolist()
    return Interval(low, high)
