"""Predictors are ranked on the same exams, and who leaves exams out gains nothing."""

import pandas as pd
import pytest

from cspine_assets.domain.evaluation.leaderboard import leaderboard
from cspine_assets_tests.domain.evaluation.metric_rows import metric_rows

EXAMS = [f"e{number:02d}" for number in range(4)]
REFERENCES = pd.DataFrame({"exam_id": EXAMS, "annotation_provenance": "expert", "split_sha256": "s"})


def masks(predictor: str, ok: int = 4, *, origin: str = "external") -> pd.DataFrame:
    return pd.DataFrame(
        {
            "exam_id": EXAMS,
            "predictor": predictor,
            "origin": origin,
            "status": ["ok"] * ok + ["missing"] * (4 - ok),
            "sha256": [f"{predictor}-{exam}" for exam in EXAMS[:ok]] + [None] * (4 - ok),
            "predictor_provenance": None,
            "predictor_settings": None,
        }
    )


def ranked(dice: dict[str, list[float]], *predictions: pd.DataFrame, references: pd.DataFrame = REFERENCES):
    made = leaderboard(metric_rows(dice), pd.concat(predictions, ignore_index=True), references, profile="demo")
    return made.set_index("predictor")


def test_the_mean_over_all_exams_ranks_and_equal_means_share_a_rank():
    board = ranked(
        {"ensemble": [0.9, 0.8, 0.9, 0.8], "a": [0.8, 0.9, 0.8, 0.9], "b": [0.95] * 4},
        masks("ensemble", origin="own"),
        masks("a"),
        masks("b"),
    )
    assert board["rank"].to_dict() == {"b": 1, "a": 2, "ensemble": 2}
    assert board["origin"].to_dict() == {"b": "external", "a": "external", "ensemble": "own"}
    assert board.loc["b", "dice_macro_mean"] == pytest.approx(0.95)
    assert (board["coverage"] == 1).all()


def test_an_exam_without_a_mask_counts_as_missed_whether_it_has_a_metric_row_or_not():
    scored = ranked(
        {"ensemble": [0.8] * 4, "half": [0.9, 0.9, 0.0, 0.0]}, masks("ensemble", origin="own"), masks("half", 2)
    )
    unscored = ranked({"ensemble": [0.8] * 4, "half": [0.9, 0.9]}, masks("ensemble", origin="own"), masks("half", 2))
    for board in (scored, unscored):
        assert board.loc["half", "dice_macro_mean"] == pytest.approx(0.45)
        assert board.loc["half", ["exams", "exams_predicted", "coverage"]].tolist() == [4, 2, 0.5]
        assert board.loc["half", "rank"] == 2


def test_a_predictor_is_held_against_the_ensemble_on_the_same_exams():
    board = ranked(
        {"ensemble": [0.8, 0.7, 0.6, 0.5], "better": [0.9, 0.8, 0.7, 0.6]},
        masks("ensemble", origin="own"),
        masks("better"),
    )
    better = board.loc["better"]
    assert [better["difference_to_ensemble"], better["ci_low"], better["ci_high"]] == pytest.approx([0.1] * 3)
    assert pd.isna(board.loc["ensemble", "difference_to_ensemble"])


def test_masks_of_experts_and_of_a_model_are_two_boards():
    references = REFERENCES.assign(annotation_provenance=["expert", "expert", "model", "model"])
    frame = leaderboard(metric_rows({"a": [1.0, 0.8, 0.4, 0.2]}), masks("a"), references, profile="demo")
    assert frame.set_index("set_name")["dice_macro_mean"].to_dict() == pytest.approx({"test": 0.9, "test_model": 0.3})


def test_without_a_test_exam_the_board_is_empty():
    assert leaderboard(metric_rows({"a": [1.0]}), masks("a"), REFERENCES.head(0), profile="demo").empty
