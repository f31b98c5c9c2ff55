"""The check of level names: it warns of contradicted words, and where no name is sure in most exams."""

import pandas as pd
import pytest

from cspine_assets.defs.evaluation import levels_named
from cspine_assets.defs.resources import StudyResource
from cspine_assets.domain.home import Home
from cspine_assets.domain.tables.evaluation import LevelMetrics
from cspine_assets_tests.domain.warehouse.rows import frames


def levels(unsure, flags):
    """Returns the levels of eight exams, the first ones in doubt, the first with flags."""
    frame = frames()[LevelMetrics].assign(severity="none", flags=None)
    exams = sorted(frame["exam_id"].unique())
    frame.loc[frame["exam_id"].isin(exams[:unsure]), "severity"] = "name_unsure"
    frame.loc[frame["exam_id"] == exams[0], "flags"] = flags
    return frame


@pytest.mark.parametrize(
    ("unsure", "flags", "passed"),
    [
        (0, None, True),
        (3, "top_body_not_like_c2", True),
        (5, "top_body_not_like_c2", False),
        (1, "mask_contradicts_stated_top", False),
    ],
)
def test_names_in_doubt_are_counted_and_the_way_to_decide_is_told(home: Home, unsure, flags, passed):
    for patient, frame in levels(unsure, flags).groupby("patient_id"):
        home.lake.write(LevelMetrics, pd.DataFrame(frame), partition=str(patient), inputs="x")
    result = levels_named(study=StudyResource(home=str(home.root)))
    assert (result.passed, result.metadata["exams_without_a_sure_name"].value) == (passed, unsure)
    assert ("cspine levels" in result.description) is (unsure > 0)
