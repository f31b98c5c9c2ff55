"""Percentile bootstrap intervals of medians and means, equal to scipy's, with the draws shared.

Add an interval here when it is made from draws of exams. Which numbers are compared, and the tests, stand in the
modules of each comparison.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

N_RESAMPLES: Final = 9_999
"""Resamples of the published study."""

SEED: Final = 42
"""Seed of the published study."""

CONFIDENCE: Final = 0.95

_MOST_CELLS: Final = 4_000_000
"""Draws that are worked on at a time: of 10,000 exams all of them are a hundred million, and several GB."""

Values = NDArray[np.float64]
Draws = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Interval:
    """A two-sided 95 % interval; both ends are None where it has no finite value."""

    low: float | None = None
    high: float | None = None


def median_interval(values: Values) -> Interval:
    """Returns the interval of the median; given paired differences, one draw of exams serves both predictors.

    Equal to ``scipy.stats.bootstrap((numpy.sort(values),), numpy.median, method='percentile', n_resamples=9999,
    random_state=42)``. A draw takes positions; over sorted values they do not depend on the order of the exams, and
    the middle of a draw is known before the values are, so that all metrics of equally many exams share it.

    Args:
        values: One per exam, at least two.
    """
    return median_intervals(values[:, None])[0]


def median_intervals(columns: Values) -> list[Interval]:
    """Returns the interval of the median of every column; see ``median_interval``.

    Args:
        columns: Values of shape (exams, columns), at least two exams.
    """
    return _intervals(_resampled_medians(columns, stream=0))


def median_difference_interval(first: Values, second: Values) -> Interval:
    """Returns the interval of the difference of two medians over different exams: each group drawn by itself.

    Args:
        first: Values of one group, at least two.
        second: Values of the other.
    """
    # one stream for both would draw groups of one size alike
    with np.errstate(invalid="ignore"):  # the difference of two infinite medians has no interval, and is given none
        return _interval(_resampled_medians(first, stream=0) - _resampled_medians(second, stream=1))


def mean_intervals(columns: Values) -> list[Interval]:
    """Returns the interval of the mean of every column, from the draws that ``median_interval`` takes.

    Args:
        columns: Values of shape (exams, columns), at least two exams.
    """
    ordered, counts = np.sort(columns, axis=0), _draw_counts(len(columns))
    sums = [block.astype(np.float64) @ ordered for block in _in_blocks(counts)]
    return _intervals(np.concatenate(sums) / len(columns))


def unpaired_interval(first: Values, second: Values) -> Interval:
    """Returns the interval of the difference of medians, each predictor's exams drawn by itself, as published.

    Equal to the last bit to ``scipy.stats.bootstrap((first, second), difference_of_medians, method='percentile',
    n_resamples=9999, vectorized=True, batch=None, random_state=42)``, and like it a matter of the order of exams.

    Args:
        first: Values of one predictor, at least two.
        second: Values of the other.
    """
    of_first, of_second = _draws(len(first), len(second))
    with np.errstate(invalid="ignore"):
        return _interval(_medians_of_draws(first, of_first) - _medians_of_draws(second, of_second))


def _medians_of_draws(values: Values, drawn: Draws) -> Values:
    """Returns the median of each draw. Ranks are sorted instead of values: as integers they take an eighth of it."""
    order = np.argsort(values, kind="stable")
    rank = np.empty(len(values), np.int32)
    rank[order] = np.arange(len(values))
    middle = _middle_of(rank[block] for block in _in_blocks(drawn))
    return _between(values[order], middle)


def _resampled_medians(values: Values, *, stream: int) -> Values:
    """Returns the median of each draw from the sorted values, column by column."""
    return _between(np.sort(values, axis=0), _middle_positions(len(values), stream))


@dataclass(frozen=True)
class _Middle:
    """Positions of the two middle values of each draw among the sorted values; one position twice for an odd count."""

    low: NDArray[np.int32]
    high: NDArray[np.int32]


@lru_cache(maxsize=512)
def _middle_positions(size: int, stream: int) -> _Middle:
    """Returns where the median of each draw lies: it depends on the number of exams alone."""
    return _middle_of(_drawn_blocks(np.random.RandomState(SEED + stream), size))


def _middle_of(blocks: Iterable[NDArray[np.int32]]) -> _Middle:
    """Returns the two middle ranks of each row; the blocks are sorted in their place."""
    low, high = [], []
    for ranks in blocks:
        ranks.sort(axis=1)
        size = ranks.shape[1]
        low.append(ranks[:, (size - 1) // 2].copy())
        high.append(ranks[:, size // 2].copy())
    return _Middle(np.concatenate(low), np.concatenate(high))


def _between(ordered: Values, middle: _Middle) -> Values:
    """Returns the mean of the two middle values, as ``numpy.median`` does."""
    with np.errstate(invalid="ignore"):
        median: Values = (ordered[middle.low] + ordered[middle.high]) / 2
    return median


@lru_cache(maxsize=1)
def _draw_counts(size: int) -> Draws:
    """Returns how often each position is drawn, shape (resamples, size), in the smallest type that holds it.

    A mean over a draw is a product with it. One size is kept: it takes 4 MB for 391 exams and 100 for 10,000, and
    groups come one after the other with all their metrics.
    """
    counted = []
    for drawn in _drawn_blocks(np.random.RandomState(SEED), size):
        cells = drawn + np.arange(len(drawn))[:, None] * size
        counts = np.bincount(cells.ravel(), minlength=drawn.size).reshape(drawn.shape)
        counted.append(counts.astype(np.min_scalar_type(counts.max())))
    return np.concatenate(counted)


@lru_cache(maxsize=2)
def _draws(*sizes: int) -> tuple[Draws, ...]:
    """Returns positions of the drawn exams, shape (resamples, size) per sample, one sample after the other.

    The draws depend on the sizes alone, and most comparisons have the same: they are the dearest part.
    """
    # the published interval comes from numpy's legacy generator; a new one draws other exams
    random = np.random.RandomState(SEED)
    smallest = [np.min_scalar_type(size) for size in sizes]
    return tuple(
        np.concatenate([block.astype(kind) for block in _drawn_blocks(random, size)])
        for size, kind in zip(sizes, smallest, strict=True)
    )


def _drawn_blocks(random: np.random.RandomState, size: int) -> Iterator[NDArray[np.int32]]:
    """Yields positions of the drawn exams, some resamples at a time: the very ones that one large draw would give."""
    rows = _rows_at_a_time(size)
    for start in range(0, N_RESAMPLES, rows):
        yield random.randint(0, size, (min(rows, N_RESAMPLES - start), size)).astype(np.int32)


def _in_blocks(draws: Draws) -> Iterator[Draws]:
    rows = _rows_at_a_time(draws.shape[1])
    return (draws[start : start + rows] for start in range(0, N_RESAMPLES, rows))


def _rows_at_a_time(size: int) -> int:
    return max(1, _MOST_CELLS // size)


def _interval(resampled: Values) -> Interval:
    """Returns the percentile interval of a resampled statistic."""
    return _intervals(resampled[:, None])[0]


def _intervals(resampled: Values) -> list[Interval]:
    """Returns the percentile interval of each column of resampled statistics; none where one of them is not finite."""
    tail = (1 - CONFIDENCE) / 2
    finite = np.isfinite(resampled).all(axis=0)
    ends = stats.quantile(np.where(finite, resampled, 0.0), np.array([[tail], [1 - tail]]), axis=0)
    return [
        Interval(float(low), float(high)) if is_finite else Interval()
        for low, high, is_finite in zip(*ends, np.asarray(finite), strict=True)
    ]
