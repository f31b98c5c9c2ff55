"""Patients and exams: the release's tables joined into one row each, and what would not join.

Add a column when the platform needs more of an exam. Every link is checked in both directions and what is
left out is named; reading the tables and judging the masks happens elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import pandas as pd

from cspine_assets.domain.cohort.findings import Finding, bare, findings_frame
from cspine_assets.domain.cohort.names import IMAGE_ENDING, MASK_ENDING, exam_ids, file_names
from cspine_assets.domain.cohort.rejected_rows import TABLE_ROWS, RejectedRow, keys_of, row_findings
from cspine_assets.domain.tables.base import TEXT, empty_frame, validate
from cspine_assets.domain.tables.cohort import Exams, Patients
from cspine_assets.domain.tables.group_names import NOMINAL_PER_TESLA, NOT_REPORTED

_EXAM_ID = re.compile(r"^(?P<patient_id>.+)_Study-MR-(?P<study_number>\d+)_Series-(?P<series_number>\d+)$")
_FILES = "midrc.annotation_files"
_MANUFACTURERS: Final = (
    (re.compile(r"siemens", re.IGNORECASE), "Siemens"),
    (re.compile(r"^ge\b|general electric", re.IGNORECASE), "GE"),
    (re.compile(r"philips", re.IGNORECASE), "Philips"),
    (re.compile(r"canon|toshiba", re.IGNORECASE), "Canon"),
)
_FROM_SERIES: Final = {
    "number_of_instances": "number_of_instances",
    "manufacturer_raw": "manufacturer",
    "model": "manufacturer_model_name",
    "magnetic_field_strength_t": "magnetic_field_strength",
    "acquisition_type": "mr_acquisition_type",
    "echo_time_ms": "echo_time",
    "repetition_time_ms": "repetition_time",
    "echo_train_length": "echo_train_length",
    "pixel_spacing_mm": "pixel_spacing",
    "slice_thickness_mm": "slice_thickness",
    "slice_spacing_mm": "spacing_between_slices",
}


@dataclass(frozen=True)
class ExamsBuilt:
    """Exams whose links all hold, and findings about all others.

    Attributes:
        frame: Rows of ``cohort.exams``, sorted by exam.
        findings: Rows of ``cohort.findings``; a finding that blocks and names an exam is why it has no row.
    """

    frame: pd.DataFrame
    findings: pd.DataFrame


def build_exams(
    cases: pd.DataFrame,
    studies: pd.DataFrame,
    series: pd.DataFrame,
    annotation_files: pd.DataFrame,
    rejected: Sequence[RejectedRow] = (),
) -> ExamsBuilt:
    """Joins the release's tables to one row per exam.

    An exam is a stem among the shipped file names, ``{patient}_Study-MR-{n}_Series-{m}``; scan and mask share
    it.

    Args:
        cases: Rows of ``midrc.cases``.
        studies: Rows of ``midrc.imaging_studies``.
        series: Rows of ``midrc.mr_series``.
        annotation_files: Rows of ``midrc.annotation_files``.
        rejected: Rows of these and the other tables that could not be used; an exam that needs one is left out.
    """
    findings: list[Finding] = [*row_findings(rejected)]
    exams = _exams_of_files(annotation_files, findings)
    if exams.empty:
        findings += _unused("midrc.mr_series", series["submitter_id"], frozenset())
        return ExamsBuilt(empty_frame(Exams), findings_frame(findings))
    exams = _linked(exams, cases, studies, series, findings, rejected)
    findings += _unused("midrc.mr_series", series["submitter_id"], set(exams["series_uid"]))
    if not keys_of(rejected, "midrc.mr_series"):  # a series that cannot be used does not say its study
        findings += _unused("midrc.imaging_studies", studies["submitter_id"], set(exams["study_uid"]))
    blocked = {finding.exam_id for finding in findings if finding.severity == "blocks"}
    whole = exams[~exams["exam_id"].isin(blocked)]
    frame = _described(whole, cases, studies, series)
    findings += _unknown_manufacturers(frame)
    return ExamsBuilt(frame, findings_frame(findings))


def build_patients(cases: pd.DataFrame, exams: pd.DataFrame) -> pd.DataFrame:
    """Returns rows of ``cohort.patients``: every case, those without an exam included, sorted by patient."""
    counts = exams.groupby("patient_id").size()
    frame = pd.DataFrame({"patient_id": cases["submitter_id"]})
    for name in ("sex", "race", "ethnicity"):
        frame[name] = cases[name].fillna(NOT_REPORTED)
    frame["age_years"] = cases["age_at_index"]
    frame["age_over_89"] = (cases["age_at_index_gt89"] == "Yes").fillna(False)
    frame["exam_count"] = frame["patient_id"].map(counts).fillna(0).astype("Int64")
    return validate(Patients, frame.sort_values("patient_id"))


def normalize_manufacturer(raw: str) -> str | None:
    """Returns a manufacturer in one spelling, or None for one that is not known."""
    text = raw.replace("_", " ").strip()
    return next((name for pattern, name in _MANUFACTURERS if pattern.search(text)), None)


def nominal_tesla(tesla: pd.Series[float]) -> pd.Series[float]:
    """Returns the field strength that a scanner is sold as: the nearest half tesla.

    Scanners write the strength of their own magnet (Siemens 2.89 T and 1.494 T), and groups are those of the trade.
    """
    return (tesla.astype("float64") * NOMINAL_PER_TESLA).round() / NOMINAL_PER_TESLA


def nominal_field_strength(exams: pd.DataFrame) -> pd.Series[str]:
    """Returns what everybody calls the field strength, such as ``3 T`` where the scanner writes 2.89."""
    nominal = nominal_tesla(exams["magnetic_field_strength_t"])
    named: pd.Series[str] = nominal.map("{:g} T".format, na_action="ignore").astype(TEXT)
    return named


def _exams_of_files(files: pd.DataFrame, findings: list[Finding]) -> pd.DataFrame:
    """Returns a row per stem: ids from the name, scan and mask, and the series they name."""
    table = files.sort_values("submitter_id").reset_index(drop=True)
    table["file_name"] = file_names(table["file_name"])
    table["is_mask"] = table["file_name"].str.endswith(MASK_ENDING)
    table["exam_id"] = exam_ids(table["file_name"])
    ids = table["exam_id"].str.extract(_EXAM_ID)
    strange = ids["patient_id"].isna() | ~table["file_name"].str.endswith(IMAGE_ENDING)
    for name in table.loc[strange, "file_name"]:
        message = f"expected a name like 593973-000001_Study-MR-1_Series-1.nii.gz, got {name}; it has no exam"
        findings.append(Finding("file_names", "blocks", _FILES, name, message))
    table = table.join(ids)[~strange]
    doubled = table.duplicated(["exam_id", "is_mask"], keep=False)
    for exam_id, name in sorted(set(zip(table.loc[doubled, "exam_id"], table.loc[doubled, "file_name"], strict=True))):
        message = f"expected {name} once in {_FILES}, got several rows; the exam is left out. Remove the wrong row"
        findings.append(Finding("file_names", "blocks", _FILES, name, message, exam_id))
    once = table.drop_duplicates(["exam_id", "is_mask"])
    exams = once.drop_duplicates("exam_id")[["exam_id", *ids.columns]]
    for kind, part in (("image", once[~once["is_mask"]]), ("mask", once[once["is_mask"]])):
        named = part.rename(
            columns={
                "file_name": f"{kind}_file_name",
                "file_size": f"{kind}_size_bytes",
                "md5sum": f"{kind}_md5",
                "mr_series_files_submitter_id": f"{kind}_series",
            }
        )
        columns = ["exam_id", *(f"{kind}_{n}" for n in ("file_name", "size_bytes", "md5", "series"))]
        exams = exams.merge(named[columns], on="exam_id", how="left", validate="one_to_one")
    return exams.sort_values("exam_id").reset_index(drop=True)


def _linked(
    exams: pd.DataFrame,
    cases: pd.DataFrame,
    studies: pd.DataFrame,
    series: pd.DataFrame,
    findings: list[Finding],
    rejected: Sequence[RejectedRow],
) -> pd.DataFrame:
    """Follows file -> series -> study -> case, checks each link, adds ``series_uid`` and ``study_uid``."""
    exams = exams.copy()
    exams["series_uid"] = exams["image_series"].fillna(exams["mask_series"])
    differ = exams["mask_series"].notna() & (exams["mask_series"] != exams["series_uid"])
    _add(findings, exams[differ], "scan and mask name one series", "mask_series")
    by_series = series.set_index("submitter_id")
    unknown = ~exams["series_uid"].isin(by_series.index)
    _add_lost(findings, exams[unknown], "midrc.mr_series", "series_uid", rejected)
    shared = exams["series_uid"].notna() & exams.duplicated("series_uid", keep=False)
    _add(findings, exams[shared], "a series of one exam alone", "series_uid")
    exams["study_uid"] = exams["series_uid"].map(by_series["imaging_studies_submitter_id"])
    by_study = studies.set_index("submitter_id")
    unknown = exams["study_uid"].notna() & ~exams["study_uid"].isin(by_study.index)
    _add_lost(findings, exams[unknown], "midrc.imaging_studies", "study_uid", rejected)
    exams["series_case"] = exams["series_uid"].map(bare(by_series["case_ids"]))
    exams["study_case"] = exams["study_uid"].map(bare(by_study["case_ids"]))
    for column in ("series_case", "study_case"):
        other = exams[column].notna() & (exams[column] != exams["patient_id"])
        _add(findings, exams[other], "the patient of the file name", column)
    unknown = ~exams["patient_id"].isin(cases["submitter_id"])
    _add_lost(findings, exams[unknown], "midrc.cases", "patient_id", rejected)
    return exams


def _add_lost(
    findings: list[Finding], rows: pd.DataFrame, table: str, column: str, rejected: Sequence[RejectedRow]
) -> None:
    """Adds a finding for each exam given: a row of a table that it needs is not there, or could not be used."""
    unusable = keys_of(rejected, table)
    known = rows[column].isin(list(unusable))
    for exam_id, key in zip(rows.loc[known, "exam_id"], rows.loc[known, column], strict=True):
        row = unusable[key]
        message = f"exam {exam_id}: its row of {table} cannot be used ({row.place}: {row.fault}); left out"
        findings.append(Finding(TABLE_ROWS, "blocks", table, row.place, f"{message}. Correct the table", exam_id))
    _add(findings, rows[~known], f"a row of {table}", column)


def _add(findings: list[Finding], rows: pd.DataFrame, expected: str, column: str) -> None:
    """Adds a finding for each exam given: a link of it does not hold, so it is left out."""
    for exam_id, value in zip(rows["exam_id"], rows[column], strict=True):
        got = "nothing" if pd.isna(value) else str(value)
        message = f"exam {exam_id}: expected {expected}, got {got} ({column}); left out. Correct the table"
        findings.append(Finding("foreign_keys", "blocks", _FILES, got, message, exam_id))


def _unused(table: str, keys: Iterable[str], used: Iterable[str]) -> list[Finding]:
    """Returns a finding for each row that no exam refers to."""
    return [
        Finding("foreign_keys", "warns", table, key, f"{table}: {key} belongs to no exam; its files are not listed")
        for key in sorted(set(keys) - set(used))
    ]


def _described(exams: pd.DataFrame, cases: pd.DataFrame, studies: pd.DataFrame, series: pd.DataFrame) -> pd.DataFrame:
    """Adds demographics and parameters to exams whose links hold."""
    case = cases.set_index("submitter_id").loc[exams["patient_id"]].reset_index(drop=True)
    study = studies.set_index("submitter_id").loc[exams["study_uid"]].reset_index(drop=True)
    scan = series.set_index("submitter_id").loc[exams["series_uid"]].reset_index(drop=True)
    frame = exams.drop(columns=["image_series", "mask_series", "series_case", "study_case"]).reset_index(drop=True)
    frame[["study_number", "series_number"]] = frame[["study_number", "series_number"]].astype("Int64")
    for name in ("sex", "race", "ethnicity"):
        frame[name] = case[name].fillna(NOT_REPORTED)
    over = (study["age_at_imaging_gt89"] == "Yes").fillna(False) | (case["age_at_index_gt89"] == "Yes").fillna(False)
    frame["age_over_89"] = over & study["age_at_imaging"].isna()
    # where the study gives no age, that at the index event is the nearest there is
    frame["age_years"] = study["age_at_imaging"].fillna(case["age_at_index"]).mask(frame["age_over_89"])
    for name, origin in _FROM_SERIES.items():
        frame[name] = scan[origin]
    raw = frame["manufacturer_raw"]
    frame["manufacturer"] = raw.map(normalize_manufacturer, na_action="ignore").astype(TEXT).fillna(raw)
    frame["study_year"] = study["study_year"]
    return validate(Exams, frame)


def _unknown_manufacturers(exams: pd.DataFrame) -> list[Finding]:
    """Returns a finding per manufacturer without a normal spelling."""
    raws = sorted(set(exams["manufacturer_raw"].dropna()))
    return [
        Finding(
            "manufacturers",
            "warns",
            "midrc.mr_series",
            raw,
            f"manufacturer {raw!r} has no other spelling; kept",
        )
        for raw in raws
        if normalize_manufacturer(raw) is None
    ]
