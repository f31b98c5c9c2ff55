"""Success rates and how they differ, against published worked examples."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cspine_assets.domain.evaluation.success import CRITERIA, Rate, rate_difference, rate_ratio

RATES = st.integers(1, 60).flatmap(lambda total: st.integers(0, total).map(lambda count: Rate(count, total)))


def test_success_is_a_dice_of_085_or_more_and_a_distance_below_5_mm():
    none = np.zeros(4, np.bool_)
    assert CRITERIA["dice_volumetric"].count(np.array([0.85, 0.8499, 0.9, 0.0]), failed=none) == 2
    assert CRITERIA["hd95_mm"].count(np.array([4.999, 5.0, 400.0, np.inf]), failed=none) == 1


def test_a_rate_has_wilsons_interval():
    interval = Rate(7, 50).interval
    oracle = stats.binomtest(7, 50).proportion_ci(method="wilson")
    assert (interval.low, interval.high) == (oracle.low, oracle.high)


def test_the_difference_is_that_of_newcombes_own_example():
    # Newcombe, Stat Med 1998;17:873, table II, 56/70 against 48/80, method 10
    found = rate_difference(Rate(56, 70), Rate(48, 80))
    assert found.value == pytest.approx(0.2)
    assert (found.interval.low, found.interval.high) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_difference_and_ratio_are_those_of_a_published_trial():
    # Perondi et al., N Engl J Med 2004: 7/34 against 1/34, as in Fagerland, Lydersen and Laake, chapter 4
    first, second = Rate(7, 34), Rate(1, 34)
    difference, ratio = rate_difference(first, second).interval, rate_ratio(first, second).interval
    assert (difference.low, difference.high) == pytest.approx((0.0189, 0.3404), abs=5e-5)
    assert (ratio.low, ratio.high) == pytest.approx((1.1537, 41.9763), abs=5e-5)


@settings(max_examples=200, deadline=None)
@given(RATES, RATES)
def test_every_interval_holds_its_value_and_both_say_the_same_of_equality(first, second):
    difference, ratio = rate_difference(first, second), rate_ratio(first, second)
    assert difference.interval.low - 1e-9 <= difference.value <= difference.interval.high + 1e-9
    assert -1 - 1e-9 <= difference.interval.low <= difference.interval.high <= 1 + 1e-9
    if ratio.value is not None:
        assert ratio.interval.low - 1e-9 <= ratio.value <= ratio.interval.high + 1e-9
    # a difference above 0 is a ratio above 1: both ends come from the same two intervals
    if difference.interval.low > 1e-9:
        assert ratio.interval.low > 1
    if difference.interval.high < -1e-9:
        assert ratio.interval.high < 1


def test_no_success_at_all_leaves_no_ratio_and_perfect_rates_an_interval_with_width():
    assert rate_ratio(Rate(3, 10), Rate(0, 10)).value is None
    assert rate_ratio(Rate(3, 10), Rate(0, 10)).interval.high is None
    assert rate_ratio(Rate(0, 10), Rate(3, 10)).interval.low == 0
    perfect = rate_ratio(Rate(10, 10), Rate(10, 10))
    assert perfect.value == 1
    assert perfect.interval.low < 0.8
    assert perfect.interval.high > 1.2
