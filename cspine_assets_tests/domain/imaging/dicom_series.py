"""Small DICOM series made in memory, whole or with one thing wrong."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

PATIENT = "593973-000001"
EXAM = f"{PATIENT}_Study-MR-1_Series-1"
UID = "1.2.826.0.1.3680043.10.474.593973.1"
SLICES = 6
SIZE = 16
SPACING_MM = 3.3
PIXEL_MM = 0.5


def make_instances(count: int = SLICES, *, uid: str = UID, size: int = SIZE, seed: int = 0) -> list[FileDataset]:
    """Sagittal slices from right to left, with nothing wrong."""
    rng = np.random.default_rng(seed)
    return [_instance(number, uid, rng.integers(1, 900, (size, size), dtype=np.uint16)) for number in range(count)]


def _instance(number: int, uid: str, pixels: np.ndarray) -> FileDataset:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = MRImageStorage
    meta.MediaStorageSOPInstanceUID = f"{uid}.{number + 1}"
    d = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    d.SOPClassUID = MRImageStorage
    d.SOPInstanceUID = f"{uid}.{number + 1}"
    d.Modality = "MR"
    d.Manufacturer = "SIEMENS"
    d.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
    d.PatientName = d.PatientID = PATIENT
    d.PatientPosition = "HFS"
    d.StudyInstanceUID = "1.2.3"
    d.SeriesInstanceUID = uid
    d.SeriesNumber = 1
    d.InstanceNumber = number + 1
    d.EchoTime, d.RepetitionTime = "96", "3000"
    d.MRAcquisitionType = "2D"
    d.SliceThickness, d.SpacingBetweenSlices = "3", str(SPACING_MM)
    d.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    d.ImagePositionPatient = [round(-8 + number * SPACING_MM, 3), -100, 100]
    d.PixelSpacing = [PIXEL_MM, PIXEL_MM]
    d.Rows, d.Columns = pixels.shape
    d.SamplesPerPixel, d.PhotometricInterpretation = 1, "MONOCHROME2"
    d.BitsAllocated, d.BitsStored, d.HighBit, d.PixelRepresentation = 16, 12, 11, 0
    d.PixelData = pixels.astype("<u2").tobytes()
    return d


def encode(instance: FileDataset) -> bytes:
    buffer = io.BytesIO()
    instance.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def write_zip(path: Path, contents: Sequence[bytes], name: Callable[[int], str] = "series/{:03d}".format) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, content in enumerate(contents):
            archive.writestr(name(number), content)
    return path


def write_series(path: Path, instances: Sequence[FileDataset]) -> Path:
    return write_zip(path, [encode(instance) for instance in instances])
