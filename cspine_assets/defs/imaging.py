"""Assets of group ``imaging``: volumes converted from DICOM, masks checked against them, what headers give away.

Add an asset when something new is made from a patient's files. Rules of conversion stand in the imaging wing.
"""

import base64
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg

from cspine_assets.defs.io import MadePatient, asset_key, patient_asset
from cspine_assets.defs.resources import Study, StudyResource
from cspine_assets.domain.anatomy import ALLOWED_LABELS
from cspine_assets.domain.cohort.source_file import SourceFile
from cspine_assets.domain.dcm2niix import dcm2niix_version
from cspine_assets.domain.errors import ConversionError
from cspine_assets.domain.files import fingerprint_text
from cspine_assets.domain.imaging.batch import each_converted
from cspine_assets.domain.imaging.conversion import ConversionTask
from cspine_assets.domain.imaging.masks import MaskFindings, check_mask, mask_rows
from cspine_assets.domain.imaging.opening import open_series
from cspine_assets.domain.imaging.outcome import Failed, Outcome, header_finding_rows, volume_rows
from cspine_assets.domain.imaging.scratch import scratch_folder
from cspine_assets.domain.imaging.sources import CONVERSION_RULES, SeriesRequest, volume_path
from cspine_assets.domain.report.thumbnail import mid_sagittal_png
from cspine_assets.domain.tables.base import rows_of
from cspine_assets.domain.tables.cohort import Exams
from cspine_assets.domain.tables.imaging import HeaderFindings, Masks, Volumes
from cspine_assets.domain.volume import read_geometry, read_mask, read_volume

EXAMS_AT_A_TIME = 128
"""Series of an archived download are copied out for so many exams at a time: a few hundred megabytes."""


@patient_asset(
    Volumes,
    deps=[Exams],
    version=CONVERSION_RULES,
    kinds=("dicom", "nifti"),
    backfill_policy=dg.BackfillPolicy.single_run(),
    source=lambda study, patient_id: _series_fingerprint(study, str(patient_id)),
)
def volumes(_context: dg.AssetExecutionContext, study: Study, patient_ids: list[str]) -> Iterator[MadePatient]:
    """NIfTI volumes made by dcm2niix from DICOM, checked before and after; one bad patient stops nobody."""
    for some in _batches(study, patient_ids):
        with scratch_folder(_scratch(study)) as folder:
            tasks = [
                ConversionTask(request, volume_path(study.home.volumes, request))
                for patient_id in some
                for request in _requests(study, patient_id, folder)
            ]
            waiting = {patient_id: len(study.exams_by_patient[patient_id]) for patient_id in some}
            outcomes: dict[str, list[Outcome]] = {patient_id: [] for patient_id in some}
            for outcome in each_converted(tasks, _scratch(study), workers=_workers()):
                patient_id = str(outcome.request.patient_id)
                outcomes[patient_id].append(outcome)
                if len(outcomes[patient_id]) == waiting[patient_id]:
                    yield _converted_patient(study, patient_id, outcomes.pop(patient_id))


def _converted_patient(study: Study, patient_id: str, outcomes: list[Outcome]) -> MadePatient:
    frame = volume_rows(sorted(outcomes, key=lambda outcome: outcome.request.exam_id), study.home.root)
    failure = "; ".join(outcome.reason for outcome in outcomes if isinstance(outcome, Failed)) or None
    shown = frame[["exam_id", "status", "size_0", "size_1", "size_2", "axis_codes", "equals_shipped"]]
    return MadePatient(patient_id, frame, {"volumes": dg.MetadataValue.md(shown.to_markdown(index=False))}, failure)


@patient_asset(
    Masks,
    deps=[Exams, Volumes],
    version="1",
    kinds=("nifti",),
    backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=1000),
    source=lambda study, patient_id: _mask_fingerprint(study, str(patient_id)),
)
def masks(_context: dg.AssetExecutionContext, study: Study, patient_ids: list[str]) -> Iterator[MadePatient]:
    """Shipped masks checked against their volumes: labels, type, grid, components; never resampled or repaired."""
    for patient_id in patient_ids:
        stands = study.home.lake.read(Volumes, [patient_id]).set_index("exam_id")["path"]
        found = [
            _checked_mask(study, exam, study.home.absolute(stands[exam.exam_id])) for exam in _exams(study, patient_id)
        ]
        failure = "; ".join(str(mask.reason) for mask in found if not mask.is_ok) or None
        pictures = [
            picture
            for mask in found
            if mask.path and (picture := _picture(study.home.absolute(stands[mask.exam_id]), mask.path))
        ]
        yield MadePatient(
            patient_id,
            mask_rows(found, study.home.root),
            {"mid_sagittal": dg.MetadataValue.md("\n".join(pictures))} if pictures else {},
            failure,
        )


