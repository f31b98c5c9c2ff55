"""Summaries of a cohort: the published notebook's counts and means, and by who drew the masks.

Add a variable to the lists below. A summary counts what the tables say; comparing parts of a split is
``splits``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pandas as pd

from cspine_assets.domain.tables.base import validate
from cspine_assets.domain.tables.cohort import PROVENANCES, Demographics, ImagingParameters

DEMOGRAPHIC_CATEGORIES: Final = ("sex", "race", "ethnicity", "age_over_89")
DEMOGRAPHIC_NUMBERS: Final = ("age_years",)
IMAGING_CATEGORIES: Final = (
    "manufacturer",
    "model",
    "magnetic_field_strength_t",
    "acquisition_type",
    "study_year",
)
IMAGING_NUMBERS: Final = (
    "number_of_instances",
    "echo_time_ms",
    "repetition_time_ms",
    "echo_train_length",
    "pixel_spacing_mm",
    "slice_thickness_mm",
    "slice_spacing_mm",
)


def build_demographics(patients: pd.DataFrame, provenance: pd.DataFrame) -> pd.DataFrame:
    """Returns rows of ``cohort.demographics``: of all patients, and of those with a mask of each provenance.

    Ages are those at the index event, over patients whose age is not withheld, as published.

    Args:
        patients: Rows of ``cohort.patients``.
        provenance: Rows of ``cohort.annotation_provenance``.
    """
    rows: list[dict[str, object]] = []
    for name in ("all", *PROVENANCES):
        ids = provenance.loc[provenance["provenance"] == name, "patient_id"]
        group = patients if name == "all" else patients[patients["patient_id"].isin(ids)]
        summaries = [*_counted(group, DEMOGRAPHIC_CATEGORIES), *_measured(group, DEMOGRAPHIC_NUMBERS)]
        for row in summaries:
            kept = {key: value for key, value in row.items() if key not in ("minimum", "median", "maximum")}
            kept["patient_count"] = kept.pop("count")
            rows.append({"provenance": name, **kept})
    columns = [
        "provenance",
        "variable",
        "value",
        "patient_count",
        "share",
        "missing_count",
        "mean",
        "sd_sample",
    ]
    return validate(Demographics, pd.DataFrame(rows, columns=columns))


def build_imaging_parameters(exams: pd.DataFrame, provenance: pd.DataFrame) -> pd.DataFrame:
    """Returns rows of ``cohort.imaging_parameters``: over all exams, and over those of each provenance.

    Args:
        exams: Rows of ``cohort.exams``.
        provenance: Rows of ``cohort.annotation_provenance``.
    """
    rows: list[dict[str, object]] = []
    for name in ("all", *PROVENANCES):
        ids = provenance.loc[provenance["provenance"] == name, "exam_id"]
        group = exams if name == "all" else exams[exams["exam_id"].isin(ids)]
        for row in [*_counted(group, IMAGING_CATEGORIES), *_measured(group, IMAGING_NUMBERS)]:
            rows.append({"provenance": name, "parameter": row.pop("variable"), "exam_count": row.pop("count"), **row})
    columns = ["provenance", "parameter", "value", "exam_count", "share", "missing_count"]
    columns += ["mean", "sd_sample", "minimum", "median", "maximum"]
    return validate(ImagingParameters, pd.DataFrame(rows, columns=columns))


def _counted(group: pd.DataFrame, names: tuple[str, ...]) -> Iterator[dict[str, object]]:
    """Gives a row per value of each category, most frequent first; a group without anybody has none."""
    for name in names:
        values = group[name].dropna().map(_as_text)
        counts = values.value_counts().sort_index().sort_values(ascending=False, kind="stable")
        for value, count in counts.items():
            yield {
                "variable": name,
                "value": value,
                "count": int(count),
                "share": int(count) / len(group),
                "missing_count": len(group) - len(values),
                "mean": None,
                "sd_sample": None,
                "minimum": None,
                "median": None,
                "maximum": None,
            }


def _as_text(value: object) -> str:
    """Returns a category's value as people write it: Yes for true, 3 for 3.0."""
    if isinstance(value, bool):
        return "Yes" if value else "No"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _measured(group: pd.DataFrame, names: tuple[str, ...]) -> Iterator[dict[str, object]]:
    """Gives a row per number: what is missing is counted, not imputed."""
    for name in names:
        values = group[name].dropna().astype("float64")
        if group.empty:
            continue
        yield {
            "variable": name,
            "value": "all",
            "count": len(values),
            "share": len(values) / len(group),
            "missing_count": len(group) - len(values),
            "mean": values.mean() if len(values) else None,
            "sd_sample": values.std(ddof=1) if len(values) > 1 else None,
            "minimum": values.min() if len(values) else None,
            "median": values.median() if len(values) else None,
            "maximum": values.max() if len(values) else None,
        }
