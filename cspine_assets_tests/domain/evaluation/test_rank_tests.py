"""Rank tests, effect sizes and corrections against scipy, and against what their definitions say."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from cspine_assets.domain.evaluation.multiplicity import benjamini_hochberg, holm, is_significant
from cspine_assets.domain.evaluation.rank_tests import (
    RankTest,
    Sample,
    cliffs_delta,
    difference_of,
    epsilon_squared,
    kruskal_wallis,
    mann_whitney_each,
    rank_ancova,
    rank_biserial,
    wilcoxon_each,
)

TIED_SCORES = st.integers(0, 20).map(lambda step: step / 20)
LENGTHS = st.lists(st.sampled_from([2, 5, 8, 9, 30, 51, 60]), min_size=1, max_size=6)


def tied_columns(seed, lengths):
    rng = np.random.default_rng(seed)
    return [np.round(rng.beta(9, 1, length), 2) for length in lengths]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), LENGTHS)
def test_many_wilcoxon_tests_give_what_scipy_gives_one_by_one(seed, lengths):
    differences = [np.round(column - 0.9, 2) for column in tied_columns(seed, lengths)]
    for difference, found in zip(differences, wilcoxon_each(differences), strict=True):
        if not difference.any():
            assert found is None
            continue
        oracle = stats.wilcoxon(difference)
        assert (found.statistic, found.p_value) == (oracle.statistic, oracle.pvalue)


@pytest.mark.parametrize(
    "difference",
    [
        np.array([0.0, 0.1, -0.1, 0.2, 0.2, 0.3, -0.4, 0.0, 0.5, 0.6]),
        np.array([0.1, 0.1, -0.2, np.inf, -np.inf, 0.3, 0.4, 0.5, 0.5, -0.6, 0.7, 0.8, 0.9]),
        np.array([0.0, 0.3]),
        np.array([-0.2, -0.2, -0.2, -0.1, 0.0]),
    ],
)
def test_few_differences_with_ties_zeros_and_infinities_are_tested_as_scipy_tests_them(difference):
    oracle = stats.wilcoxon(difference)
    assert wilcoxon_each([difference]) == [RankTest(oracle.statistic, oracle.pvalue)]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), LENGTHS, LENGTHS)
def test_many_mann_whitney_tests_give_what_scipy_gives_one_by_one(seed, firsts, seconds):
    pairs = [
        Sample(first, second)
        for first, second in zip(tied_columns(seed, firsts), tied_columns(seed + 1, seconds), strict=False)
    ]
    for pair, found in zip(pairs, mann_whitney_each(pairs), strict=True):
        if np.unique(np.concatenate([pair.first, pair.second])).size == 1:
            assert found is None
            continue
        oracle = stats.mannwhitneyu(pair.first, pair.second)
        assert (found.statistic, found.p_value) == (oracle.statistic, oracle.pvalue)


def test_nothing_to_test_is_none_and_does_not_warn():
    same = np.full(60, 0.9)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert wilcoxon_each([np.zeros(60), np.array([0.1]), np.array([])]) == [None, None, None]
        assert mann_whitney_each([Sample(same, same), Sample(same[:1], same)]) == [None, None]
        assert kruskal_wallis([same, same]) is None


def test_two_missed_structures_do_not_differ_and_a_missed_one_ranks_last():
    infinite = float("inf")
    first, second = np.array([1.0, infinite, infinite, 2.0]), np.array([2.0, infinite, 3.0, infinite])
    difference = difference_of(first, second)
    assert difference.tolist() == [-1.0, 0.0, infinite, -infinite]
    # ranks of what is left: 1, and 2.5 for each of the two infinities
    assert rank_biserial(difference) == pytest.approx((2.5 - 1 - 2.5) / 6)


@settings(max_examples=50, deadline=None)
@given(arrays(float, st.integers(1, 12), elements=TIED_SCORES), arrays(float, st.integers(1, 12), elements=TIED_SCORES))
def test_cliffs_delta_counts_which_value_is_higher(first, second):
    sides = np.sign(first[:, None] - second[None, :])
    assert cliffs_delta(first, second) == pytest.approx(sides.mean())


def test_kruskal_wallis_is_scipys_and_its_effect_is_1_where_groups_never_meet():
    groups = tied_columns(1, [20, 30, 15])
    oracle = stats.kruskal(*groups)
    found = kruskal_wallis(groups)
    assert (found.statistic, found.p_value) == (oracle.statistic, oracle.pvalue)
    apart = [np.array([1.0, 1.0]), np.array([2.0, 2.0]), np.array([3.0, 3.0])]
    assert epsilon_squared(kruskal_wallis(apart).statistic, 6) == pytest.approx(1.0)


def test_benjamini_hochberg_is_scipys_over_those_that_are_there():
    p_values = [0.01, None, 0.04, 0.03, 0.5]
    found = benjamini_hochberg(p_values)
    assert found[1] is None
    assert [p for p in found if p is not None] == stats.false_discovery_control([0.01, 0.04, 0.03, 0.5]).tolist()
    assert benjamini_hochberg([None]) == [None]
    assert benjamini_hochberg([]) == []


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), max_size=12))
def test_corrections_never_lower_a_p_value_and_bh_is_never_stricter_than_holm(p_values):
    for p, by_holm, by_bh in zip(p_values, holm(p_values), benjamini_hochberg(p_values), strict=True):
        assert p <= by_bh + 1e-12
        assert by_bh <= by_holm + 1e-12


def test_a_missing_p_value_is_no_verdict():
    assert [is_significant(p) for p in (0.01, 0.05, None)] == [True, False, None]


def ancova_by_partial_correlation(first, second, covariates):
    """F of two groups given a covariate, by the correlation of what the covariate leaves of both (Frisch and Waugh)."""
    response = stats.rankdata(np.concatenate([first, second]))
    covariate = stats.rankdata(covariates)
    group = np.repeat([1.0, 0.0], [len(first), len(second)])

    def rest(column):
        fit = stats.linregress(covariate, column)
        return column - fit.intercept - fit.slope * covariate

    r = stats.pearsonr(rest(response), rest(group)).statistic
    freedom = len(response) - 3
    return freedom * r**2 / (1 - r**2)


def test_the_rank_ancova_is_that_of_partial_correlation():
    first, second = tied_columns(3, [25, 40])
    volumes = np.random.default_rng(4).normal(100, 20, 65)
    found = rank_ancova([first, second], [volumes[:25], volumes[25:]])
    expected = ancova_by_partial_correlation(first, second, volumes)
    assert found.statistic == pytest.approx(expected)
    assert found.p_value == pytest.approx(stats.f.sf(expected, 1, 62))


def test_without_a_spread_of_volumes_the_adjusted_effect_is_cliffs_delta():
    first, second = tied_columns(5, [25, 40])
    found = rank_ancova([first, second], [np.full(25, 7.0), np.full(40, 7.0)])
    assert found.effect_size == pytest.approx(cliffs_delta(first, second))


def test_a_difference_that_is_all_due_to_volume_goes_when_volume_is_set_aside():
    rng = np.random.default_rng(6)
    small, large = rng.normal(8, 1, 80), rng.normal(10, 1, 80)
    dice_small, dice_large = (0.7 + 0.02 * volume + rng.normal(0, 0.005, 80) for volume in (small, large))
    plain = mann_whitney_each([Sample(dice_large, dice_small)])[0]
    adjusted = rank_ancova([dice_large, dice_small], [large, small])
    assert plain.p_value < 1e-9
    assert cliffs_delta(dice_large, dice_small) > 0.7
    assert adjusted.p_value > 0.05
    assert abs(adjusted.effect_size) < 0.1


def test_a_difference_at_equal_volumes_stays_when_volume_is_set_aside():
    rng = np.random.default_rng(7)
    small, large = rng.normal(8, 1, 80), rng.normal(10, 1, 80)
    dice_small, dice_large = (0.7 + 0.02 * volume + rng.normal(0, 0.005, 80) for volume in (small, large))
    adjusted = rank_ancova([dice_large + 0.03, dice_small], [large, small])
    assert adjusted.p_value < 1e-6
    assert adjusted.effect_size > 0.2


def test_the_adjusted_test_of_equal_groups_is_right_about_as_often_as_it_says():
    rng = np.random.default_rng(8)
    rejected = 0
    for _ in range(400):
        volumes = [rng.normal(8, 1, 20), rng.normal(10, 1, 30), rng.normal(9, 1, 25)]
        rejected += rank_ancova([0.1 * one + rng.normal(0, 0.1, one.size) for one in volumes], volumes).p_value < 0.05
    # binomial(400, 0.05) lies in [9, 33] with a probability of 0.9995
    assert 9 <= rejected <= 33


def test_too_few_exams_or_one_value_leave_no_adjusted_test():
    assert rank_ancova([np.array([0.9]), np.array([0.8, 0.7])], [np.array([1.0]), np.array([2.0, 3.0])]) is None
    same = np.full(20, 0.9)
    assert rank_ancova([same, same], [np.arange(20.0), np.arange(20.0)]) is None
