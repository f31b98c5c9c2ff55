"""Checks of a cohort against its own tables and files: each finds one kind of fault, and no other's consequences.

Add a check as a function and a row of ``CHECKS``. Everything is compared between tables that stand, so nothing is
read from the download here; who turns findings into a red or yellow light is not known either.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import pandas as pd

from cspine_assets.domain.cohort.findings import Finding, bare, findings_frame
from cspine_assets.domain.cohort.names import IMAGE_ENDING, MASK_ENDING, exam_ids, file_names
from cspine_assets.domain.cohort.published import compare_with_published, recognize_release
from cspine_assets.domain.tables.base import validate
from cspine_assets.domain.tables.cohort import Integrity

MANIFEST_COLUMNS: Final = ("row", "instance_uid", "series_uid", "study_uid", "patient_id", "file_name", "md5sum")
"""What the checks look at in ``midrc.image_manifest``, which may have a million rows."""


@dataclass(frozen=True, kw_only=True)
class CohortTables:
    """The tables that are held against each other; the six of the release, its files, and what was made of them.

    Of the image manifest the ``MANIFEST_COLUMNS`` are enough.
    """

    cases: pd.DataFrame
    studies: pd.DataFrame
    series: pd.DataFrame
    annotation_files: pd.DataFrame
    image_manifest: pd.DataFrame
    clinical_manifest: pd.DataFrame
    files: pd.DataFrame
    exams: pd.DataFrame
    provenance: pd.DataFrame


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
        lost = keys.notna() & ~keys.isin(parent["submitter_id"])
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


def find_absent_files(tables: CohortTables) -> list[Finding]:
    """Finds files that the tables list and that are not there, or cannot be read.

    A part that was not downloaded at all is one finding. A missing scan only warns where the series' DICOM instances
    are there, and the other way round: either gives the volume.
    """
    findings = []
    expected = _expected_files(tables)
    present = _on_disk(tables)
    have = {kind: set(rows["subject"]) for kind, rows in present.groupby("kind")}
    for name, listed in expected.groupby("kind", sort=False):
        kind = str(name)
        if kind not in have:
            message = f"expected {len(listed)} files of kind {kind}, found none. Download that part if it is needed"
            severity = "blocks" if kind in ("mask", "table") or not {"image", "series"} & set(have) else "warns"
            findings.append(Finding("files_present", severity, kind, "all", message))
            continue
        lost = listed[~listed["subject"].isin(have[kind])]
        for row in lost.itertuples():
            twin = {"image": "series", "series": "image"}.get(kind, "")
            severity = "warns" if row.twin in have.get(twin, ()) else "blocks"
            subject = f"{row.subject}.zip" if kind == "series" else str(row.subject)
            message = f"expected the {kind} {subject} in the download, found none. Download it again"
            findings.append(Finding("files_present", severity, kind, subject, message, _text(row.exam_id)))
    unreadable = tables.files[tables.files["problem"].notna()]
    for row in unreadable.itertuples():
        message = f"{row.location}: expected a readable {row.kind}, got {row.problem}. Download it again"
        findings.append(Finding("files_present", "blocks", str(row.kind), str(row.location), message))
    return findings + _lost_instances(tables, unreadable)


def find_size_differences(tables: CohortTables) -> list[Finding]:
    """Finds files of another size than the tables give."""
    both = _both(tables).dropna(subset=["size_expected"])
    return [
        _differs("file_sizes", row, f"{row.size_expected} bytes", f"{row.size_bytes} bytes")
        for row in both[both["size_expected"] != both["size_bytes"]].itertuples()
    ]


def find_checksum_differences(tables: CohortTables) -> list[Finding]:
    """Finds files of the right size with another MD5 than the tables give.

    Instances are known by their content, since tools name them as they like: an MD5 of the manifest that no instance
    of its series has, where none of them is missing, is that of an altered one.
    """
    both = _both(tables).dropna(subset=["md5_expected", "md5"])
    same_size = both["size_expected"].isna() | (both["size_expected"] == both["size_bytes"])
    wrong = both[same_size & (both["md5_expected"].str.lower() != both["md5"])]
    findings = [
        _differs("file_checksums", row, f"MD5 {row.md5_expected}", f"MD5 {row.md5}") for row in wrong.itertuples()
    ]
    return findings + [
        Finding(
            "file_checksums",
            "blocks",
            "instance",
            str(row.subject),
            f"series {row.series_uid}: expected an instance of MD5 {row.md5sum} ({row.subject}), none has it. "
            "Download the series again",
        )
        for row in _instances_without_twin(tables).itertuples()
        if not row.fewer
    ]


def find_orphans(tables: CohortTables) -> list[Finding]:
    """Finds scans, masks and series on the disk that no table lists."""
    present = _on_disk(tables)
    expected = _expected_files(tables)
    known = set(zip(expected["kind"], expected["subject"], strict=True))
    return [
        Finding(
            "orphans",
            "warns",
            "midrc.files",
            str(row.location),
            f"{row.location}: no table lists this {row.kind}; it is not used. Is it of another release?",
        )
        for row in present.itertuples()
        if (row.kind, row.subject) not in known and row.kind != "table"
    ]


def find_leaks(splits: pd.DataFrame) -> pd.DataFrame:
    """Returns patients on two sides: test and development, two folds, or unannotated and any other."""
    sides = splits.assign(side=splits["part"] + splits["fold"].astype("string").radd(" fold ").fillna(""))
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
        lambda tables: len(_expected_files(tables)),
        find_absent_files,
    ),
    Check(
        "file_sizes",
        "Every file has the size that its table gives.",
        "files with a size",
        lambda tables: int(_both(tables)["size_expected"].notna().sum()),
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


def _text(value: object) -> str | None:
    return None if pd.isna(value) else str(value)  # type: ignore[call-overload]


def _expected_files(tables: CohortTables) -> pd.DataFrame:
    """Returns what the tables list: ``kind``, ``subject`` (file name or series), size, MD5, exam, and its twin.

    The twin of a scan is its series, and that of a series its scan: where one is there, the other can be done without.
    """
    shipped = tables.annotation_files
    name = file_names(shipped["file_name"])
    is_mask = name.str.endswith(MASK_ENDING)
    files = pd.DataFrame(
        {
            "kind": is_mask.map({True: "mask", False: "image"}),
            "subject": name,
            "size_expected": shipped["file_size"],
            "md5_expected": shipped["md5sum"],
            "exam_id": exam_ids(name),
            "twin": shipped["mr_series_files_submitter_id"],
        }
    )
    scans = files[files["kind"] == "image"].drop_duplicates("twin").set_index("twin")
    uids = tables.series["submitter_id"]
    series = pd.DataFrame({"kind": "series", "subject": uids})
    series["exam_id"], series["twin"] = uids.map(scans["exam_id"]), uids.map(scans["subject"])
    manifest = tables.clinical_manifest
    others = pd.DataFrame(
        {
            "kind": "table",
            "subject": file_names(manifest["file_name"]),
            "size_expected": manifest["file_size"],
            "md5_expected": manifest["md5sum"],
        }
    )
    listed = pd.concat([files, series.astype("string"), others], ignore_index=True)
    return listed.drop_duplicates(["kind", "subject"])


def _on_disk(tables: CohortTables) -> pd.DataFrame:
    """Returns the files of the download that a table could list; a series is known by its UID, others by name."""
    files = tables.files[~tables.files["kind"].isin(["instance", "other"])]
    return files.assign(subject=files["series_uid"].where(files["kind"] == "series", files["name"]))


def _both(tables: CohortTables) -> pd.DataFrame:
    """Returns files that are listed and there; of a file that lies in several places, each."""
    readable = _on_disk(tables)
    return _expected_files(tables).merge(readable[readable["problem"].isna()], on=["kind", "subject"])


def _differs(check: str, row: object, expected: str, got: str) -> Finding:
    """Says that a file is not as its table describes it."""
    kind, location = str(row.kind), str(row.location)  # type: ignore[attr-defined]
    message = f"{location}: expected {expected}, found {got}. Download it again"
    return Finding(check, "blocks", kind, str(row.subject), message, _text(row.exam_id))  # type: ignore[attr-defined]


def _instances_without_twin(tables: CohortTables) -> pd.DataFrame:
    """Returns manifest rows whose MD5 no instance of their series has, and whether the series has too few instances.

    Series whose archive is not there or cannot be read are left out: that is found as such.
    """
    held = tables.files[tables.files["kind"] == "instance"]
    listed = tables.image_manifest
    listed = listed[listed["md5sum"].notna() & listed["series_uid"].isin(held["series_uid"])]
    keys = pd.MultiIndex.from_arrays([held["series_uid"], held["md5"]])
    mine = pd.MultiIndex.from_arrays([listed["series_uid"], listed["md5sum"].str.lower()])
    lost = listed[~mine.isin(keys)]
    wanted = listed.groupby("series_uid").size()
    # two counts compare only in one order, and a manifest comes in its own
    fewer = wanted > held.groupby("series_uid").size().reindex(wanted.index)
    subject = lost["instance_uid"].fillna(lost["file_name"]).fillna(lost["row"].astype("string"))
    return lost.assign(subject=subject, fewer=lost["series_uid"].map(fewer).astype(bool))


def _lost_instances(tables: CohortTables, unreadable: pd.DataFrame) -> list[Finding]:
    """Finds manifest rows whose instance is not in its series' archive, where that holds too few."""
    lost = _instances_without_twin(tables)
    lost = lost[lost["fewer"] & ~lost["series_uid"].isin(unreadable["series_uid"])]
    return [
        Finding(
            "files_present",
            "blocks",
            "instance",
            str(row.subject),
            f"series {row.series_uid}: expected an instance of MD5 {row.md5sum} ({row.subject}), its archive holds too "
            "few. Download the series again",
        )
        for row in lost.itertuples()
    ]
