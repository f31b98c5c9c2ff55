"""Groups of patients described and compared, against scipy and against what was planted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from cspine_assets.domain.evaluation.group_comparison import group_comparison
from cspine_assets.domain.evaluation.group_metrics import group_metrics
from cspine_assets.domain.evaluation.rank_tests import cliffs_delta
from cspine_assets.domain.tables.base import TEXT, empty_frame
from cspine_assets.domain.tables.evaluation import ExamMetrics

BODY, DISC = "vertebral_body", "intervertebral_disc"
N = 60


def strata_of(metrics, **attributes):
    exams = sorted(metrics["exam_id"].unique())
    return pd.DataFrame({"exam_id": exams, **attributes}).astype(TEXT)


def sexes(n=N, women=25):
    return ["Female"] * women + ["Male"] * (n - women)


def scored(metrics_of, seed=0, n=N, **choices):
    rng = np.random.default_rng(seed)
    return metrics_of(
        {name: {BODY: rng.beta(9, 1, n), DISC: rng.beta(7, 1, n)} for name in ("2d", "ensemble")}, **choices
    )


def one(frame, **wanted):
    found = frame
    for column, value in wanted.items():
        found = found[found[column] == value]
    assert len(found) == 1, wanted
    return found.iloc[0]


def column_of(metrics, metric, predictor="ensemble", structure=BODY):
    rows = metrics[(metrics["predictor"] == predictor) & (metrics["structure"] == structure)]
    return rows.sort_values("exam_id")[metric].to_numpy(dtype=float)


def test_each_group_is_described_as_its_exams_are(metrics_of):
    metrics = scored(metrics_of)
    described = group_metrics(metrics, strata_of(metrics, sex=sexes()))
    found = one(
        described, grouping="sex", group_value="Female", predictor="ensemble", structure=BODY, metric="dice_volumetric"
    )
    values = column_of(metrics, "dice_volumetric")[:25]
    assert (found["n"], found["n_patients"], found["median"]) == (25, 25, np.median(values))
    assert found["sd_sample"] == pytest.approx(np.std(values, ddof=1))
    oracle = stats.bootstrap(
        (np.sort(values),), np.median, n_resamples=9_999, method="percentile", random_state=42
    ).confidence_interval
    assert (found["median_ci_low"], found["median_ci_high"]) == tuple(oracle)
    wilson = stats.binomtest(int((values >= 0.85).sum()), 25).proportion_ci(method="wilson")
    assert found["n_success"] == (values >= 0.85).sum()
    assert (found["success_ci_low"], found["success_ci_high"]) == tuple(wilson)


def test_all_exams_and_all_pairs_of_attributes_are_groupings(metrics_of):
    metrics = scored(metrics_of)
    strata = strata_of(metrics, sex=sexes(), race=["A", "B"] * (N // 2), field_strength=["3 T"] * N)
    described = group_metrics(metrics, strata)
    expected = {"all", "sex", "race", "field_strength", "sex x race", "sex x field_strength", "race x field_strength"}
    assert set(described["grouping"]) == expected
    dice = described[(described["metric"] == "iou") & (described["predictor"] == "2d")]
    assert (dice[dice["structure"] == DISC].groupby("grouping")["n"].sum() == N).all()
    assert (
        one(
            described,
            grouping="sex x race",
            group_value="Female x A",
            predictor="2d",
            structure=BODY,
            metric="iou",
        )["n"]
        == 13
    )


def test_two_groups_are_tested_as_scipy_tests_them(metrics_of):
    metrics = scored(metrics_of)
    compared = group_comparison(metrics, strata_of(metrics, sex=sexes()))
    found = one(compared, predictor="ensemble", structure=BODY, metric="dice_volumetric")
    values = column_of(metrics, "dice_volumetric")
    women, men = values[:25], values[25:]
    oracle = stats.mannwhitneyu(women, men)
    assert (found["group_value"], found["reference_value"], found["n"], found["n_reference"]) == (
        *("Female", "Male"),
        *(25, 35),
    )
    assert (found["statistic"], found["p_value"]) == (oracle.statistic, oracle.pvalue)
    assert found["median_difference"] == np.median(women) - np.median(men)
    assert found["ci_low"] < found["median_difference"] < found["ci_high"]
    assert found["effect_size"] == cliffs_delta(women, men)
    assert found["success_difference"] == pytest.approx((women >= 0.85).mean() - (men >= 0.85).mean())
    assert found["success_ratio"] == pytest.approx((women >= 0.85).mean() / (men >= 0.85).mean())


def test_three_groups_are_also_tested_at_once(metrics_of):
    metrics = scored(metrics_of)
    ages = ["40-49"] * 15 + ["50-59"] * 30 + ["60-69"] * 15
    compared = group_comparison(metrics, strata_of(metrics, age_band=ages))
    found = one(compared, test="kruskal_wallis", predictor="ensemble", structure=BODY, metric="hd95_mm")
    values = column_of(metrics, "hd95_mm")
    oracle = stats.kruskal(values[:15], values[15:45], values[45:])
    assert (found["statistic"], found["p_value"]) == (oracle.statistic, oracle.pvalue)
    assert found["effect_size"] == pytest.approx(oracle.statistic / (N - 1))
    assert (found["n_groups"], found["n"]) == (3, N)
    pairs = compared[(compared["test"] == "mann_whitney") & (compared["metric"] == "hd95_mm")]
    assert set(pairs["reference_value"]) == {"50-59"}


def test_small_groups_and_unknown_ones_have_a_reason_and_no_verdict(metrics_of):
    metrics = scored(metrics_of)
    races = ["White"] * 30 + ["Asian"] * 9 + [None] * 21
    strata = strata_of(metrics, race=races)
    compared = group_comparison(metrics, strata)
    rows = compared[(compared["metric"] == "iou") & (compared["predictor"] == "2d") & (compared["structure"] == BODY)]
    assert dict(zip(rows["group_value"], rows["reason"], strict=True)) == {
        "Asian": "fewer than 10 exams",
        "Not Reported": "not reported",
    }
    assert rows[["p_value", "effect_size", "ci_low", "significant", "success_ratio"]].isna().all(axis=None)
    described = group_metrics(metrics, strata)
    sizes = described[(described["grouping"] == "race") & (described["metric"] == "iou")]
    assert dict(zip(sizes["group_value"], sizes["is_small"], strict=True)) == {
        "White": False,
        "Asian": True,
        "Not Reported": False,
    }


def test_groups_without_any_large_one_have_no_verdict(metrics_of):
    metrics = scored(metrics_of, n=8)
    compared = group_comparison(metrics, strata_of(metrics, sex=sexes(8, 4)))
    assert set(compared["reason"]) == {"fewer than 10 exams"}
    assert set(compared["test"]) == {"mann_whitney"}


def test_a_missed_structure_is_no_success_and_keeps_its_group_in_the_mean(metrics_of):
    values = [0.95] * 12 + [0.95] * 11 + [0.0]
    metrics = metrics_of({"ensemble": {BODY: values, DISC: values}})
    described = group_metrics(metrics, strata_of(metrics, sex=sexes(24, 12)))
    men = one(described, grouping="sex", group_value="Male", structure=BODY, metric="hd95_mm")
    assert (men["n_used"], men["n_missed"], men["n_success"]) == (12, 1, 11)
    assert men["mean"] == pytest.approx((11 * 0.5 + 400) / 12)


def test_a_missed_structure_with_many_empty_slices_is_no_success_either(metrics_of):
    values = [0.95] * 23 + [0.0]
    metrics = metrics_of({"ensemble": {BODY: values, DISC: values}})
    metrics.loc[metrics["status"] == "missed", "dice_slice_mean"] = 0.9
    strata = strata_of(metrics, sex=sexes(24, 12))
    which = {"grouping": "sex", "group_value": "Male", "structure": BODY, "metric": "dice_slice_mean"}
    assert one(group_metrics(metrics, strata), **which)["n_success"] == 11
    assert one(group_comparison(metrics, strata), **which)["success_rate"] == 11 / 12


def planted(metrics_of, effect=0.0):
    """Dice rises with the volume, and men's structures are a quarter larger; ``effect`` is added to women's Dice."""
    rng = np.random.default_rng(11)
    women, men = 70, 90
    volumes = np.concatenate([rng.normal(8_000, 1_300, women), rng.normal(10_000, 1_300, men)])
    dice = 0.7 + 1.5e-5 * volumes + rng.normal(0, 0.01, women + men)
    dice[:women] += effect
    metrics = metrics_of({"ensemble": {BODY: dice, DISC: dice}})
    metrics["volume_reference_mm3"] = np.tile(volumes, 2)
    return metrics, strata_of(metrics, sex=sexes(women + men, women))


def test_what_is_due_to_volume_alone_is_gone_at_equal_volumes(metrics_of):
    compared = group_comparison(*planted(metrics_of))
    found = one(compared, structure=BODY, metric="dice_volumetric")
    assert found["volume_effect_size"] < -0.6
    assert found["significant"]
    assert not found["significant_at_equal_volume"]
    assert abs(found["effect_size_at_equal_volume"]) < 0.1 < abs(found["effect_size"])


def test_what_volume_hides_is_seen_at_equal_volumes(metrics_of):
    compared = group_comparison(*planted(metrics_of, effect=0.03))
    found = one(compared, structure=BODY, metric="dice_volumetric")
    assert not found["significant"]
    assert found["significant_at_equal_volume"]
    assert found["effect_size_at_equal_volume"] > 0.3


def test_p_values_are_corrected_over_groupings_and_structures_of_a_metric(metrics_of):
    metrics = scored(metrics_of)
    strata = strata_of(metrics, sex=sexes(), race=["A", "B"] * (N // 2))
    compared = group_comparison(metrics, strata)
    family = compared[
        (compared["predictor"] == "2d") & (compared["metric"] == "iou") & (compared["test"] == "mann_whitney")
    ].dropna(subset=["p_value"])
    assert set(family["grouping"]) == {"sex", "race", "sex x race"}
    expected = stats.false_discovery_control(family["p_value"].to_numpy(dtype=float))
    assert family["p_value_bh"].tolist() == pytest.approx(expected.tolist())


def test_masks_of_experts_and_models_meet_only_where_they_are_compared(metrics_of):
    metrics = scored(metrics_of)
    by_model = metrics["exam_id"].isin(sorted(metrics["exam_id"].unique())[40:])
    metrics["annotation_provenance"] = np.where(by_model, "model", "expert")
    metrics["set"] = np.where(by_model, "test_model", "test")
    strata = strata_of(metrics, sex=sexes())
    described = group_metrics(metrics, strata)
    assert set(described["set_name"]) == {"test", "test_model", "test_mixed"}
    assert (
        one(
            described,
            set_name="test",
            grouping="all",
            predictor="2d",
            structure=BODY,
            metric="iou",
        )["n"]
        == 40
    )
    assert set(described.loc[described["set_name"] == "test_mixed", "grouping"]) == {"provenance", "provenance x sex"}
    compared = group_comparison(metrics, strata)
    assert set(compared.loc[compared["grouping"] == "provenance", "set_name"]) == {"test_mixed"}


def test_an_exam_of_which_nothing_is_known_is_a_group_of_its_own(metrics_of):
    metrics = scored(metrics_of, n=12)
    strata = strata_of(metrics, sex=sexes(12, 6)).iloc[:-1]
    described = group_metrics(metrics, strata)
    assert (
        one(
            described,
            grouping="sex",
            group_value="Not Reported",
            predictor="2d",
            structure=BODY,
            metric="iou",
        )["n"]
        == 1
    )


def test_no_rows_give_empty_tables():
    nothing, strata = empty_frame(ExamMetrics), pd.DataFrame({"exam_id": [], "sex": []}, dtype=TEXT)
    assert group_metrics(nothing, strata).empty
    assert group_comparison(nothing, strata).empty
