"""An evaluation adds rows where something has changed and says what; a drop beyond chance is told."""

from collections import defaultdict
from dataclasses import replace

import pandas as pd
import pytest

from cspine_assets.domain.evaluation.drops import find_drops
from cspine_assets.domain.evaluation.history import Evaluation, Ingredients, history_rows
from cspine_assets.domain.evaluation.sets import SUMMARY_METRICS
from cspine_assets.domain.tables.base import empty_frame
from cspine_assets.domain.tables.benchmark import History
from cspine_assets_tests.domain.evaluation.metric_rows import metric_rows

NOTHING = empty_frame(History)
MADE_FROM = Ingredients({"ensemble": "m", "other": "o"}, defaultdict(lambda: "d"))
FIRST = Evaluation("one", "2026-01-01T00:00:00+00:00", 1.0, "1", "{}")
SECOND = replace(FIRST, evaluation_id="two", evaluated_at="2026-01-02T00:00:00+00:00")
DICE = {"ensemble": [0.9, 0.8, 0.7, 0.85, 0.8, 0.75], "other": [0.5] * 6}


def first(dice=DICE) -> pd.DataFrame:
    return history_rows(metric_rows(dice), MADE_FROM, FIRST, earlier=NOTHING, forced=False)


def second(earlier: pd.DataFrame, dice=DICE, made_from=MADE_FROM, evaluation=SECOND, forced=False, **rows):
    return history_rows(metric_rows(dice, **rows), made_from, evaluation, earlier=earlier, forced=forced)


def test_the_first_evaluation_has_a_row_per_predictor_structure_and_metric():
    made = first()
    assert len(made) == 2 * 3 * len(SUMMARY_METRICS)
    assert set(made["reason"]) == {"first"}
    row = made.query("predictor == 'ensemble' and structure == 'macro' and metric == 'dice_volumetric'").iloc[0]
    assert row["mean"] == pytest.approx(0.8)
    assert row["ci_low"] < row["mean"] < row["ci_high"]


def test_an_evaluation_in_which_nothing_changed_adds_no_row():
    assert second(first()).empty


def test_a_forced_one_does():
    assert set(second(first(), forced=True)["reason"]) == {"forced"}


def test_only_the_predictor_that_changed_has_new_rows():
    made = second(first(), made_from=replace(MADE_FROM, model_sha256={"ensemble": "m", "other": "new"}))
    assert set(made["predictor"]) == {"other"}
    assert set(made["reason"]) == {"model"}
    assert len(made) == 3 * len(SUMMARY_METRICS)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"made_from": replace(MADE_FROM, data_sha256=defaultdict(lambda: "e"))}, "data"),
        ({"evaluation": replace(SECOND, code_version="2")}, "code"),
        ({"split": "t"}, "split"),
        ({"dice": {**DICE, "ensemble": [0.9, 0.8, 0.7, 0.85, 0.8, 0.7]}}, "values"),
        ({"dice": {name: values[:5] for name, values in DICE.items()}}, "exams,data,values"),
    ],
)
def test_a_row_says_what_has_changed(changed, reason):
    made = second(first(), **changed)
    assert set(made.query("predictor == 'ensemble'")["reason"]) == {reason}


def dropped(by: float, too_much: float = 0.05):
    earlier = first()
    new = second(earlier, {**DICE, "ensemble": [value - by for value in DICE["ensemble"]]})
    history = pd.concat([earlier, new], ignore_index=True)
    return [drop for drop in find_drops(history, too_much=too_much) if drop.metric == "dice_volumetric"]


def test_a_change_within_the_noise_is_no_drop():
    assert dropped(0.01) == []
    assert dropped(-0.2) == []


def test_a_drop_beyond_the_noise_is_told_and_a_larger_one_is_large():
    small, large = dropped(0.07, too_much=0.1), dropped(0.07, too_much=0.05)
    assert {drop.structure for drop in small} == {"vertebral_body", "intervertebral_disc", "macro"}
    assert not any(drop.large for drop in small)
    assert all(drop.large for drop in large)
    assert small[0].before - small[0].now == pytest.approx(0.07)


def test_values_on_other_exams_are_not_compared():
    earlier = first()
    new = second(earlier, {"ensemble": [0.1] * 5})
    assert find_drops(pd.concat([earlier, new], ignore_index=True), too_much=0.05) == []


def test_a_distance_that_grows_is_a_drop_and_a_missed_exam_counts_with_the_diagonal():
    earlier = first()
    new = second(earlier, {**DICE, "ensemble": [0.0, *DICE["ensemble"][1:]]})
    drops = find_drops(pd.concat([earlier, new], ignore_index=True), too_much=0.05)
    (drop,) = (drop for drop in drops if drop.metric == "hd95_mm" and drop.structure == "macro")
    assert drop.large
    assert drop.now - drop.before == pytest.approx((300 - 1) / 6)
