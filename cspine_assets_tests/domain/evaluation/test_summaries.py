"""Summaries over exams."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cspine_assets.domain.evaluation import summaries
from cspine_assets.domain.tables.base import empty_frame
from cspine_assets.domain.tables.evaluation import ExamMetrics

BODY, DISC = "vertebral_body", "intervertebral_disc"
VALUES = [0.9, 0.8, 0.0, 0.7, 0.95]


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
    metrics.loc[metrics["exam_id"].str.contains("000001"), "annotation_provenance"] = "model"
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
