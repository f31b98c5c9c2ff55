"""Checks of a cohort against its own tables and files: each finds one kind of fault, and no other's consequences.

Add a check as a function and a row of ``CHECKS``. Everything is compared between tables that stand, so nothing is
read from the download here; who turns findings into a red or yellow light is not known either.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import pandas as pd

from cspine_assets.domain.cohort.compared import CohortTables
from cspine_assets.domain.cohort.findings import Finding, bare, findings_frame
from cspine_assets.domain.cohort.listed_files import (
    expected_files,
    files_on_both_sides,
    find_absent_files,
    find_checksum_differences,
    find_orphans,
    find_size_differences,
)
from cspine_assets.domain.cohort.names import IMAGE_ENDING, MASK_ENDING
from cspine_assets.domain.cohort.published import compare_with_published, recognize_release
from cspine_assets.domain.cohort.rejected_rows import TABLE_ROWS, keys_of
from cspine_assets.domain.tables.base import TEXT, validate
from cspine_assets.domain.tables.cohort import Integrity


@dataclass(frozen=True)
class Check:
    """One kind of fault.

    Attributes:
        name: Name of the check; its findings carry it.
        description: What holds when nothing is found.
        what: What is looked at, for people.
        count: How many of those there are.
        find: Finds the faults; None where they are found while the tables are joined.
        note: What else to say of what was seen.
    """

    name: str
    description: str
    what: str
    count: Callable[[CohortTables], int]
    find: Callable[[CohortTables], list[Finding]] | None = None
    note: Callable[[CohortTables], str | None] = lambda _tables: None


@dataclass(frozen=True)
class _Link:
    """A column whose values are keys of another table."""

    table: str
    row_key: str
    column: str
    parent: str


_NAMES: Final = {
    "cases": "midrc.cases",
    "studies": "midrc.imaging_studies",
    "series": "midrc.mr_series",
    "annotation_files": "midrc.annotation_files",
    "image_manifest": "midrc.image_manifest",
    "clinical_manifest": "midrc.clinical_manifest",
}
_LINKS: Final = (
    _Link("studies", "submitter_id", "case_ids", "cases"),
    _Link("studies", "submitter_id", "cases_submitter_id", "cases"),
    _Link("series", "submitter_id", "imaging_studies_submitter_id", "studies"),
    _Link("series", "submitter_id", "case_ids", "cases"),
    _Link("annotation_files", "submitter_id", "mr_series_files_submitter_id", "series"),
    _Link("annotation_files", "submitter_id", "case_ids", "cases"),
    _Link("image_manifest", "instance_uid", "series_uid", "series"),
    _Link("image_manifest", "instance_uid", "study_uid", "studies"),
    _Link("image_manifest", "instance_uid", "patient_id", "cases"),
)


def find_broken_links(tables: CohortTables) -> list[Finding]:
    """Finds rows that name a row of another table which is not there, along every join of the release."""
    findings = []
    for link in _LINKS:
        child, parent = getattr(tables, link.table), getattr(tables, link.parent)
        keys = bare(child[link.column])
        # a row that could not be used is told of as such, and not once more by every row that names it
        unusable = list(keys_of(tables.rejected, _NAMES[link.parent]))
        lost = keys.notna() & ~keys.isin(parent["submitter_id"]) & ~keys.isin(unusable)
        for row, key in zip(
            child.loc[lost, link.row_key].fillna("a row without an identifier"), keys[lost], strict=True
        ):
            message = (
                f"{_NAMES[link.table]} {row}: expected {link.column} to be a row of {_NAMES[link.parent]}, got {key}. "
                "Correct the table, or download the part structured again"
            )
            findings.append(Finding("foreign_keys", "blocks", _NAMES[link.table], str(row), message))
    return findings


def find_unpaired_files(tables: CohortTables) -> list[Finding]:
    """Finds exams that lack a scan or a mask among the files the release lists."""
    exams = tables.exams
    return [
        Finding(
            "image_and_mask",
            "blocks" if kind == "image" else "warns",
            "midrc.annotation_files",
            f"{exam_id}{IMAGE_ENDING if kind == 'image' else MASK_ENDING}",
            f"exam {exam_id}: expected a scan and a mask, the release lists no "
            + ("scan; the volume can only come from DICOM" if kind == "image" else "mask to refer to"),
            exam_id,
        )
        for kind in ("image", "mask")
        for exam_id in exams.loc[exams[f"{kind}_file_name"].isna(), "exam_id"]
    ]


def find_instance_differences(tables: CohortTables) -> list[Finding]:
    """Finds series whose number of instances is not that of their manifest rows, and a differing sum.

    Where the manifest does not name series, or names one that is not there (a broken link, found as such), only the
    sum is compared.
    """
    findings = []
    manifest = tables.image_manifest
    if {row.table_name for row in tables.rejected} & {"midrc.image_manifest", "midrc.mr_series"}:
        return []  # the sums differ by the rows that could not be used
    expected = tables.series.set_index("submitter_id")["number_of_instances"]
    if len(manifest) != int(expected.sum()):
        message = (
            f"expected {int(expected.sum())} rows, the sum of midrc.mr_series.number_of_instances, got "
            f"{len(manifest)}. Download the part structured again"
        )
        findings.append(Finding("instance_sums", "blocks", "midrc.image_manifest", "all rows", message))
    named = manifest["series_uid"].dropna()
    if len(named) and named.isin(expected.index).all():
        both = pd.DataFrame({"expected": expected, "listed": named.value_counts()}).fillna(0).astype("int64")
        for uid, row in both[both["expected"] != both["listed"]].iterrows():
            message = f"series {uid}: expected {row['expected']} instances, the manifest lists {row['listed']}"
            findings.append(Finding("instance_sums", "blocks", "midrc.image_manifest", str(uid), message))
    return findings


def find_leaks(splits: pd.DataFrame) -> pd.DataFrame:
    """Returns patients on two sides: test and development, two folds, or unannotated and any other."""
    sides = splits.assign(side=splits["part"] + splits["fold"].astype(TEXT).radd(" fold ").fillna(""))
    sides = sides[sides["part"] != "withheld"]
    several = sides.groupby("patient_id")["side"].nunique()
    findings = []
    for patient_id in several.index[several > 1]:
        found = ", ".join(sorted(sides.loc[sides["patient_id"] == patient_id, "side"].unique()))
        message = f"patient {patient_id}: expected one side, found {found}. Make the split again"
        findings.append(Finding("leaks", "blocks", "cohort.splits", str(patient_id), message))
    return findings_frame(findings)


CHECKS: Final[tuple[Check, ...]] = (
    Check(
        TABLE_ROWS,
        "Every row of the release's tables can be used.",
        "rows",
        lambda tables: sum(len(getattr(tables, name)) for name in _NAMES) + len(tables.rejected),
    ),
    Check(
        "foreign_keys",
        "Every row that names a row of another table finds it, along every join, and every series belongs to an exam.",
        "keys",
        lambda tables: sum(int(getattr(tables, link.table)[link.column].notna().sum()) for link in _LINKS),
        find_broken_links,
    ),
    Check(
        "file_names",
        "Shipped files are named after their exam, and each is listed once.",
        "file names",
        lambda tables: len(tables.annotation_files),
    ),
    Check("image_and_mask", "Every exam has a scan and a mask.", "exams", lambda t: len(t.exams), find_unpaired_files),
    Check(
        "instance_sums",
        "The sum of number_of_instances is the number of manifest rows, series by series.",
        "instances",
        lambda tables: int(tables.series["number_of_instances"].sum()),
        find_instance_differences,
    ),
    Check(
        "files_present",
        "Every file that a table lists is there and can be read.",
        "listed files",
        lambda tables: len(expected_files(tables)),
        find_absent_files,
    ),
    Check(
        "file_sizes",
        "Every file has the size that its table gives.",
        "files with a size",
        lambda tables: int(files_on_both_sides(tables)["size_expected"].notna().sum()),
        find_size_differences,
    ),
    Check(
        "file_checksums",
        "Every file and instance has the MD5 that its table gives.",
        "files and instances with an MD5",
        lambda tables: int(tables.files["md5"].notna().sum()),
        find_checksum_differences,
    ),
    Check(
        "orphans",
        "Every scan, mask and series on the disk is listed by a table.",
        "scans, masks and series on the disk",
        lambda tables: int(tables.files["kind"].isin(["image", "mask", "series"]).sum()),
        find_orphans,
    ),
    Check(
        "manufacturers",
        "Every manufacturer has one spelling that is known.",
        "exams",
        lambda tables: len(tables.exams),
    ),
    Check(
        "provenance",
        "The sources that say who drew the masks agree, name exams that are there, and leave none unknown.",
        "exams",
        lambda tables: len(tables.exams),
    ),
    Check(
        "published_counts",
        "The counts are those published; asked only of the real release, which is recognized by its contents.",
        "patients",
        lambda tables: len(tables.cases),
        lambda tables: compare_with_published(
            tables.cases,
            tables.studies,
            tables.series,
            tables.annotation_files,
            tables.image_manifest,
            tables.files,
            tables.provenance,
        ),
        lambda tables: (
            recognize_release(tables.cases, tables.series, tables.annotation_files, tables.files).description
        ),
    ),
)
"""Every check, in the order in which a person looks at them."""


def examine(tables: CohortTables) -> pd.DataFrame:
    """Returns rows of ``cohort.findings`` of all checks that compare tables; those made by joins come beside them."""
    return findings_frame(finding for check in CHECKS if check.find is not None for finding in check.find(tables))


def summarize(tables: CohortTables, findings: pd.DataFrame) -> pd.DataFrame:
    """Returns rows of ``cohort.integrity``: what each check looked at, and how much it found."""
    counts = findings.groupby(["check_name", "severity"]).size().to_dict()
    rows = [
        {
            "check_name": check.name,
            "description": check.description,
            "checked_count": check.count(tables),
            "checked_what": check.what,
            "blocking_count": counts.get((check.name, "blocks"), 0),
            "warning_count": counts.get((check.name, "warns"), 0),
            "note": check.note(tables),
        }
        for check in CHECKS
    ]
    return validate(Integrity, pd.DataFrame(rows))