@patient_asset(
    HeaderFindings,
    deps=[Exams],
    version="1",
    kinds=("dicom",),
    backfill_policy=dg.BackfillPolicy.single_run(),
    source=lambda study, patient_id: _series_fingerprint(study, str(patient_id)),
)
def header_findings(_context: dg.AssetExecutionContext, study: Study, patient_ids: list[str]) -> Iterator[MadePatient]:
    """Identifying elements that the DICOM headers still hold, by their tags; never by their values."""
    for patient_id in patient_ids:
        outcomes: list[Failed] = []
        with scratch_folder(_scratch(study)) as folder:
            for request in _requests(study, patient_id, folder):
                if request.series is None:
                    continue
                try:
                    opened = open_series(request, request.series, folder / request.exam_id)
                    outcomes.append(Failed(request, "", opened.findings))
                except ConversionError as error:
                    outcomes.append(Failed(request, str(error)))
        failure = "; ".join(outcome.reason for outcome in outcomes if outcome.reason) or None
        frame = header_finding_rows(outcomes)
        yield MadePatient(patient_id, frame, {"identifying_elements": len(frame)}, failure)


def _checked_mask(study: Study, exam: Any, volume: Path) -> MaskFindings:  # noqa: ANN401 - a row of cohort.exams
    """Copies an exam's mask out of the download, free text removed, when it can be used."""
    with scratch_folder(_scratch(study)) as folder:
        shipped = study.source.masks.get(str(exam.mask_file_name))
        return check_mask(
            shipped.materialize(folder) if shipped else None,
            read_geometry(volume),
            exam_id=exam.exam_id,
            patient_id=exam.patient_id,
            destination=volume.with_name(volume.name.replace(".nii.gz", "_SEG.nii.gz")),
        )


def _picture(volume: Path, mask: Path) -> str:
    """Returns the middle slice with the mask's outline, as the page shows a picture."""
    png = mid_sagittal_png(read_volume(volume), read_mask(mask))
    return f"![mid-sagittal slice with the mask's outline](data:image/png;base64,{base64.b64encode(png).decode()})"


def _exams(study: Study, patient_id: str) -> list[Any]:
    """Returns a patient's rows of cohort.exams."""
    frame = study.exams_by_patient.get(patient_id)
    return [] if frame is None else list(rows_of(frame))


def _requests(study: Study, patient_id: str, folder: Path) -> Iterator[SeriesRequest]:
    """Yields what is to be converted of a patient; files inside archives are copied out into a folder."""
    for exam in _exams(study, patient_id):
        series, image = _series_file(study, exam), study.source.images.get(str(exam.image_file_name))
        yield SeriesRequest(
            exam_id=exam.exam_id,
            patient_id=patient_id,
            series_uid=exam.series_uid,
            expected_instances=int(exam.number_of_instances),
            series=series.materialize(folder) if series else None,
            shipped_nifti=image.materialize(folder) if image else None,
        )


def _series_file(study: Study, exam: Any) -> SourceFile | None:  # noqa: ANN401 - a row of cohort.exams
    """Returns an exam's DICOM archive; None where the DICOM part was not downloaded or this archive is missing."""
    if exam.series_uid not in study.source.series:
        return None
    return study.source.series_archive(exam.patient_id, exam.study_uid, exam.series_uid)


def _batches(study: Study, patient_ids: list[str]) -> Iterator[list[str]]:
    """Cuts patients into lists of about as many exams as are copied out at a time."""
    batch: list[str] = []
    count = 0
    for patient_id in patient_ids:
        batch.append(patient_id)
        count += len(_exams(study, patient_id))
        if count >= EXAMS_AT_A_TIME:
            yield batch
            batch, count = [], 0
    if batch:
        yield batch


def _series_fingerprint(study: Study, patient_id: str) -> str:
    """Fingerprint of what a patient's volumes are made from: files by place, size and time, and the converter."""
    files = [
        file
        for exam in _exams(study, patient_id)
        for file in (_series_file(study, exam), study.source.images.get(str(exam.image_file_name)))
    ]
    return fingerprint_text(dcm2niix_version(), *(_file_fingerprint(file) for file in files))


def _mask_fingerprint(study: Study, patient_id: str) -> str:
    files = [study.source.masks.get(str(exam.mask_file_name)) for exam in _exams(study, patient_id)]
    return fingerprint_text(*(_file_fingerprint(file) for file in files))


def _file_fingerprint(file: SourceFile | None) -> str:
    """Name, size and time of a file: thirteen gigabytes are not read again to learn that nothing changed."""
    return f"{file.location} {file.size} {file.path.stat().st_mtime_ns}" if file else "none"


def _scratch(study: Study) -> Path:
    """Returns the home's folder for unpacked files."""
    return study.home.root / "scratch"


def _workers() -> int:
    return len(os.sched_getaffinity(0))


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
        passed=not differing, metadata={"masks": len(pairs), "differing": dg.MetadataValue.json(differing)}
    )


@dg.asset_check(asset=asset_key(Masks), blocking=True, description="Masks in use hold the study's labels alone.")
def labels_allowed(study: StudyResource) -> dg.AssetCheckResult:
    """Looks at the labels that were counted when the mask was read."""
    usable = study.open().read(Masks).query("status == 'ok'")
    strange = [
        row.exam_id for row in rows_of(usable) if not {int(label) for label in row.labels.split(",")} <= ALLOWED_LABELS
    ]
    return dg.AssetCheckResult(
        passed=not strange, metadata={"masks": len(usable), "strange": dg.MetadataValue.json(strange)}
    )
