"""What a conversion is asked for, and a fingerprint of all that goes into it.

Add a field when a conversion needs to know more about its exam. How the voxels are made is the matter of
``conversion``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cspine_assets.domain.files import fingerprint_file, fingerprint_text

CONVERSION_RULES: Final = "2"
"""Raise when a rule of this wing changes what is accepted or written: every exam is then converted anew."""


@dataclass(frozen=True)
class SeriesRequest:
    """One series to convert.

    Attributes:
        exam_id: Exam, and the name of all that is made from it.
        patient_id: Expected PatientID, or None where it is not known and not checked.
        series_uid: Expected SeriesInstanceUID, or None where it is not known and not checked.
        expected_instances: Slices, or None where they are not known and not checked.
        series: Zip, folder or file of the DICOM instances; None where they were not downloaded.
        shipped_nifti: The NIfTI that the release ships; None where it was not downloaded.
    """

    exam_id: str
    patient_id: str | None = None
    series_uid: str | None = None
    expected_instances: int | None = None
    series: Path | None = None
    shipped_nifti: Path | None = None


def volume_path(volumes: Path, request: SeriesRequest) -> Path:
    """Returns the place of an exam's volume: a folder per patient, the exam as the file's name."""
    return volumes / (request.patient_id or request.exam_id) / f"{request.exam_id}.nii.gz"


def request_fingerprint(request: SeriesRequest, *, converter: str) -> str:
    """Returns one SHA-256 over all that a conversion depends on.

    That is what is asked for, the bytes of its files, and the tools. The places and dates of the files do not
    count; a file that is missing counts as such.

    Args:
        request: The series.
        converter: Name and version of the converter.
    """
    asked = (
        request.exam_id,
        str(request.patient_id),
        str(request.series_uid),
        str(request.expected_instances),
    )
    parts = [CONVERSION_RULES, converter, *asked]
    for source in (request.series, request.shipped_nifti):
        parts += ["source", *_contents(source)]
    return fingerprint_text(*parts)


def _contents(source: Path | None) -> list[str]:
    if source is None:
        return ["none"]
    if source.is_dir():
        files = sorted(path for path in source.rglob("*") if path.is_file())
        return [part for file in files for part in (file.relative_to(source).as_posix(), fingerprint_file(file))]
    return [fingerprint_file(source)] if source.is_file() else ["missing"]
