"""What exams are told apart by."""

import pandas as pd
import pytest

from cspine_assets.domain.cohort.strata import exam_strata


@pytest.fixture
def exams():
    return pd.DataFrame(
        {
            "exam_id": ["a", "b", "c", "d"],
            "sex": ["Female", "Male", "Not Reported", "Female"],
            "age_years": pd.array([39.5, 70, None, None], dtype="Float64"),
            "age_over_89": pd.array([False, False, True, False], dtype="boolean"),
            "race": ["White", "Asian", "Not Reported", "Other"],
            "manufacturer": ["GE", "Siemens", None, "GE"],
            "magnetic_field_strength_t": pd.array([1.494, 2.89, 3.0, None], dtype="Float64"),
        }
    )


def test_each_exam_has_its_strata_and_what_nobody_knows_is_missing(exams):
    strata = exam_strata(exams).fillna("-").set_index("exam_id")
    assert strata["age_band"].tolist() == ["under 40", "70 and over", "70 and over", "-"]
    assert strata["field_strength"].tolist() == ["1.5 T", "3 T", "3 T", "-"]
    assert strata["sex"].tolist() == ["Female", "Male", "-", "Female"]
    assert strata["race"].tolist() == ["White", "Asian", "-", "Other"]
    assert strata["manufacturer"].tolist() == ["GE", "Siemens", "-", "GE"]
