"""What exams and patients are told apart by: sex, age band, race, manufacturer, field strength.

Add a stratum here when scores or splits should be looked at by it. Sharing patients out evenly is ``splits``;
comparing scores between groups is the evaluation wing's.
"""

from __future__ import annotations

import pandas as pd

from cspine_assets.domain.cohort.exams import nominal_field_strength
from cspine_assets.domain.tables.base import TEXT
from cspine_assets.domain.tables.group_names import AGE_BANDS, NOT_REPORTED


def exam_strata(exams: pd.DataFrame) -> pd.DataFrame:
    """Returns a row per exam: ``exam_id``, and its value of each stratum as text, missing where nobody knows.

    Race is as the release says it; groups too small for a verdict are for the reader of the numbers to see.

    Args:
        exams: Rows of ``cohort.exams``.
    """
    strata = pd.DataFrame({"exam_id": exams["exam_id"]})
    strata["sex"] = exams["sex"].replace(NOT_REPORTED, pd.NA)
    strata["age_band"] = _age_bands(exams)
    strata["race"] = exams["race"].replace(NOT_REPORTED, pd.NA)
    strata["manufacturer"] = exams["manufacturer"]
    strata["field_strength"] = nominal_field_strength(exams)
    return strata.astype(TEXT).reset_index(drop=True)


def patient_strata(exams: pd.DataFrame) -> pd.DataFrame:
    """Returns a row per patient (the index) with the values of each stratum, as text.

    Of a patient with several exams the first by name counts; race groups that are rare are pooled as
    ``other``.
    """
    first = exams.sort_values("exam_id").drop_duplicates("patient_id").set_index("patient_id")
    strata = pd.DataFrame(index=first.index)
    strata["sex"] = first["sex"]
    strata["age_band"] = _age_bands(first).fillna("missing")
    major = first["race"].isin(["White", "Black or African American"])
    strata["race_group"] = first["race"].where(major, "other or not reported")
    strata["manufacturer"] = first["manufacturer"].fillna("missing")
    strata["field_strength"] = nominal_field_strength(first).fillna("missing")
    several = exams.groupby("patient_id").size().reindex(first.index) > 1
    strata["exam_count"] = several.map({True: "several", False: "one"})
    return strata.astype(TEXT).sort_index()


def _age_bands(exams: pd.DataFrame) -> pd.Series[str]:
    """Returns the age band of each row, missing where no age is known."""
    bands = [_age_band(age, over) for age, over in zip(exams["age_years"], exams["age_over_89"], strict=True)]
    return pd.Series(bands, index=exams.index, dtype=TEXT)


def _age_band(age: float | None, over_89: bool) -> str | None:
    """Returns the band of an age; a censored age belongs to the oldest."""
    if over_89:
        return AGE_BANDS[-1][2]
    if pd.isna(age):
        return None
    return next((name for low, high, name in AGE_BANDS if low <= float(age or 0) < high), AGE_BANDS[-1][2])
