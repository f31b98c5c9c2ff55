"""An exam's files in the download: found, told apart by what they hold, and copied out of archives.

Add a function when an asset needs another kind of file. What is made of a file is the asset's own matter.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from cspine_assets.defs.resources import Study
from cspine_assets.domain.cohort.source_file import DAMAGE, SourceFile
from cspine_assets.domain.errors import SourceError
from cspine_assets.domain.files import fingerprint_text
from cspine_assets.domain.imaging.contents import ContentMemory, FileState
from cspine_assets.domain.imaging.converter import converter_name
from cspine_assets.domain.imaging.outcome import Failed
from cspine_assets.domain.imaging.refusal import Cause
from cspine_assets.domain.imaging.sources import SeriesRequest

EXAMS_AT_A_TIME = 128
"""Files of an archived download are copied out for so many exams at a time: a few hundred megabytes."""


def exams_of(study: Study, patient_id: str) -> list[Any]:
    """Returns a patient's rows of cohort.exams."""
    return study.exams_by_patient.get(patient_id, [])


def batches(study: Study, patient_ids: list[str]) -> Iterator[list[str]]:
    """Cuts patients into lists of about as many exams as are copied out at a time.

    They are one list where nothing lies in archives: between two lists every worker process ends and another starts.
    """
    if not study.source.in_archives:
        if patient_ids:
            yield patient_ids
        return
    batch: list[str] = []
    count = 0
    for patient_id in patient_ids:
        batch.append(patient_id)
        count += len(exams_of(study, patient_id))
        if count >= EXAMS_AT_A_TIME:
            yield batch
            batch, count = [], 0
    if batch:
        yield batch


def series_request(study: Study, exam: Any, folder: Path) -> SeriesRequest | Failed:  # noqa: ANN401 - a row of cohort.exams
    """Returns what is to be converted of an exam, or why its files cannot be had.

    Args:
        study: The study.
        exam: Row of cohort.exams.
        folder: Files inside archives are copied out into it.
    """
    request = SeriesRequest(exam.exam_id, exam.patient_id, exam.series_uid, int(exam.number_of_instances))
    try:
        series, image = _series_file(study, exam), study.source.images.get(str(exam.image_file_name))
    except SourceError as error:
        return Failed(request, Cause.WRONG_IDENTITY, f"{exam.exam_id}: {error}")
    try:
        return replace(
            request,
            series=series.materialize(folder) if series else None,
            shipped_nifti=image.materialize(folder) if image else None,
        )
    except SourceError as error:
        return Failed(request, Cause.DAMAGED, f"{exam.exam_id}: {error}")


def mask_file(study: Study, exam: Any) -> SourceFile | None:  # noqa: ANN401 - a row of cohort.exams
    """Returns an exam's shipped mask, or None where there is none."""
    return study.source.masks.get(str(exam.mask_file_name))


def volume_contents(study: Study, patient_id: str) -> str:
    """Returns a fingerprint of what a patient's volumes are made from: what the files hold, and the converter."""
    parts = [converter_name()]
    for exam in exams_of(study, patient_id):
        try:
            series = _content(study, _series_file(study, exam))
        except SourceError:
            series = "elsewhere"
        parts += [series, _content(study, study.source.images.get(str(exam.image_file_name)))]
    return fingerprint_text(*parts)


def mask_contents(study: Study, patient_id: str) -> str:
    """Returns a fingerprint of what a patient's mask files hold."""
    return fingerprint_text(*(_content(study, mask_file(study, exam)) for exam in exams_of(study, patient_id)))


def _series_file(study: Study, exam: Any) -> SourceFile | None:  # noqa: ANN401 - a row of cohort.exams
    """Returns an exam's DICOM archive; None where the DICOM part was not downloaded or this archive is missing.

    Raises:
        SourceError: It lies under another patient or study.
    """
    if exam.series_uid not in study.source.series:
        return None
    return study.source.series_archive(exam.patient_id, exam.study_uid, exam.series_uid)


def _content(study: Study, file: SourceFile | None) -> str:
    """Returns a checksum of a file's content, wherever the file lies; it is read once for each time it changes."""
    if file is None:
        return "none"
    state = FileState(file.location, file.size, file.changed_ns)
    try:
        return _memory(study.home.contents).sha256(state, file.open)
    except (SourceError, OSError, *DAMAGE):
        return f"unreadable {file.size} {file.changed_ns}"


@cache
def _memory(path: Path) -> ContentMemory:
    return ContentMemory(path)
