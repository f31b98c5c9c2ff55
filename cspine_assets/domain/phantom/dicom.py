"""DICOM instances of a synthetic series, with the attributes that Siemens and GE scanners write.

Add here an attribute that a converter or a header check reads.
No dates of today, no random identifiers, and nothing about archives: the same exam gives the same bytes.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage

from cspine_assets.domain.phantom.grid import Matrix, VoxelGrid
from cspine_assets.domain.phantom.plan import UID_ROOT, ExamPlan

_RAS_TO_LPS: Final = np.array([-1.0, -1.0, 1.0])


@dataclass(frozen=True)
class Instance:
    """One DICOM file in memory."""

    uid: str
    number: int
    content: bytes


def encode_series(exam: ExamPlan, counts: NDArray[np.uint16], grid: VoxelGrid) -> tuple[Instance, ...]:
    """Returns the DICOM files of a series, ordered by position.

    Args:
        exam: Names, identifiers and acquisition.
        counts: Stored values, counted along slices, rows, columns.
        grid: Where those voxels lie, in RAS+ mm.
    """
    dataset = _common_attributes(exam, grid)
    across, rows, columns = (grid.affine[:3, axis] * _RAS_TO_LPS for axis in range(3))
    normal = np.cross(columns, rows) / np.linalg.norm(np.cross(columns, rows))
    first = grid.affine[:3, 3] * _RAS_TO_LPS
    instances = []
    for position, pixels in enumerate(counts):
        corner = first + position * across
        dataset.SOPInstanceUID = exam.instance_uid(position)
        dataset.file_meta.MediaStorageSOPInstanceUID = UID(exam.instance_uid(position))
        dataset.InstanceNumber = exam.instance_number(position)
        dataset.ImagePositionPatient = [_decimal(value, 6) for value in corner]
        dataset.AcquisitionTime = _slice_time(exam, position)
        dataset.SliceLocation = _decimal(float(corner @ normal), 6)
        dataset.SmallestImagePixelValue = int(pixels.min())
        dataset.LargestImagePixelValue = int(pixels.max())
        dataset.PixelData = pixels.astype("<u2").tobytes()
        buffer = io.BytesIO()
        dcmwrite(buffer, dataset, enforce_file_format=True)
        instances.append(Instance(dataset.SOPInstanceUID, int(dataset.InstanceNumber), buffer.getvalue()))
    return tuple(instances)


def _slice_time(exam: ExamPlan, position: int) -> str:
    """Returns when a slice was acquired: every second slice first, counted from midnight so that no clock shows."""
    acquisition = exam.acquisition
    first_half = (acquisition.slices + 1) // 2
    turn = position // 2 + (first_half if position % 2 else 0)
    seconds = 0.0 if acquisition.is_3d else turn * acquisition.repetition_time_ms / 1000 / acquisition.slices
    return f"0000{seconds:09.6f}"


def _decimal(value: float, places: int) -> str:
    """Returns a decimal string of at most 16 characters, the most DICOM allows."""
    text = f"{value:.{places}f}"
    return text[1:] if text.startswith("-") and not float(text) else text


def _common_attributes(exam: ExamPlan, grid: VoxelGrid) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MRImageStorage
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(f"{UID_ROOT}.1")
    meta.ImplementationVersionName = "CSPINE_PHANTOM"
    dataset = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)  # type: ignore[arg-type]
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.SOPClassUID = MRImageStorage
    _add_person_and_study(dataset, exam)
    _add_acquisition(dataset, exam)
    _add_geometry(dataset, exam, grid.affine)
    return dataset


def _add_person_and_study(dataset: Dataset, exam: ExamPlan) -> None:
    patient = exam.patient
    dataset.PatientName = patient.patient_id
    dataset.PatientID = patient.patient_id
    dataset.PatientBirthDate = ""
    dataset.PatientSex = patient.sex[0]
    dataset.PatientAge = "" if exam.age_years > 89 else f"{exam.age_years:03d}Y"
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = "Synthetic phantom: no person was scanned"
    dataset.LongitudinalTemporalInformationModified = "MODIFIED"
    dataset.StudyInstanceUID = exam.study_uid
    dataset.StudyDate = exam.shifted_date.strftime("%Y%m%d")
    dataset.StudyTime = ""
    dataset.StudyID = str(exam.study_number)
    dataset.AccessionNumber = ""
    dataset.ReferringPhysicianName = ""
    dataset.StudyDescription = "MRI CERVICAL SPINE WITHOUT CONTRAST"
    dataset.SeriesInstanceUID = exam.series_uid
    dataset.SeriesNumber = exam.series_number
    dataset.SeriesDescription = exam.acquisition.series_description
    dataset.FrameOfReferenceUID = exam.frame_uid
    dataset.PositionReferenceIndicator = ""


def _add_acquisition(dataset: Dataset, exam: ExamPlan) -> None:
    acquisition, scanner = exam.acquisition, exam.acquisition.scanner
    dataset.Modality = "MR"
    dataset.Manufacturer = scanner.manufacturer
    dataset.ManufacturerModelName = scanner.model
    dataset.SoftwareVersions = scanner.software.split("\\")
    dataset.MagneticFieldStrength = f"{scanner.field_strength_t:g}"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"] if acquisition.is_ge else ["ORIGINAL", "PRIMARY", "M", "ND"]
    dataset.BodyPartExamined = "CSPINE"
    dataset.PatientPosition = "HFS"
    dataset.ScanningSequence = "SE"
    dataset.SequenceVariant = acquisition.sequence_variant.split("\\")
    dataset.ScanOptions = acquisition.scan_options.split("\\")
    dataset.MRAcquisitionType = "3D" if acquisition.is_3d else "2D"
    if acquisition.sequence_name:
        dataset.SequenceName = acquisition.sequence_name
    dataset.AngioFlag = "N"
    dataset.RepetitionTime = f"{acquisition.repetition_time_ms:g}"
    dataset.EchoTime = f"{acquisition.echo_time_ms:g}"
    dataset.EchoTrainLength = acquisition.echo_train_length
    dataset.EchoNumbers = 1
    dataset.NumberOfAverages = "2"
    dataset.ImagedNucleus = "1H"
    dataset.ImagingFrequency = f"{42.577 * scanner.field_strength_t:.4f}"
    dataset.FlipAngle = f"{acquisition.flip_angle_deg:g}"
    dataset.AcquisitionNumber = 1


def _add_geometry(dataset: Dataset, exam: ExamPlan, affine: Matrix) -> None:
    acquisition = exam.acquisition
    columns, rows = (affine[:3, axis] * _RAS_TO_LPS / acquisition.pixel_spacing_mm for axis in (2, 1))
    dataset.ImageOrientationPatient = [_decimal(value, 12) for value in (*columns, *rows)]
    dataset.PixelSpacing = [_decimal(acquisition.pixel_spacing_mm, 6)] * 2
    dataset.SliceThickness = f"{acquisition.slice_thickness_mm:g}"
    dataset.SpacingBetweenSlices = f"{acquisition.slice_spacing_mm:g}"
    dataset.Rows = acquisition.matrix
    dataset.Columns = acquisition.matrix
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = 16
    dataset.BitsStored = 12
    dataset.HighBit = 11
    dataset.PixelRepresentation = 0
    dataset.WindowCenter = "500"
    dataset.WindowWidth = "1000"
    dataset.LossyImageCompression = "00"
