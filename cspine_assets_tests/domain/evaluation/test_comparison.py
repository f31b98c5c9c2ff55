"""Comparisons of predictors against scipy."""

from __future__ import annotations

import tracemalloc
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from cspine_assets.domain.evaluation import bootstrap
from cspine_assets.domain.evaluation.bootstrap import mean_intervals, median_interval, unpaired_interval
from cspine_assets.domain.evaluation.comparison import model_comparison
from cspine_assets.domain.evaluation.multiplicity import holm
from cspine_assets.domain.evaluation.protocols import compare_as_published_each, compare_paired_each
from cspine_assets.domain.evaluation.rank_tests import Sample, rank_biserial
from cspine_assets.domain.tables.base import empty_frame
from cspine_assets.domain.tables.evaluation import ExamMetrics

BODY, DISC = "vertebral_body", "intervertebral_disc"


def compare_paired(first, second):
    return compare_paired_each([Sample(first, second)])[0]


def compare_as_published(first, second):
    return compare_as_published_each([Sample(first, second)])[0]


def scores(seed, n):
    rng = np.random.default_rng(seed)
    first = np.round(rng.beta(9, 1, n), 3)
    return first, np.clip(first + rng.normal(0.01, 0.02, n), 0, 1)


def difference_of_medians(first, second, axis=-1):
    return np.median(first, axis=axis) - np.median(second, axis=axis)


@pytest.mark.parametrize("n", [2, 7, 87, 100])
@pytest.mark.parametrize("extra", [0, 5])
def test_the_unpaired_interval_equals_scipys_to_the_last_bit(n, extra):
    first, second = scores(n, n)[0], scores(n + 1, n + extra)[1]
    oracle = stats.bootstrap(
        (first, second),
        difference_of_medians,
        n_resamples=9_999,
        method="percentile",
        vectorized=True,
        batch=None,
        random_state=42,
    ).confidence_interval
    interval = unpaired_interval(first, second)
    assert (interval.low, interval.high) == (oracle.low, oracle.high)


def test_the_paired_interval_equals_scipys_to_the_last_bit():
    first, second = scores(3, 60)
    oracle = stats.bootstrap(
        (np.sort(first - second),), np.median, n_resamples=9_999, method="percentile", random_state=42
    ).confidence_interval
    interval = median_interval(first - second)
    assert (interval.low, interval.high) == (oracle.low, oracle.high)


def test_draws_of_many_exams_are_made_piece_by_piece_and_are_the_same(monkeypatch):
    values = scores(5, 90)[0]
    whole = median_interval(values), mean_intervals(values[:, None]), unpaired_interval(values, values[:80])
    monkeypatch.setattr(bootstrap, "_MOST_CELLS", 1_000)
    for remembered in (bootstrap._middle_positions, bootstrap._draw_counts, bootstrap._draws):
        remembered.cache_clear()
    assert (median_interval(values), mean_intervals(values[:, None]), unpaired_interval(values, values[:80])) == whole


def test_the_memory_of_a_mean_grows_by_a_byte_a_draw():
    exams = 3_000
    tracemalloc.start()
    mean_intervals(scores(6, exams)[0][:, None])
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    pieces = 5 * 8 * bootstrap._MOST_CELLS
    assert peak_bytes < 2 * bootstrap.N_RESAMPLES * exams + pieces


def test_the_tests_are_scipys():
    first, second = scores(4, 40)
    paired, published = compare_paired(first, second), compare_as_published(first, second)
    wilcoxon, mann_whitney = stats.wilcoxon(first, second), stats.mannwhitneyu(first, second)
    assert (paired.statistic, paired.p_value) == (wilcoxon.statistic, wilcoxon.pvalue)
    assert (published.statistic, published.p_value) == (mann_whitney.statistic, mann_whitney.pvalue)
    assert paired.median_difference == np.median(first - second)
    assert published.median_difference == np.median(first) - np.median(second)


def test_the_rank_biserial_effect_is_that_of_a_worked_example():
    # ranks of |d| without the zero: 1, 2, 3, 4; above 0 lie 1 + 3 + 4, below 2
    assert rank_biserial(np.array([1.0, -2.0, 3.0, 0.0, 4.0])) == (8 - 2) / 10


def test_the_effect_is_1_where_a_is_always_higher():
    first, second = np.array([0.9, 0.8, 0.7]), np.array([0.5, 0.6, 0.65])
    assert compare_paired(first, second).effect_size == 1.0
    assert compare_paired(second, first).effect_size == -1.0


def test_holm_equals_the_step_down_definition():
    assert holm([0.01, 0.04, 0.03, None]) == pytest.approx([0.03, 0.06, 0.06, None])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize("compare", [compare_paired, compare_as_published])
@pytest.mark.parametrize("n", [0, 1])
def test_fewer_than_two_exams_leave_nothing_to_say(compare, n):
    found = compare(np.full(n, 0.9), np.full(n, 0.8))
    assert (found.n, found.median_difference, found.ci_low, found.p_value, found.effect_size) == (n, *[None] * 4)


@pytest.mark.parametrize("compare", [compare_paired, compare_as_published])
def test_predictors_without_any_difference_are_not_tested_and_do_not_warn(compare):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = compare(np.full(10, 0.9), np.full(10, 0.9))
    assert (found.p_value, found.statistic, found.effect_size) == (None, None, None)
    assert (found.median_difference, found.ci_low, found.ci_high) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("n", [2, 3, 60])
def test_two_exams_and_many_ties_do_not_warn(n):
    first, second = scores(n, n)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compare_paired(np.round(first, 1), np.round(second, 1))
        compare_as_published(np.round(first, 1), np.round(second, 1))


