"""Checks of a cohort: a function each, which returns what it found as rows of ``cohort.findings``.

Add a check as another function. Links between the tables are checked where they are followed, in ``exams``;
who turns findings into a red or yellow light is not known here.
"""

from __future__ import annotations

import pandas as pd

from cspine_assets.domain.cohort.findings import Finding, findings_frame
from cspine_assets.domain.cohort.source import Source
from cspine_assets.domain.errors import TableError


def find_unpaired_files(exams: pd.DataFrame) -> pd.DataFrame:
    """Returns exams that lack a scan or a mask among the files the release lists."""
    findings = [
        Finding(
            "pairs",
            "blocks" if kind == "image" else "warns",
            "midrc.annotation_files",
            f"{exam_id}.nii.gz" if kind == "image" else f"{exam_id}_SEG.nii.gz",
            f"exam {exam_id}: expected a scan and a mask, the release lists no "
            + ("scan; the volume can only come from DICOM" if kind == "image" else "mask to refer to"),
            exam_id,
        )
        for kind in ("image", "mask")
        for exam_id in exams.loc[exams[f"{kind}_file_name"].isna(), "exam_id"]
    ]
    return findings_frame(findings)


def find_instance_differences(series: pd.DataFrame, image_manifest: pd.DataFrame) -> pd.DataFrame:
    """Returns series whose number of instances is not that of their manifest rows, and a differing sum.

    Where the manifest does not name series, only the sum can be compared.
    """
    findings = []
    expected = series.set_index("submitter_id")["number_of_instances"]
    if len(image_manifest) != int(expected.sum()):
        message = (
            f"expected {int(expected.sum())} rows, the sum of midrc.mr_series.number_of_instances, got "
            f"{len(image_manifest)}. Download the part structured again"
        )
        findings.append(Finding("instances", "blocks", "midrc.image_manifest", "all rows", message))
    if image_manifest["series_uid"].notna().any():
        listed = image_manifest["series_uid"].value_counts()
        both = pd.DataFrame({"expected": expected, "listed": listed}).fillna(0).astype("int64")
        for uid, row in both[both["expected"] != both["listed"]].iterrows():
            message = f"series {uid}: expected {row['expected']} instances, the manifest lists {row['listed']}"
            findings.append(Finding("instances", "blocks", "midrc.image_manifest", str(uid), message))
    return findings_frame(findings)


def find_file_differences(exams: pd.DataFrame, source: Source) -> pd.DataFrame:
    """Returns files that are absent, of another size or listed nowhere, and lost series.

    A missing scan only warns where the series' DICOM instances are there; a part that was not downloaded at
    all is one finding, not one per exam.
    """
    findings: list[Finding] = []
    for kind, part, files in (("image", "annotation", source.images), ("mask", "segmentation", source.masks)):
        listed = exams[exams[f"{kind}_file_name"].notna()]
        if not files and len(listed):
            findings.append(_absent_part(part, len(listed), blocks=kind == "mask" or not source.series))
            continue
        columns = (
            listed["exam_id"],
            listed["series_uid"],
            listed[f"{kind}_file_name"],
            listed[f"{kind}_size_bytes"],
        )
        for exam_id, series_uid, name, size in zip(*columns, strict=True):
            file = files.get(name)
            if file is None:
                severity = "warns" if kind == "image" and series_uid in source.series else "blocks"
                message = f"exam {exam_id}: expected {name} in {source.folder}, found none. Download it again"
                findings.append(Finding("files", severity, part, name, message, exam_id))
            elif not pd.isna(size) and file.size != size:
                message = f"exam {exam_id}: expected {name} of {size} bytes, found {file.size}. Download it again"
                findings.append(Finding("files", "blocks", part, name, message, exam_id))
        for name in sorted(set(files) - set(listed[f"{kind}_file_name"])):
            message = f"{files[name].description} belongs to no exam of cohort.exams"
            findings.append(Finding("files", "warns", part, name, message))
    return pd.concat([findings_frame(findings), _series_differences(exams, source)], ignore_index=True)


def find_leaks(splits: pd.DataFrame) -> pd.DataFrame:
    """Returns patients on two sides: test and development, two folds, or unannotated and any other."""
    sides = splits.assign(
        side=splits["part"] + splits["fold"].astype("string").radd(" fold ").fillna(""),
    )
    sides = sides[sides["part"] != "withheld"]
    findings = []
    for patient_id, names in sides.groupby("patient_id")["side"].unique().items():
        if len(names) > 1:
            found = ", ".join(sorted(names))
            message = f"patient {patient_id}: expected one side, found {found}. Make the split again"
            findings.append(Finding("leaks", "blocks", "cohort.splits", str(patient_id), message))
    return findings_frame(findings)


def require_no_blocking(findings: pd.DataFrame) -> None:
    """Refuses to go on where a finding blocks.

    Raises:
        TableError: Findings that block are there; the first and their number are named.
    """
    blocking = findings[findings["severity"] == "blocks"]
    if len(blocking):
        raise TableError(f"{len(blocking)} finding(s) block; the first: {blocking['message'].iloc[0]}.")


def _absent_part(part: str, count: int, *, blocks: bool) -> Finding:
    """Says that a part of the download is not there at all."""
    message = f"expected {count} files of the part {part}, found none. Download that part if it is needed"
    return Finding("files", "blocks" if blocks else "warns", part, part, message)


def _series_differences(exams: pd.DataFrame, source: Source) -> pd.DataFrame:
    """Returns exams whose series archive is absent; none where the DICOM part was not downloaded."""
    if not source.series:
        return findings_frame([])
    lost = exams[~exams["series_uid"].isin(list(source.series))]
    findings = []
    for exam_id, uid, image in zip(lost["exam_id"], lost["series_uid"], lost["image_file_name"], strict=True):
        shipped = image in source.images
        message = f"exam {exam_id}: expected {uid}.zip in {source.folder}, found none. Download it again"
        findings.append(Finding("files", "warns" if shipped else "blocks", "imaging_files", uid, message, exam_id))
    for uid in sorted(set(source.series) - set(exams["series_uid"])):
        message = f"{source.series[uid][0].description} belongs to no exam of cohort.exams"
        findings.append(Finding("files", "warns", "imaging_files", uid, message))
    return findings_frame(findings)
