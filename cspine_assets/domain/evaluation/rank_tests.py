"""Rank tests of many comparisons at once, their effect sizes, and the rank test that sets volume aside.

Add a test here when it looks at ranks and knows nothing of predictors, levels or groups. What is compared with what
stands in the modules of each comparison.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Values = NDArray[np.float64]

_WILCOXON_EXACT: Final = 50
_MANN_WHITNEY_EXACT: Final = 8
"""Up to here scipy may take the exact distribution, and decides for all rows of one call alike: such go alone."""

_ALL_SIGNS: Final = 13
"""Up to here scipy takes every combination of signs of differences with ties or zeros."""


@dataclass(frozen=True)
class RankTest:
    """A test statistic and its two-sided p-value."""

    statistic: float
    p_value: float


@dataclass(frozen=True)
class Sample:
    """Two independent samples."""

    first: Values
    second: Values


def difference_of(first: Values, second: Values) -> Values:
    """Returns first - second; two equal values differ by 0, also where both are infinite."""
    with np.errstate(invalid="ignore"):
        difference: Values = np.where(first == second, 0.0, first - second)
    return difference


def wilcoxon_each(differences: Sequence[Values]) -> list[RankTest | None]:
    """Returns Wilcoxon's signed-rank test of each set of paired differences, as ``scipy.stats.wilcoxon`` gives it.

    Long ones of one length are tested in one call; short ones with ties are tested here, because scipy calls a Python
    function for each combination of signs, half a second for twelve exams. None where fewer than two exams, or no
    difference, leave nothing to test.

    Args:
        differences: One difference per exam; infinite ones have the highest rank.
    """
    found: list[RankTest | None] = [
        _wilcoxon_of_all_signs(difference) if _needs_all_signs(difference) else None for difference in differences
    ]
    left = [(0 if test else len(difference),) for difference, test in zip(differences, found, strict=True)]
    for call in _calls(left, exact_up_to=_WILCOXON_EXACT):
        rows = np.array([differences[place] for place in call])
        testable = np.flatnonzero(rows.any(axis=1))
        if len(testable):
            tested = stats.wilcoxon(rows[testable], axis=1)
            _enter(found, [call[row] for row in testable], tested.statistic, tested.pvalue)
    return found


def _needs_all_signs(difference: Values) -> bool:
    """Whether scipy would take every combination of signs: of few differences, some equal in size or zero."""
    if not 1 < len(difference) <= _ALL_SIGNS or not difference.any() or np.isnan(difference).any():
        return False
    sizes = np.abs(difference)
    return bool((sizes == 0).any() or len(np.unique(sizes)) < len(sizes)) and _scipy_takes_all_signs()


@cache
def _scipy_takes_all_signs() -> bool:
    """Whether the installed scipy does so; earlier ones took other distributions, which differ for these values."""
    tied = np.array([-1.0, 1.0, 1.0, 2.0])
    return bool(stats.wilcoxon(tied).pvalue == _wilcoxon_of_all_signs(tied).p_value)


def _wilcoxon_of_all_signs(difference: Values) -> RankTest:
    """Returns Wilcoxon's test from the sums of ranks of every combination of signs; zeros are left out."""
    changed = difference[difference != 0]
    ranks = stats.rankdata(np.abs(changed))
    above, below = (float(ranks[side].sum()) for side in (changed > 0, changed < 0))
    sums = np.zeros(1)
    for rank in ranks:
        sums = np.concatenate([sums, sums + rank])  # multiples of a half: exact in any order
    share = min(float(np.mean(sums <= above)), float(np.mean(sums >= above)))
    return RankTest(min(above, below), min(1.0, 2 * share))


def mann_whitney_each(samples: Sequence[Sample]) -> list[RankTest | None]:
    """Returns the Mann-Whitney U test of each pair of samples, as ``scipy.stats.mannwhitneyu`` gives it.

    Long ones of the same two lengths are tested in one call; None where a sample has fewer than two values, or all
    values are one.
    """
    found: list[RankTest | None] = [None] * len(samples)
    for call in _calls(
        [(len(sample.first), len(sample.second)) for sample in samples], exact_up_to=_MANN_WHITNEY_EXACT
    ):
        first, second = (np.array([getattr(samples[place], name) for place in call]) for name in ("first", "second"))
        testable = np.flatnonzero(((first != first[:, :1]).any(axis=1)) | (second != first[:, :1]).any(axis=1))
        if len(testable):
            tested = stats.mannwhitneyu(first[testable], second[testable], axis=1)
            _enter(found, [call[row] for row in testable], tested.statistic, tested.pvalue)
    return found


