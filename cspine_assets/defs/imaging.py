"""Assets of group ``imaging``: volumes converted from DICOM, masks checked against them, what headers give away.

Add an asset when something new is made from a patient's files. Rules of conversion stand in the imaging wing.
"""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import dagster as dg
import pandas as pd

from cspine_assets.defs.exam_files import (
    batches,
    exams_of,
    mask_contents,
    mask_file,
    series_request,
    volume_contents,
)
from cspine_assets.defs.io import MadePatient, asset_key, patient_asset
from cspine_assets.defs.resources import Study, StudyResource
from cspine_assets.defs.shown import inline_picture, markdown_table, told
from cspine_assets.domain.anatomy import ALLOWED_LABELS
from cspine_assets.domain.errors import ConversionError, SourceError, unexpected_reason
from cspine_assets.domain.imaging.batch import each_converted
from cspine_assets.domain.imaging.conversion import ConversionTask
from cspine_assets.domain.imaging.mask_batch import CheckedMask, MaskTask, each_checked
from cspine_assets.domain.imaging.masks import MaskFindings, mask_rows
from cspine_assets.domain.imaging.opening import open_series
from cspine_assets.domain.imaging.outcome import Failed, Outcome, Scanned
from cspine_assets.domain.imaging.refusal import Cause
from cspine_assets.domain.imaging.rows import header_finding_rows, volume_rows
from cspine_assets.domain.imaging.scratch import scratch_folder
from cspine_assets.domain.imaging.sources import CONVERSION_RULES, volume_path
from cspine_assets.domain.imaging.verification import ShippedComparison
from cspine_assets.domain.machine import usable_cores
from cspine_assets.domain.report.thumbnail import mid_sagittal_png
from cspine_assets.domain.tables.base import TEXT, rows_of
from cspine_assets.domain.tables.cohort import Exams
from cspine_assets.domain.tables.imaging import HeaderFindings, Masks, Volumes
from cspine_assets.domain.volume import read_geometry


@patient_asset(
    Volumes,
    deps=[Exams],
    version=CONVERSION_RULES,
    kinds=("dicom", "nifti"),
    backfill_policy=dg.BackfillPolicy.single_run(),
    source=lambda study, patient_id: volume_contents(study, str(patient_id)),
)
def volumes(_context: dg.AssetExecutionContext, study: Study, patient_ids: list[str]) -> Iterator[MadePatient]:
    """NIfTI volumes made by dcm2niix from DICOM, checked before and after; one bad patient stops nobody."""
    for some in batches(study, patient_ids):
        with scratch_folder(study.home.scratch) as folder:
            wanted = [series_request(study, exam, folder) for one in some for exam in exams_of(study, one)]
            failed = [request for request in wanted if isinstance(request, Failed)]
            tasks = [
                ConversionTask(request, volume_path(study.home.volumes, request))
                for request in wanted
                if not isinstance(request, Failed)
            ]
            waiting: dict[str, list[Outcome]] = {patient_id: [] for patient_id in some}
            for outcome in chain(failed, each_converted(tasks, study.home.scratch, workers=usable_cores())):
                patient_id = str(outcome.request.patient_id)
                waiting[patient_id].append(outcome)
                if len(waiting[patient_id]) == len(exams_of(study, patient_id)):
                    yield _converted_patient(study, patient_id, waiting.pop(patient_id))


def _converted_patient(study: Study, patient_id: str, outcomes: list[Outcome]) -> MadePatient:
    frame = volume_rows(sorted(outcomes, key=lambda outcome: outcome.request.exam_id), study.home.root)
    failure = "; ".join(outcome.reason for outcome in outcomes if isinstance(outcome, Failed)) or None
    return MadePatient(patient_id, frame, _volume_metadata(frame), failure)


def _volume_metadata(frame: pd.DataFrame) -> dict[str, object]:
    """Returns what a patient's materialization shows: status, shape and spacing of each exam, and a table of all."""
    shapes, spacings = (
        [" x ".join(f"{value:{form}}" for value in row) for row in frame[columns].fillna(0).to_numpy()]
        for columns, form in (
            (["size_0", "size_1", "size_2"], ".0f"),
            (["spacing_0_mm", "spacing_1_mm", "spacing_2_mm"], ".3f"),
        )
    )
    shown = frame[["exam_id", "status", "origin", "axis_codes", "equals_shipped", "warnings"]].fillna("")
    return {
        "status": ", ".join(frame["status"]),
        "shape": ", ".join(shapes),
        "spacing_mm": ", ".join(spacings),
        "volumes": markdown_table(shown),
    }


