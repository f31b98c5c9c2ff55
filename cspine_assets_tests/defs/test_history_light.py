"""The light of the history is green, yellow or red, and says without a click what has become worse."""

import dagster as dg
import pandas as pd
import pytest

from cspine_assets.defs.automation import SETTINGS_FILE
from cspine_assets.defs.history import no_drop
from cspine_assets.defs.resources import StudyResource
from cspine_assets.defs.shown import inline_table
from cspine_assets.domain.home import Home
from cspine_assets.domain.tables.base import empty_frame
from cspine_assets.domain.tables.benchmark import History
from cspine_assets_tests.domain.evaluation.test_history import DICE, first, second


def light(home: Home, drop: float, too_much: float) -> dg.AssetCheckResult:
    """The light after an evaluation and one that is worse by so much in every exam, from 0.8 in the mean."""
    earlier = first()
    newer = second(earlier, {**DICE, "ensemble": [value - drop for value in DICE["ensemble"]]})
    home.lake.write(History, pd.concat([earlier, newer], ignore_index=True), partition="all", inputs="x")
    (home.root / SETTINGS_FILE).write_text(f"too_much: {too_much}\n")
    return no_drop(study=StudyResource(home=str(home.root)))


def test_a_change_within_noise_is_green(home: Home):
    result = light(home, drop=0.01, too_much=0.05)
    assert result.passed
    assert "drops" not in result.metadata


@pytest.mark.parametrize(
    ("too_much", "severity"), [(0.5, dg.AssetCheckSeverity.WARN), (0.05, dg.AssetCheckSeverity.ERROR)]
)
def test_a_drop_beyond_noise_is_yellow_and_one_beyond_the_limit_red(
    home: Home, too_much: float, severity: dg.AssetCheckSeverity
):
    result = light(home, drop=0.07, too_much=too_much)
    assert (result.passed, result.severity) == (False, severity)
    shown = [record.data for record in result.metadata["drops"].records]
    told = {row["structure"]: row for row in shown if row["metric"] == "dice_volumetric"}
    assert set(told) == {"vertebral_body", "intervertebral_disc", "macro"}
    row = told["macro"]
    assert (row["mean_before"], row["mean_now"], row["change"]) == ("0.8", "0.73", "-8.8%")
    assert {row["too_much"] for row in shown} == {"yes" if severity == dg.AssetCheckSeverity.ERROR else ""}
    assert f"{result.metadata['too_much_worse'].value} of them by more than {too_much:.0%}" in result.description


def test_a_table_without_rows_is_shown_with_its_columns():
    shown = inline_table(empty_frame(History))
    assert shown.records == []
    assert [column.name for column in shown.schema.columns] == list(empty_frame(History).columns)
