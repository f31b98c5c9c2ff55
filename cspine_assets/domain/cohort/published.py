"""The published release's own counts, and how it is told from any other cohort.

Change a number when a corrected count is published. Only the release itself is held to them: a part of it, a later
one, or a synthetic cohort has counts of its own and no fault in that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import pandas as pd

from cspine_assets.domain.cohort.exams import nominal_tesla
from cspine_assets.domain.cohort.findings import Finding

_PATIENT: Final = r"593973-\d{6}"
_SYNTHETIC: Final = "dg.PHANTOM/"
_THREE_D_PATIENT, _THREE_D_INSTANCES = "593973-001216", 56
"""The one 3-D acquisition of the release; a synthetic or partial cohort does not have it just so."""
_NEARLY: Final = 0.9
"""Share of the published patients from which on a cohort is meant to be the release, whole."""

PUBLISHED_COUNTS: Final[dict[str, int]] = {
    "patients": 1232,
    "exams": 1255,
    "series": 1255,
    "images and masks": 2510,
    "instances": 19133,
    "number_of_instances, summed": 19133,
    "sex Female": 675,
    "sex Male": 557,
    "race White": 795,
    "race Black or African American": 342,
    "race Not Reported": 33,
    "race Other": 28,
    "race Asian": 24,
    "race American Indian or Alaska Native": 9,
    "race Native Hawaiian or other Pacific Islander": 1,
    "ethnicity Hispanic or Latino": 58,
    "ethnicity Not Hispanic or Latino": 1141,
    "ethnicity Not Reported": 33,
    "patients over 89": 12,
    "patients with an age": 1220,
    "Siemens exams": 789,
    "GE exams": 466,
    "1.5 T exams": 747,
    "3 T exams": 508,
}
"""Sci Data 12:1695 and the dataset's own notebook."""

PUBLISHED_MEANS: Final[dict[str, float]] = {"age, mean": 54.5156, "age, SD (n-1)": 16.3665}
"""Years, over the patients whose age is not withheld, to the four decimals that the notebook printed."""

PUBLISHED_PROVENANCE: Final[dict[str, int]] = {"expert masks": 491, "model masks": 764}
"""Masks drawn by experts and by the authors' model. No table of the release of 2025-03-21 tells them apart, so they
are asked only of a cohort for which a source does."""


@dataclass(frozen=True)
class Release:
    """Which release a cohort is.

    Attributes:
        is_published: Whether the published counts are asked of it.
        description: What it was taken for, and by which of its contents.
    """

    is_published: bool
    description: str


def recognize_release(
    cases: pd.DataFrame, series: pd.DataFrame, annotation_files: pd.DataFrame, files: pd.DataFrame
) -> Release:
    """Says whether a cohort is the published release, by its contents: no name of a folder or file decides.

    It is when no identifier is of a synthetic cohort, the patients are of the study's site and nearly as many as
    published, and the one 3-D acquisition is there as published.
    """
    dates = files.loc[files["kind"] == "table", "name"].str.extract(r"(?<!\d)(\d{8})(?!\d)")[0].dropna()
    dated = f"tables of {', '.join(sorted(set(dates)))}" if len(dates) else "tables without a date"
    if annotation_files["object_id"].str.startswith(_SYNTHETIC).fillna(False).any():
        return Release(False, f"a synthetic cohort ({dated}): its identifiers begin with {_SYNTHETIC}")
    foreign = int((~cases["submitter_id"].str.fullmatch(_PATIENT)).sum())
    of_patient = series["case_ids"].str.contains(_THREE_D_PATIENT, regex=False).fillna(False)
    three_d = bool((series.loc[of_patient, "number_of_instances"] == _THREE_D_INSTANCES).any())
    least = int(_NEARLY * PUBLISHED_COUNTS["patients"])
    marks = (
        f"{foreign} of {len(cases)} patients are of another site than 593973, "
        f"the 3-D exam of {_THREE_D_PATIENT} is {'there' if three_d else 'not there'}"
    )
    if foreign == 0 and len(cases) >= least and three_d:
        return Release(True, f"the published release ({dated}): {marks}")
    return Release(False, f"not the published release ({dated}): {marks}, {least} patients or more were expected")


def compare_with_published(
    cases: pd.DataFrame,
    studies: pd.DataFrame,
    series: pd.DataFrame,
    annotation_files: pd.DataFrame,
    image_manifest: pd.DataFrame,
    files: pd.DataFrame,
    provenance: pd.DataFrame,
) -> list[Finding]:
    """Finds counts that are not those published; none of a cohort that is not the published release.

    Args:
        cases: Rows of ``midrc.cases``.
        studies: Rows of ``midrc.imaging_studies``.
        series: Rows of ``midrc.mr_series``.
        annotation_files: Rows of ``midrc.annotation_files``.
        image_manifest: Rows of ``midrc.image_manifest``.
        files: Rows of ``midrc.files``.
        provenance: Rows of ``cohort.annotation_provenance``; masks of whom nothing is known are not counted.
    """
    if not recognize_release(cases, series, annotation_files, files).is_published:
        return []
    found = {
        **count_release(cases, studies, series, annotation_files, image_manifest),
        **count_provenance(provenance),
    }
    ages = cases["age_at_index"].dropna().astype("float64")
    means = {"age, mean": round(float(ages.mean()), 4), "age, SD (n-1)": round(float(ages.std(ddof=1)), 4)}
    expected: dict[str, float] = {**PUBLISHED_COUNTS, **PUBLISHED_PROVENANCE, **PUBLISHED_MEANS}
    return [
        Finding(
            "published_counts",
            "warns",
            "midrc",
            name,
            f"{name}: expected {expected[name]:g} as published, got {value:g}. Is a part missing, the release newer?",
        )
        for name, value in {**found, **means}.items()
        if value != expected[name]
    ]


def count_release(
    cases: pd.DataFrame,
    studies: pd.DataFrame,
    series: pd.DataFrame,
    annotation_files: pd.DataFrame,
    image_manifest: pd.DataFrame,
) -> dict[str, int]:
    """Returns what ``PUBLISHED_COUNTS`` holds, counted in the tables of a cohort."""
    counts = {
        "patients": len(cases),
        "exams": len(studies),
        "series": len(series),
        "images and masks": len(annotation_files),
        "instances": len(image_manifest),
        "number_of_instances, summed": int(series["number_of_instances"].sum()),
        "patients over 89": int((cases["age_at_index_gt89"] == "Yes").sum()),
        "patients with an age": int(cases["age_at_index"].notna().sum()),
        "Siemens exams": int((series["manufacturer"].str.lower() == "siemens").sum()),
        "GE exams": int(series["manufacturer"].str.startswith("GE").sum()),
        # scanners write 1.494 or 2.89 for what everybody calls 1.5 and 3 T
        **{
            f"{tesla:g} T exams": int((nominal_tesla(series["magnetic_field_strength"]) == tesla).sum())
            for tesla in (1.5, 3.0)
        },
    }
    for name in PUBLISHED_COUNTS:
        column, _, value = name.partition(" ")
        if column in ("sex", "race", "ethnicity"):
            counts[name] = int((cases[column] == value).sum())
    return counts


def count_provenance(provenance: pd.DataFrame) -> dict[str, int]:
    """Returns what ``PUBLISHED_PROVENANCE`` holds, counted; empty where nothing says who drew any mask."""
    counts = provenance["provenance"].value_counts()
    known = {f"{name} masks": int(counts.get(name, 0)) for name in ("expert", "model")}
    return known if any(known.values()) else {}