@patient_asset(
    Masks,
    deps=[Exams, Volumes],
    version="5",
    kinds=("nifti",),
    backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=1000),
    source=lambda study, patient_id: mask_contents(study, str(patient_id)),
)
def masks(_context: dg.AssetExecutionContext, study: Study, patient_ids: list[str]) -> Iterator[MadePatient]:
    """Shipped masks checked against their volumes: labels, type, grid, components; never resampled or repaired."""
    for some in batches(study, patient_ids):
        with scratch_folder(study.home.scratch) as folder:
            wanted = list(_mask_tasks(study, some, folder))
            failed = [checked for checked in wanted if isinstance(checked, CheckedMask)]
            tasks = [task for task in wanted if isinstance(task, MaskTask)]
            waiting: dict[str, list[CheckedMask]] = {patient_id: [] for patient_id in some}
            for checked in chain(failed, each_checked(tasks, draw=mid_sagittal_png, workers=usable_cores())):
                patient_id = str(checked.findings.patient_id)
                waiting[patient_id].append(checked)
                if len(waiting[patient_id]) == len(exams_of(study, patient_id)):
                    yield _checked_patient(study, patient_id, waiting.pop(patient_id))


def _mask_tasks(study: Study, patient_ids: list[str], folder: Path) -> Iterator[MaskTask | CheckedMask]:
    """Yields what is to be looked at of some patients, or why a mask cannot be had out of its archive."""
    standing = study.home.lake.read(Volumes, patient_ids)
    volumes_of = dict(zip(standing["exam_id"], standing["path"], strict=True))
    for exam in (exam for patient_id in patient_ids for exam in exams_of(study, patient_id)):
        shipped, volume = mask_file(study, exam), study.home.absolute(volumes_of[exam.exam_id])
        try:
            mask = shipped.materialize(folder) if shipped else None
        except SourceError as error:
            reason = f"{exam.exam_id}: {error}"
            yield CheckedMask(MaskFindings(exam.exam_id, exam.patient_id, Cause.DAMAGED, reason))
            continue
        destination = volume.with_name(volume.name.replace(".nii.gz", "_SEG.nii.gz"))
        md5 = None if pd.isna(exam.mask_md5) else str(exam.mask_md5)
        yield MaskTask(exam.exam_id, exam.patient_id, mask, volume, destination, md5)


def _checked_patient(study: Study, patient_id: str, checked: list[CheckedMask]) -> MadePatient:
    ordered = sorted(checked, key=lambda one: one.findings.exam_id)
    frame = mask_rows([one.findings for one in ordered], study.home.root)
    failure = "; ".join(str(one.findings.reason) for one in ordered if not one.findings.is_ok) or None
    columns = ["exam_id", "status", "labels", "vertebral_body_components", "intervertebral_disc_components", "notes"]
    metadata: dict[str, object] = {
        "status": ", ".join(frame["status"]),
        "masks": markdown_table(frame[columns].astype(TEXT).fillna("")),
    }
    said = "mid-sagittal slice with the mask's outline"
    pictures = [inline_picture(one.picture, said) for one in ordered if one.picture]
    if pictures:
        metadata["mid_sagittal"] = dg.MetadataValue.md("\n".join(pictures))
    return MadePatient(patient_id, frame, metadata, failure)


@patient_asset(
    HeaderFindings,
    deps=[Exams],
    version="3",
    kinds=("dicom",),
    backfill_policy=dg.BackfillPolicy.single_run(),
    source=lambda study, patient_id: volume_contents(study, str(patient_id)),
)
def header_findings(_context: dg.AssetExecutionContext, study: Study, patient_ids: list[str]) -> Iterator[MadePatient]:
    """Identifying elements that the DICOM headers still hold, by their tags; never by their values."""
    for patient_id in patient_ids:
        scanned: list[Scanned] = []
        reasons: list[str] = []
        with scratch_folder(study.home.scratch) as folder:
            for exam in exams_of(study, patient_id):
                request = series_request(study, exam, folder)
                if isinstance(request, Failed):
                    reasons.append(request.reason)
                elif request.series is not None:
                    try:
                        opened = open_series(request, request.series, folder / request.exam_id)
                        scanned.append(Scanned(request, opened.findings))
                    except ConversionError as error:
                        reasons.append(str(error))
                    except Exception as error:  # noqa: BLE001 - a hostile header, and a whole cohort waits
                        reasons.append(unexpected_reason(request.exam_id, error))
        frame = header_finding_rows(scanned)
        yield MadePatient(patient_id, frame, {"places": len(frame)}, "; ".join(reasons) or None)


