"""Checks of the files that the tables list against those that are there: presence, size, checksum, and orphans.

Add a check of files here, and its row to ``integrity.CHECKS``. Files are compared as ``midrc.files`` lists them; none
is opened here.
"""

from __future__ import annotations

import pandas as pd

from cspine_assets.domain.cohort.compared import CohortTables
from cspine_assets.domain.cohort.findings import Finding
from cspine_assets.domain.cohort.names import IMAGE_ENDING, MASK_ENDING, exam_ids, file_names
from cspine_assets.domain.cohort.rejected_rows import keys_of
from cspine_assets.domain.tables.base import TEXT


def find_absent_files(tables: CohortTables) -> list[Finding]:
    """Finds files that the tables list and that are not there, or cannot be read.

    A part that was not downloaded at all is one finding. A missing scan only warns where the series' DICOM instances
    are there, and the other way round: either gives the volume.
    """
    findings = []
    expected = expected_files(tables)
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
    both = files_on_both_sides(tables).dropna(subset=["size_expected"])
    return [
        _differs("file_sizes", row, f"{row.size_expected} bytes", f"{row.size_bytes} bytes")
        for row in both[both["size_expected"] != both["size_bytes"]].itertuples()
    ]


def find_checksum_differences(tables: CohortTables) -> list[Finding]:
    """Finds files of the right size with another MD5 than the tables give.

    Instances are known by their content, since tools name them as they like: an MD5 of the manifest that no instance
    of its series has, where none of them is missing, is that of an altered one.
    """
    both = files_on_both_sides(tables).dropna(subset=["md5_expected", "md5"])
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
    expected = expected_files(tables)
    known = set(zip(expected["kind"], expected["subject"], strict=True))
    # a file of a row that could not be used is listed all the same
    known |= {("series", key) for key in keys_of(tables.rejected, "midrc.mr_series")}
    for row in tables.rejected:
        known |= {("image", f"{row.exam_id}{IMAGE_ENDING}"), ("mask", f"{row.exam_id}{MASK_ENDING}")}
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


def _text(value: object) -> str | None:
    return None if pd.isna(value) else str(value)  # type: ignore[call-overload]


def expected_files(tables: CohortTables) -> pd.DataFrame:
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
    listed = pd.concat([files, series.astype(TEXT), others], ignore_index=True)
    return listed.drop_duplicates(["kind", "subject"])


def _on_disk(tables: CohortTables) -> pd.DataFrame:
    """Returns the files of the download that a table could list; a series is known by its UID, others by name."""
    files = tables.files[~tables.files["kind"].isin(["instance", "other"])]
    return files.assign(subject=files["series_uid"].where(files["kind"] == "series", files["name"]))


def files_on_both_sides(tables: CohortTables) -> pd.DataFrame:
    """Returns files that are listed and there; of a file that lies in several places, each."""
    readable = _on_disk(tables)
    return expected_files(tables).merge(readable[readable["problem"].isna()], on=["kind", "subject"])


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
    subject = lost["instance_uid"].fillna(lost["file_name"]).fillna(lost["row"].astype(TEXT))
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