def kruskal_wallis(samples: Sequence[Values]) -> RankTest | None:
    """Returns the Kruskal-Wallis test of several samples; None where all values are one."""
    together = np.concatenate(samples)
    if (together == together[0]).all():
        return None
    tested = stats.kruskal(*samples)
    return RankTest(float(tested.statistic), float(tested.pvalue))


def rank_biserial(differences: Values) -> float:
    """Returns the matched-pairs rank-biserial correlation (Kerby 2014): share of ranks above 0 minus share below.

    Args:
        differences: One per exam, at least one of them not zero; zeros are left out, as in Wilcoxon's test.
    """
    changed = differences[differences != 0]
    ranks = stats.rankdata(np.abs(changed))
    return float((ranks[changed > 0].sum() - ranks[changed < 0].sum()) / ranks.sum())


def cliffs_delta(first: Values, second: Values) -> float:
    """Returns Cliff's delta (1993), P(first > second) - P(first < second): the rank-biserial of independent samples."""
    ranks = stats.rankdata(np.concatenate([first, second]))
    size = len(first)
    u_first = ranks[:size].sum() - size * (size + 1) / 2
    return float(2 * u_first / (size * len(second)) - 1)


def epsilon_squared(statistic: float, count: int) -> float:
    """Returns the effect size of a Kruskal-Wallis test, H / (n - 1) (Tomczak and Tomczak 2014): 0 none, 1 all."""
    return statistic / (count - 1)


@dataclass(frozen=True)
class AdjustedTest:
    """Groups compared with a covariate set aside.

    Attributes:
        statistic: F of the groups, given the covariate.
        p_value: Its p-value.
        effect_size: Two groups: Cliff's delta at equal covariates. More: partial eta squared of the groups.
    """

    statistic: float
    p_value: float
    effect_size: float


def rank_ancova(values: Sequence[Values], covariates: Sequence[Values]) -> AdjustedTest | None:
    """Returns the rank analysis of covariance (Conover and Iman, Biometrics 1982;38:715): groups at equal covariates.

    Values and covariates are ranked over all groups; F compares the least-squares fit on the covariate's rank alone
    with that on the covariate's rank and the group. Quade's rank test (1967) takes the covariate to be distributed
    alike in all groups, which the volumes of women and men are not.

    Of two groups the effect is 2 b / n, b being the first group's mean rank above the second's at equal covariates:
    Cliff's delta where the covariate explains nothing. It can exceed 1 where the groups' covariates hardly overlap.

    Args:
        values: Values of each group, finite or infinite.
        covariates: Covariate of each value.

    Returns:
        None where all values are one, or fewer exams than coefficients are left.
    """
    sizes = [len(group) for group in values]
    count, groups = sum(sizes), len(sizes)
    response, covariate = (stats.rankdata(np.concatenate(parts)) for parts in (values, covariates))
    if count <= groups + 1 or np.ptp(response) == 0:
        return None
    member = np.repeat(np.eye(groups), sizes, axis=0)
    common = np.column_stack([np.ones(count), covariate])
    full = np.column_stack([member, covariate])
    coefficients = np.linalg.lstsq(full, response, rcond=None)[0]
    within, without = _rest(full, response), _rest(common, response)
    freedom = count - np.linalg.matrix_rank(full)
    if within <= 1e-9 * without or without == 0:
        return None
    statistic = (without - within) / (groups - 1) / (within / freedom)
    pair = 2 * (coefficients[0] - coefficients[1]) / count
    return AdjustedTest(
        statistic=float(statistic),
        p_value=float(stats.f.sf(statistic, groups - 1, freedom)),
        effect_size=float(pair if groups == 2 else (without - within) / without),
    )


def _rest(design: Values, response: Values) -> float:
    """Returns the sum of squares that a least-squares fit leaves."""
    fitted = design @ np.linalg.lstsq(design, response, rcond=None)[0]
    return float(np.sum((response - fitted) ** 2))


def _calls(sizes: Sequence[tuple[int, ...]], *, exact_up_to: int) -> list[list[int]]:
    """Returns the places that can be tested in one call, call by call; those with fewer than two values in none."""
    calls: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
    for place, size in enumerate(sizes):
        if min(size) > 1:
            alone = () if min(size) > exact_up_to else (place,)
            calls[(*size, *alone)].append(place)
    return list(calls.values())


def _enter(found: list[RankTest | None], places: Sequence[int], statistics: object, p_values: object) -> None:
    """Puts the outcomes of one call where they belong."""
    outcomes = zip(places, np.asarray(statistics).tolist(), np.asarray(p_values).tolist(), strict=True)
    for place, statistic, p_value in outcomes:
        found[place] = RankTest(statistic, p_value)