def _compared_volumes(study: Study) -> pd.DataFrame:
    """Returns exam and comparison of the volumes that were converted from DICOM beside a shipped NIfTI."""
    usable = study.read(Volumes).query("status == 'ok'")[["exam_id", "equals_shipped"]]
    return usable[usable["equals_shipped"].notna() & (usable["equals_shipped"] != ShippedComparison.ABSENT)]


@dg.asset_check(
    asset=asset_key(Volumes),
    description="Where the download ships a NIfTI beside the DICOM, it equals the volume converted from it.",
)
def equals_shipped(study: StudyResource) -> dg.AssetCheckResult:
    """Warns and does not fail the volumes: they come from the DICOM, and it is the shipped file that is doubtful."""
    compared = _compared_volumes(study.open())
    differing = compared[compared["equals_shipped"] != ShippedComparison.EQUAL]
    return dg.AssetCheckResult(
        passed=differing.empty,
        severity=dg.AssetCheckSeverity.WARN,
        description=told(
            len(differing),
            len(compared),
            "shipped volumes",
            "The volumes made from DICOM are used. Fetch the shipped files below again, or ask their source.",
        ),
        metadata={
            "compared": len(compared),
            "differing": dg.MetadataValue.json(
                dict(zip(differing["exam_id"], differing["equals_shipped"], strict=True))
            ),
        },
    )


@dg.asset_check(asset=asset_key(Masks), blocking=True, description="Every mask in use lies on its volume's grid.")
def geometry_equal(study: StudyResource) -> dg.AssetCheckResult:
    """Compares the files' headers, not what the table says of them."""
    opened = study.open()
    usable = opened.read(Masks).query("status == 'ok'")[["exam_id", "path"]]
    pairs = usable.merge(opened.usable_volumes(), on="exam_id", suffixes=("_mask", "_volume"))
    differing = {}
    for row in rows_of(pairs):
        mask, volume = (read_geometry(opened.home.absolute(path)) for path in (row.path_mask, row.path_volume))
        if (difference := volume.difference(mask)) is not None:
            differing[row.exam_id] = difference
    return dg.AssetCheckResult(
        passed=not differing,
        description=told(
            len(differing),
            len(pairs),
            "masks",
            "A file was changed after it had been checked: cspine materialize --only imaging --force.",
        ),
        metadata={"masks": len(pairs), "differing": dg.MetadataValue.json(differing)},
    )


@dg.asset_check(asset=asset_key(Masks), blocking=True, description="Masks in use hold the study's labels alone.")
def labels_allowed(study: StudyResource) -> dg.AssetCheckResult:
    """Looks at the labels that were counted when the mask was read."""
    usable = study.open().read(Masks).query("status == 'ok'")
    strange = [
        row.exam_id for row in rows_of(usable) if not {int(label) for label in row.labels.split(",")} <= ALLOWED_LABELS
    ]
    return dg.AssetCheckResult(
        passed=not strange,
        description=told(
            len(strange), len(usable), "masks", "Make their rows anew: cspine materialize --only imaging --force."
        ),
        metadata={"masks": len(usable), "strange": dg.MetadataValue.json(strange)},
    )


@dg.asset_check(
    asset=asset_key(HeaderFindings),
    description="No DICOM header names a person, a date that was not moved, or burned-in annotation. Private elements "
    "are counted and do not fail it: what they hold, no standard says.",
)
def deidentified(study: StudyResource) -> dg.AssetCheckResult:
    """Counts places by kind and by name; their values are not in the table, and so not here."""
    opened = study.open()
    found = opened.read(HeaderFindings)
    telling = found[found["kind"] != "private"]
    counted = telling.groupby(["kind", "keyword"])["exam_id"].nunique().reset_index(name="exams")
    return dg.AssetCheckResult(
        passed=telling.empty,
        severity=dg.AssetCheckSeverity.WARN,
        description=told(
            int(telling["exam_id"].nunique()),
            len(opened.read(Exams)),
            "exams",
            "Their headers hold the elements below, whose values are written nowhere here. They are in your download "
            "alone: ask its source before you pass it on.",
        ),
        metadata={
            "exams_with_findings": int(telling["exam_id"].nunique()),
            "exams_with_private_elements": int(found.loc[found["kind"] == "private", "exam_id"].nunique()),
            "places_by_kind": dg.MetadataValue.json({str(k): int(n) for k, n in found["kind"].value_counts().items()}),
            "exams_by_element": markdown_table(counted) if len(counted) else "none",
        },
    )
