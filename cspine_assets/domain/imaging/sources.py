"""What a conversion is asked for, and where its volume goes.

Add a field when a conversion needs to know more about its exam. How the voxels are made is the matter of
``conversion``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

CONVERSION_RULES: Final = "4"
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
