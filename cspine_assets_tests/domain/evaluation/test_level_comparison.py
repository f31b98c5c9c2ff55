"""Comparisons of levels against scipy, and where each exam went."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from cspine_assets.domain.anatomy import DISC_LEVELS
from cspine_assets.domain.evaluation.level_comparison import level_comparison
from cspine_assets.domain.evaluation.multiplicity import holm
from cspine_assets.domain.tables.base import empty_frame, validate
from cspine_assets.domain.tables.evaluation import LevelMetrics


def level_rows(dice, *, levels=DISC_LEVELS, view="3d", protocol="anatomical", unsure=()):
    """Makes rows from Dice of shape (exams, levels), NaN where a level is excluded; ``unsure`` holds (exam, level)."""
    rows = [
        {
            "exam_id": f"593973-{exam:06d}_Study-MR-1_Series-4",
            "patient_id": f"593973-{exam:06d}",
            "set": "test",
            "fold": None,
            "predictor": "ensemble",
            "structure": "intervertebral_disc",
            "level": level,
            "view": view,
            "protocol": protocol,
            "profile": "full",
            "split_sha256": "s",
            "model_sha256": "m",
            "annotation_provenance": "expert",
            "dice": None if np.isnan(value) else value,
            "status": "excluded" if np.isnan(value) else "ok",
            "reason": "not there" if np.isnan(value) else None,
            "flags": None,
            "severity": "name_unsure" if (exam, level) in unsure else "none",
            "confidence": "low" if (exam, level) in unsure else "high",
            "named_by": "field_of_view",
        }
        for exam, values in enumerate(dice)
        for level, value in zip(levels, values, strict=True)
    ]
    return validate(LevelMetrics, pd.DataFrame(rows).astype(empty_frame(LevelMetrics).dtypes.to_dict()))


def drawn(exams, levels=6, seed=0):
    rng = np.random.default_rng(seed)
    return np.clip(rng.beta(9, 1, (exams, 1)) - rng.uniform(0, 0.1, (exams, levels)), 0, 1)


@pytest.mark.parametrize("exams", [12, 60])
def test_every_pair_of_levels_is_tested_as_scipy_tests_it(exams):
    dice = drawn(exams)
    compared = level_comparison(level_rows(dice)).set_index(["level_a", "level_b", "protocol"])
    assert len(compared) == 15 * 2
    for (i, a), (j, b) in combinations(enumerate(DISC_LEVELS), 2):
        wilcoxon, mann_whitney = stats.wilcoxon(dice[:, i], dice[:, j]), stats.mannwhitneyu(dice[:, i], dice[:, j])
        paired, paper = compared.loc[(a, b, "paired")], compared.loc[(a, b, "paper")]
        assert (paired["statistic"], paired["p_value"]) == (wilcoxon.statistic, wilcoxon.pvalue)
        assert (paper["statistic"], paper["p_value"]) == (mann_whitney.statistic, mann_whitney.pvalue)
        assert paired["median_difference"] == np.median(dice[:, i] - dice[:, j])
        assert paper["median_difference"] == np.median(dice[:, i]) - np.median(dice[:, j])
        assert (paired["median_a"], paired["median_b"]) == (np.median(dice[:, i]), np.median(dice[:, j]))


def test_pairs_are_in_the_order_of_the_spine_and_corrected_together():
    compared = level_comparison(level_rows(drawn(20)))
    paired = compared[compared["protocol"] == "paired"]
    assert list(zip(paired["level_a"], paired["level_b"], strict=True)) == list(combinations(DISC_LEVELS, 2))
    assert paired["p_value_holm"].tolist() == pytest.approx(holm(paired["p_value"].tolist()))
    assert compared[compared["protocol"] == "paper"]["p_value_holm"].isna().all()


def test_every_exam_is_compared_or_counted_with_why_not():
    dice = drawn(20)
    dice[3, 0] = dice[4, 1] = dice[5, 0] = np.nan
    unsure = {(5, "C3/C4"), (6, "C2/C3"), (7, "C3/C4"), (7, "C4/C5")}
    compared = level_comparison(level_rows(dice, unsure=unsure)).set_index(["level_a", "level_b", "protocol"])
    upper = compared.loc[("C2/C3", "C3/C4", "paired")]
    assert (upper["n_exams"], upper["n_a"], upper["n_b"], upper["n_unsure"], upper["n_without"]) == (20, 15, 15, 2, 3)
    paper = compared.loc[("C2/C3", "C3/C4", "paper")]
    assert (paper["n_a"], paper["n_b"], paper["n_unsure"], paper["n_without"]) == (17, 17, 2, 3)
    whole = compared[compared.index.get_level_values("protocol") == "paired"]
    assert (whole["n_a"] + whole["n_unsure"] + whole["n_without"] == whole["n_exams"]).all()


def test_by_the_published_naming_every_scored_exam_is_compared():
    dice = drawn(20)
    dice[3] = np.nan
    unsure = {(exam, level) for exam in range(10) for level in DISC_LEVELS}
    rows = level_rows(dice, view="mid_sagittal", protocol="paper", unsure=unsure)
    compared = level_comparison(rows)
    assert (compared[["n_exams", "n_a", "n_b", "n_unsure", "n_without"]] == [20, 19, 19, 0, 1]).all(axis=None)


def test_a_level_that_no_exam_shows_is_listed_and_not_dropped():
    dice = drawn(12)
    dice[:, 5] = np.nan
    compared = level_comparison(level_rows(dice))
    lowest = compared[compared["level_b"] == "C7/T1"]
    assert len(lowest) == 5 * 2
    assert set(lowest["n_without"]) == {12}
    assert lowest[["p_value", "median_difference", "median_b"]].isna().all(axis=None)


def test_views_and_namings_are_not_mixed():
    both = pd.concat(
        [
            level_rows(drawn(12), view="mid_sagittal"),
            level_rows(drawn(12, seed=1), view="mid_sagittal", protocol="paper"),
        ]
    )
    compared = level_comparison(both)
    assert compared.groupby(["view", "naming"]).size().tolist() == [30, 30]
    assert set(compared["n_exams"]) == {12}


def test_no_rows_give_an_empty_table():
    assert level_comparison(empty_frame(LevelMetrics)).empty
