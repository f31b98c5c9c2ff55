"""Summaries of a cohort: the published notebook's counts and means, over all and group by group.

Add a variable to the lists below. A summary counts what the tables say; comparing parts of a split is
``splits``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import pandas as pd

from cspine_assets.domain.cohort.exams import nominal_field_strength
from cspine_assets.domain.tables.base import Table, column_names, validate
from cspine_assets.domain.tables.cohort import Demographics, ImagingParameters
from cspine_assets.domain.tables.group_names import ALL

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


def build_demographics(
    patients: pd.DataFrame, exams: pd.DataFrame, provenance: pd.DataFrame, splits: pd.DataFrame
) -> pd.DataFrame:
    """Returns rows of ``cohort.demographics``: of all patients, and of those with an exam in each group.

    Ages are those at the index event, over patients whose age is not withheld, as published.

    Args:
        patients: Rows of ``cohort.patients``.
        exams: Rows of ``cohort.exams``.
        provenance: Rows of ``cohort.annotation_provenance``.
        splits: Rows of ``cohort.splits``.
    """
    rows: list[dict[str, object]] = []
    for group in _groups(exams, provenance, splits):
        of_group = (
            patients if group.grouped_by == "all" else patients[patients["patient_id"].isin(group.exams["patient_id"])]
        )
        for row in [*_counted(of_group, DEMOGRAPHIC_CATEGORIES), *_measured(of_group, DEMOGRAPHIC_NUMBERS)]:
            kept = {key: value for key, value in row.items() if key not in ("minimum", "median", "maximum")}
            rows.append({**group.names, **kept, "patient_count": kept.pop("count")})
    return _as_table(Demographics, rows)


def build_imaging_parameters(exams: pd.DataFrame, provenance: pd.DataFrame, splits: pd.DataFrame) -> pd.DataFrame:
    """Returns rows of ``cohort.imaging_parameters``: over all exams, and over those of each group.

    Args:
        exams: Rows of ``cohort.exams``.
        provenance: Rows of ``cohort.annotation_provenance``.
        splits: Rows of ``cohort.splits``.
    """
    rows: list[dict[str, object]] = []
    for group in _groups(exams, provenance, splits):
        for row in [*_counted(group.exams, IMAGING_CATEGORIES), *_measured(group.exams, IMAGING_NUMBERS)]:
            rows.append({**group.names, **row, "parameter": row["variable"], "exam_count": row["count"]})
    return _as_table(ImagingParameters, rows)


@dataclass(frozen=True)
class _Group:
    """Exams that are summed up together."""

    grouped_by: str
    value: str
    exams: pd.DataFrame

    @property
    def names(self) -> dict[str, object]:
        return {"grouped_by": self.grouped_by, "group_value": self.value}


def _groups(exams: pd.DataFrame, provenance: pd.DataFrame, splits: pd.DataFrame) -> Iterator[_Group]:
    """Gives all exams, then those of each value that groups are told by; a missing value is no group."""
    yield _Group(ALL, ALL, exams)
    told_by = {
        "provenance": exams["exam_id"].map(provenance.set_index("exam_id")["provenance"]),
        "part": exams["exam_id"].map(splits.set_index("exam_id")["part"]),
        "sex": exams["sex"],
        "manufacturer": exams["manufacturer"],
        "field_strength": nominal_field_strength(exams),
    }
    for grouped_by, values in told_by.items():
        for value in sorted(values.dropna().unique()):
            yield _Group(grouped_by, str(value), exams[(values == value).fillna(False)])


def _as_table(table: type[Table], rows: list[dict[str, object]]) -> pd.DataFrame:
    """Returns rows with the described columns alone."""
    return validate(table, pd.DataFrame(rows, columns=column_names(table)))


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
