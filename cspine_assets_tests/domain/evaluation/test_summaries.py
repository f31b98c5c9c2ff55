"""Summaries over exams."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cspine_assets.domain.evaluation import summaries
from cspine_assets.domain.evaluation.distribution import describe_columns
from cspine_assets.domain.tables.base import empty_frame
from cspine_assets.domain.tables.evaluation import ExamMetrics

BODY, DISC = "vertebral_body", "intervertebral_disc"
VALUES = [0.9, 0.8, 0.0, 0.7, 0.95]


def describe(values, statuses):
    return describe_columns(values[:, None], statuses)[0]


def row(frame, **wanted):
    found = frame
    for column, value in wanted.items():
        found = found[found[column] == value]
    assert len(found) == 1
    return found.iloc[0]


def test_a_summary_states_mean_both_deviations_median_and_quartiles(metrics_of):
    summary = summaries.test_summary(metrics_of({"2d": {BODY: VALUES, DISC: VALUES}}))
    found = row(summary, structure=BODY, metric="dice_volumetric")
    assert found["mean"] == pytest.approx(np.mean(VALUES))
    assert found["sd"] == pytest.approx(np.std(VALUES))
    assert found["sd_sample"] == pytest.approx(np.std(VALUES, ddof=1))
    assert [found["q1"], found["median"], found["q3"]] == pytest.approx(np.percentile(VALUES, [25, 50, 75]))


def test_missed_exams_count_with_0_and_are_counted(metrics_of):
    summary = summaries.test_summary(metrics_of({"2d": {BODY: VALUES, DISC: VALUES}}))
    found = row(summary, structure=DISC, metric="dice_volumetric")
    assert (found["n"], found["n_used"], found["n_missed"], found["n_spurious"]) == (5, 5, 1, 0)


def test_an_exam_without_a_value_is_counted_but_not_used(metrics_of):
    summary = summaries.test_summary(metrics_of({"2d": {BODY: [0.5, None], DISC: [0.5, 0.7]}}))
    found = row(summary, structure=BODY, metric="dice_volumetric")
    assert (found["n"], found["n_used"], found["mean"]) == (2, 1, 0.5)
    assert pd.isna(found["sd_sample"])
    assert row(summary, structure=BODY, metric="dice_slice_mean")["n_used"] == 2


def test_the_macro_mean_is_the_mean_of_both_means_and_its_spread_is_over_exams(metrics_of):
    bodies, discs = [0.9, 0.7, 0.8], [0.6, 0.8, 0.7]
    summary = summaries.test_summary(metrics_of({"2d": {BODY: bodies, DISC: discs}}))
    found = row(summary, structure="macro", metric="dice_slice_mean")
    assert found["mean"] == pytest.approx((np.mean(bodies) + np.mean(discs)) / 2)
    assert found["sd"] == pytest.approx(np.std([0.75, 0.75, 0.75]), abs=1e-15)
    assert found["n"] == 3


def test_a_macro_needs_both_structures_of_an_exam(metrics_of):
    summary = summaries.test_summary(metrics_of({"2d": {BODY: [0.9, None], DISC: [0.7, 0.1]}}))
    found = row(summary, structure="macro", metric="dice_volumetric")
    assert (found["n"], found["n_used"], found["mean"]) == (2, 1, pytest.approx(0.8))


@pytest.mark.parametrize(
    ("provenance", "name"), [("expert", "test"), ("model", "test_model"), ("unknown", "test_unknown")]
)
def test_the_set_name_carries_who_drew_the_reference(metrics_of, provenance, name):
    summary = summaries.test_summary(metrics_of({"2d": {BODY: VALUES, DISC: VALUES}}, provenance=provenance))
    assert set(summary["set_name"]) == {name}


def test_masks_of_experts_and_of_models_never_stand_in_one_number(metrics_of):
    metrics = metrics_of({"2d": {BODY: [0.2, 0.9], DISC: [0.2, 0.9]}})
    of_model = metrics["exam_id"].str.contains("000001")
    metrics.loc[of_model, ["annotation_provenance", "set"]] = ["model", "test_model"]
    summary = summaries.test_summary(metrics)
    assert row(summary, set_name="test", structure=BODY, metric="iou")["n"] == 1
    assert row(summary, set_name="test_model", structure=BODY, metric="dice_volumetric")["mean"] == 0.9


def test_folds_are_summed_up_one_by_one_and_together(metrics_of):
    summary = summaries.fold_summary(
        metrics_of({"2d": {BODY: VALUES, DISC: VALUES}}, scored_set="cv", folds=[0, 0, 1, 1, 1])
    )
    bodies = summary[(summary["structure"] == BODY) & (summary["metric"] == "dice_volumetric")]
    assert dict(zip(bodies["fold"], bodies["n"], strict=True)) == {"0": 2, "1": 3, "all": 5}
    assert row(bodies, fold="all")["mean"] == pytest.approx(np.mean(VALUES))


def test_the_sets_do_not_mix(metrics_of):
    test = metrics_of({"2d": {BODY: VALUES, DISC: VALUES}})
    assert summaries.fold_summary(test).empty
    assert summaries.test_summary(empty_frame(ExamMetrics)).empty


def test_a_missed_exam_weighs_in_a_distance_with_the_diagonal_of_its_volume(metrics_of):
    summary = summaries.test_summary(metrics_of({"2d": {BODY: [0.9, 0.8, 0.0], DISC: [0.9, 0.8, 0.7]}}))
    found = row(summary, structure=BODY, metric="hd95_mm")
    assert (found["n_used"], found["n_missed"]) == (3, 1)
    assert found["mean"] == pytest.approx((1 + 2 + 400) / 3)
    assert found["median"] == pytest.approx(2.0)
    assert found["q3"] == pytest.approx(201)
    both = row(summary, structure="macro", metric="hd95_mm")
    assert (both["n"], both["n_missed"], both["mean"]) == (3, 1, pytest.approx((1 + 2 + (400 + 3) / 2) / 3))


def test_a_model_that_misses_never_scores_better_for_it(metrics_of):
    poor, missing = [0.9, 0.8, 0.3], [0.9, 0.8, 0.0]
    summary = summaries.test_summary(
        metrics_of({"2d": {BODY: poor, DISC: poor}, "3d_fullres": {BODY: missing, DISC: missing}})
    )
    for metric, is_better in (("hd95_mm", np.less), ("assd_mm", np.less), ("nsd_1mm", np.greater)):
        means = [row(summary, predictor=name, structure=BODY, metric=metric)["mean"] for name in ("2d", "3d_fullres")]
        assert is_better(*means), metric


def test_every_metric_is_summed_up_for_every_predictor(metrics_of):
    summary = summaries.test_summary(
        metrics_of({name: {BODY: VALUES, DISC: VALUES} for name in ("2d", "3d_fullres", "ensemble", "mine")})
    )
    assert len(summary) == 4 * 3 * 8
    assert (
        not summary[summary["n_used"] > 0][["mean", "mean_ci_low", "median_ci_high", "sd", "q1"]].isna().any(axis=None)
    )


@pytest.mark.parametrize("n", [2, 5, 12, 101])
def test_the_intervals_are_scipys_on_the_sorted_values(n):
    values = np.random.default_rng(n).beta(9, 1, n)
    found = describe(values, ["ok"] * n)

    def oracle(statistic):
        return stats.bootstrap(
            (np.sort(values),), statistic, n_resamples=9_999, method="percentile", random_state=42
        ).confidence_interval

    assert (found.median_ci_low, found.median_ci_high) == oracle(np.median)
    assert (found.mean_ci_low, found.mean_ci_high) == pytest.approx(tuple(oracle(np.mean)), rel=1e-12)


@settings(max_examples=10, deadline=None)
@given(st.permutations(list(np.linspace(0.5, 1, 9) ** 2)))
def test_the_order_of_exams_changes_no_interval(values):
    ordered = describe(np.sort(values), ["ok"] * len(values))
    found = describe(np.array(values), ["ok"] * len(values))
    assert (found.median_ci_low, found.median_ci_high) == (ordered.median_ci_low, ordered.median_ci_high)
    assert (found.mean_ci_low, found.mean_ci_high) == (ordered.mean_ci_low, ordered.mean_ci_high)


def test_a_column_with_gaps_is_described_as_if_it_were_alone():
    rng = np.random.default_rng(0)
    columns = rng.beta(9, 1, (20, 3))
    columns[[2, 7], 1] = np.nan
    found = describe_columns(columns, ["ok"] * 20)
    for column, own in zip(columns.T, found, strict=True):
        alone = describe(column[~np.isnan(column)], ["ok"] * 20)
        assert own.n == 20
        assert replace(own, n=0, mean_ci_low=0, mean_ci_high=0) == replace(alone, n=0, mean_ci_low=0, mean_ci_high=0)
        assert (own.mean_ci_low, own.mean_ci_high) == pytest.approx((alone.mean_ci_low, alone.mean_ci_high))


def test_one_exam_has_a_mean_and_no_interval_and_none_has_nothing():
    one = describe(np.array([0.9]), ["ok"])
    assert (one.n_used, one.mean, one.median, one.mean_ci_low, one.median_ci_low, one.sd_sample) == (
        *(1, 0.9, 0.9),
        *(None, None, None),
    )
    none = describe(np.array([np.nan]), ["both_empty"])
    assert (none.n, none.n_used, none.mean, none.sd, none.q1) == (1, 0, None, None, None)


@pytest.mark.parametrize(
    ("bodies", "discs", "printed"),
    [(0.928301, 0.901497, 0.914899), (0.925019, 0.899804, 0.912411), (0.928732, 0.903873, 0.916302)],
)
def test_the_macro_mean_is_the_published_studys(metrics_of, bodies, discs, printed):
    # the printed means of 2d, 3d and ensemble on the test set, and the printed macro-averages (Sci Data 12:1695)
    spread = np.linspace(-0.05, 0.05, 100)
    summary = summaries.test_summary(metrics_of({"2d": {BODY: bodies + spread, DISC: discs + spread[::-1]}}))
    found = row(summary, structure="macro", metric="dice_slice_mean")["mean"]
    assert found == pytest.approx(printed, abs=1e-6)