def predictors(metrics_of, n=12, **choices):
    values = {
        name: {BODY: scores(seed, n)[0], DISC: scores(seed + 10, n)[1]}
        for seed, name in enumerate(("2d", "3d_fullres", "ensemble"))
    }
    return metrics_of(values, **choices)


def test_all_pairs_structures_metrics_and_protocols_are_compared(metrics_of):
    compared = model_comparison(predictors(metrics_of))
    assert len(compared) == 3 * (2 + 1) * 7 * 2
    assert set(compared["n"]) == {12}


def test_holm_runs_over_the_pairs_and_structures_of_one_set_and_metric(metrics_of):
    compared = model_comparison(predictors(metrics_of), metrics=["dice_volumetric"])
    paired = compared[(compared["protocol"] == "paired") & (compared["structure"] != "macro")]
    assert paired["p_value_holm"].tolist() == pytest.approx(holm(paired["p_value"].tolist()))
    assert compared[compared["protocol"] == "paper"]["p_value_holm"].isna().all()


def test_exams_are_paired_by_name_and_not_by_position(metrics_of):
    metrics = predictors(metrics_of)
    shuffled = metrics.sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(model_comparison(metrics), model_comparison(shuffled))


def test_only_exams_that_both_predictors_have_are_compared(metrics_of):
    metrics = predictors(metrics_of)
    lacking = metrics[~((metrics["predictor"] == "2d") & metrics["exam_id"].str.contains("000003"))]
    compared = model_comparison(lacking)
    counts = {(a, b): n for a, b, n in compared[["predictor_a", "predictor_b", "n"]].itertuples(index=False)}
    assert counts == {("2d", "3d_fullres"): 11, ("2d", "ensemble"): 11, ("3d_fullres", "ensemble"): 12}


def test_references_of_models_are_compared_under_their_own_set_name(metrics_of):
    both = pd.concat([predictors(metrics_of), predictors(metrics_of, scored_set="cv", provenance="model")])
    assert sorted(set(model_comparison(both)["set_name"])) == ["cv_model", "test"]


def test_two_predictors_that_both_miss_differ_by_nothing_and_one_that_misses_alone_by_the_diagonal(metrics_of):
    first, second = [0.9, 0.0, 0.0, 0.8, 0.7], [0.8, 0.0, 0.9, 0.9, 0.6]
    compared = model_comparison(metrics_of({"a": {BODY: first, DISC: first}, "b": {BODY: second, DISC: second}}))
    found = compared[(compared["metric"] == "hd95_mm") & (compared["structure"] == BODY)].set_index("protocol")
    own, other = ([400 if dice == 0 else 10 * (1 - dice) for dice in column] for column in (first, second))
    oracle = stats.wilcoxon(own, other)
    assert found.loc["paired", "n"] == 5
    assert found.loc["paired", "statistic"] == oracle.statistic
    assert found.loc["paired", "p_value"] == pytest.approx(oracle.pvalue)
    assert np.isfinite(found.loc["paired", ["median_difference", "ci_low", "ci_high"]].astype(float)).all()


def test_infinite_scores_are_tested_by_rank_and_have_no_interval():
    infinite = float("inf")
    first = np.array([1.0, 2.0, infinite, 4.0, infinite, 3.0])
    second = np.array([2.0, infinite, infinite, 5.0, 1.0, 2.5])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        paired, published = compare_paired(first, second), compare_as_published(first, second)
    # the differences -1, -inf, 0 (both missed), -1, inf, 0.5
    assert paired.p_value == stats.wilcoxon([-1, -1e6, 0, -1, 1e6, 0.5]).pvalue
    assert published.p_value == stats.mannwhitneyu(np.minimum(first, 1e6), np.minimum(second, 1e6)).pvalue
    assert (paired.ci_low, published.ci_low) == (None, None)


def test_the_means_over_both_structures_are_compared_in_a_family_of_their_own(metrics_of):
    metrics = predictors(metrics_of)
    compared = model_comparison(metrics, metrics=["dice_volumetric"])
    macro = compared[(compared["structure"] == "macro") & (compared["protocol"] == "paired")]
    means = metrics.pivot_table(index="exam_id", columns="predictor", values="dice_volumetric", aggfunc="mean")
    differences = (means["2d"] - means["ensemble"]).to_numpy(dtype=float)
    found = macro[(macro["predictor_a"] == "2d") & (macro["predictor_b"] == "ensemble")].iloc[0]
    assert found["median_difference"] == pytest.approx(np.median(differences))
    assert macro["p_value_holm"].tolist() == pytest.approx(holm(macro["p_value"].tolist()))


def test_one_predictor_or_no_row_gives_an_empty_table(metrics_of):
    assert model_comparison(metrics_of({"2d": {BODY: [0.9, 0.8], DISC: [0.9, 0.8]}})).empty
    assert model_comparison(empty_frame(ExamMetrics)).empty


@pytest.mark.parametrize("name", ["Another", "zero"])
def test_a_baseline_is_always_b_whatever_the_other_is_called(metrics_of, name):
    values = {
        "ensemble": {BODY: [0.9, 0.8, 0.7], DISC: [0.9, 0.8, 0.7]},
        name: {BODY: [0.8, 0.7, 0.5], DISC: [0.8] * 3},
    }
    found = model_comparison(metrics_of(values), metrics=["dice_volumetric"], baseline="ensemble")
    assert set(found["predictor_a"]) == {name}
    assert set(found["predictor_b"]) == {"ensemble"}
    assert (found.loc[found["structure"] == BODY, "median_difference"] < 0).all()
