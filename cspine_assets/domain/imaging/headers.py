"""Headers of DICOM instances, read without their pixels, and what they say about a slice.

Add a value here when a rule on series or identity needs it. Whether the slices make a volume is decided in
``series``, and what identifies a person in ``deidentification``.
"""

from __future__ import annotations

import logging
import math
import os
import struct
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.uid import UID

from cspine_assets.domain.imaging.elements import Element, Header, HeadReader, converted, tag_of
from cspine_assets.domain.imaging.refusal import Cause, Refusal

_REQUIRED = (
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "Rows",
    "Columns",
    "BitsAllocated",
)

UNREADABLE = (
    InvalidDicomError,
    BytesLengthException,
    AttributeError,
    EOFError,
    KeyError,
    NotImplementedError,
    OSError,
    OverflowError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
"""What pydicom raises on bytes that are no header."""

_PHILIPS_SCALING = (0x2005100D, 0x2005100E)

_HEAD_BYTES = 1 << 16
"""Read at once; a header of a classic MR slice takes a tenth of it, one with vendors' private tables more."""


@dataclass(frozen=True)
class StoredPixels:
    """How the pixels of an instance are stored.

    Attributes:
        syntax: Transfer syntax UID.
        bits: Bits allocated to each.
        bits_stored: Bits of them that hold the value.
        is_signed: Whether they may be negative.
        following_bytes: Bytes of the file from their beginning to its end.
    """

    syntax: str
    bits: int
    bits_stored: int
    is_signed: bool
    following_bytes: int


@dataclass(frozen=True)
class Instance:
    """What one DICOM header says about its place in a volume.

    Attributes:
        pixel_spacing_mm: Distance of rows, then of columns.
        orientation: Direction of a row (towards higher columns), then of a column, in the patient's LPS
            system.
        position_mm: Centre of the first pixel, LPS.
        number: InstanceNumber, None where there is none.
        promised: ImagesInAcquisition, None where it is not said.
        scaling: RescaleSlope and RescaleIntercept, 1 and 0 where there are none.
        private_scaling: Philips' own slope and intercept (2005,100E and 100D) as they are written; empty elsewhere.
        pixels: How they are stored.
        frames: 1, or the frames of a multi-frame instance.
        lacking_bytes: Pixel bytes that the file is too short for; 0 where it is whole or the pixels are
            compressed.
    """

    sop_uid: str
    series_uid: str
    patient_id: str
    modality: str
    image_type: tuple[str, ...]
    echo_time_ms: float | None
    rows: int
    columns: int
    frames: int
    samples_per_pixel: int
    pixel_spacing_mm: tuple[float, float]
    orientation: tuple[float, ...]
    position_mm: tuple[float, float, float]
    lacking_bytes: int
    number: int | None
    promised: int | None
    scaling: tuple[float, float]
    private_scaling: tuple[str, ...]
    pixels: StoredPixels


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Keeps pydicom's remarks out of warnings and logs: they quote values, which may identify a person."""
    logger = logging.getLogger("pydicom")
    before = logger.disabled
    logger.disabled = True
    try:
        with warnings.catch_warnings(), pydicom.config.disable_value_validation():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled = before


def read_headers(files: Sequence[Path], *, subject: str) -> list[Header]:
    """Returns the headers of DICOM files, in their order, the pixels unread.

    Raises:
        ConversionError: A header cannot be read.
    """
    headers = []
    reader = HeadReader()
    with quiet_pydicom():
        for number, file in enumerate(files, start=1):
            try:
                headers.append(_read(file, reader))
            except UNREADABLE as error:
                raise _unreadable(subject, number, len(files), type(error).__name__) from error
    return headers


def describe_instances(headers: Sequence[Header], *, subject: str) -> list[Instance]:
    """Returns what the headers say about a volume.

    Raises:
        ConversionError: A header lacks a value that a slice must have, as one cut short does.
    """
    instances = []
    with quiet_pydicom():
        read: dict[tuple[str, bytes], Any] = {}
        for number, header in enumerate(headers, start=1):
            if tag_of("SharedFunctionalGroupsSequence") in header.elements:
                raise _enhanced(subject, number, len(headers))
            try:
                instances.append(_describe(header, read))
            except UNREADABLE as error:
                found = _missing(header) or type(error).__name__
                raise _unreadable(subject, number, len(headers), found) from error
    return instances


def _read(file: Path, reader: HeadReader) -> Header:
    with file.open("rb", buffering=0) as stream:
        size = os.fstat(stream.fileno()).st_size
        with suppress(*UNREADABLE):  # what is wrong, or longer than the start of the file, is found by pydicom itself
            plain = reader.read(stream.read(_HEAD_BYTES), size)
            if plain is not None:
                return plain
    with file.open("rb") as stream:
        dataset = pydicom.dcmread(stream, stop_before_pixels=True)
        # the tag, type and length of the pixels stand before them
        start_bytes = 8 if dataset.original_encoding[0] else 12
        return Header(_by_tag(dataset), _by_tag(dataset.file_meta), size - stream.tell() - start_bytes)


def _by_tag(dataset: pydicom.Dataset) -> dict[int, Element]:
    return {int(tag): element for tag, element in dataset.items()}


@dataclass(frozen=True)
class _Values:
    """The values of a header. Those that a series shares are read once: converting them costs more than the file."""

    elements: Mapping[int, Element]
    read: dict[tuple[str, bytes], Any]

    def get(self, keyword: str) -> Any:  # noqa: ANN401
        """Returns an element's value, or None where it is missing or empty."""
        element = self.elements.get(tag_of(keyword))
        if element is None:
            return None
        raw = element.value
        if not isinstance(raw, bytes):
            value = raw
        elif (keyword, raw) in self.read:
            return self.read[keyword, raw]
        else:
            value = self.read[keyword, raw] = _said(converted(element).value)
        return _said(value)

    def text(self, keyword: str) -> str:
        """Returns an element's text.

        Raises:
            ValueError: There is none.
        """
        value = self.get(keyword)
        if value is None:
            raise ValueError
        return str(value)

    def numbers(self, keyword: str, count: int) -> tuple[float, ...]:
        """Returns an element's finite numbers.

        Raises:
            ValueError: They are more or fewer, or not finite.
        """
        numbers = tuple(float(value) for value in self.get(keyword))
        if len(numbers) != count or not all(math.isfinite(number) for number in numbers):
            raise ValueError
        return numbers


def _said(value: Any) -> Any:  # noqa: ANN401
    """Returns a value, or None for one that is empty."""
    return None if value == "" else value


def _describe(header: Header, read: dict[tuple[str, bytes], Any]) -> Instance:
    values = _Values(header.elements, read)
    rows, columns, bits = (int(values.get(keyword)) for keyword in ("Rows", "Columns", "BitsAllocated"))
    if min(rows, columns, bits) < 1:
        raise ValueError
    frames = int(values.get("NumberOfFrames") or 1)
    samples = int(values.get("SamplesPerPixel") or 1)
    syntax = UID(_Values(header.meta, read).text("TransferSyntaxUID"))
    slope, intercept = (values.get(keyword) for keyword in ("RescaleSlope", "RescaleIntercept"))
    scaling = (1.0 if slope is None else float(slope), 0.0 if intercept is None else float(intercept))
    private = (header.elements.get(tag) for tag in _PHILIPS_SCALING)
    # what is packed may be of any length; the converter reads it to its end
    is_plain = not (syntax.is_compressed or syntax.is_deflated)
    lacking = rows * columns * frames * samples * bits // 8 - header.rest_bytes
    image_type = values.get("ImageType") or ()
    echo_time = values.get("EchoTime")
    row_mm, column_mm = values.numbers("PixelSpacing", 2)
    x, y, z = values.numbers("ImagePositionPatient", 3)
    return Instance(
        sop_uid=values.text("SOPInstanceUID"),
        series_uid=values.text("SeriesInstanceUID"),
        patient_id=str(values.get("PatientID") or ""),
        modality=str(values.get("Modality") or ""),
        image_type=(image_type,) if isinstance(image_type, str) else tuple(str(part) for part in image_type),
        echo_time_ms=None if echo_time is None else float(echo_time),
        rows=rows,
        columns=columns,
        frames=frames,
        samples_per_pixel=samples,
        pixel_spacing_mm=(row_mm, column_mm),
        orientation=values.numbers("ImageOrientationPatient", 6),
        position_mm=(x, y, z),
        lacking_bytes=max(0, lacking) if is_plain else 0,
        number=_whole(values.get("InstanceNumber")),
        promised=_whole(values.get("ImagesInAcquisition")),
        scaling=scaling,
        private_scaling=tuple(str(converted(element).value) for element in private if element is not None),
        pixels=StoredPixels(
            syntax=str(syntax),
            bits=bits,
            bits_stored=int(values.get("BitsStored") or bits),
            is_signed=bool(values.get("PixelRepresentation") or 0),
            following_bytes=header.rest_bytes,
        ),
    )


def _whole(value: Any) -> int | None:  # noqa: ANN401
    """Returns a count; None where there is none, or something else: no slice depends on it."""
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _missing(header: Header) -> str | None:
    """Names the first required value that a header lacks."""
    empty = (None, b"", "")
    elements = {keyword: header.elements.get(tag_of(keyword)) for keyword in _REQUIRED}
    return next((f"no {name}" for name, element in elements.items() if element is None or element.value in empty), None)


def _enhanced(subject: str, number: int, count: int) -> Refusal:
    return Refusal(
        Cause.OTHER_KIND,
        f"{subject}: expected classic DICOM, one slice an instance; instance {number} of {count} is an enhanced "
        "multi-frame one, which holds a whole stack. Export the series as classic MR, or split it (dcm4che's "
        "`emf2sf`, PixelMed's MultiFrameImageFactory). Converting it yourself to .nii.gz will do too.",
    )


def _unreadable(subject: str, number: int, count: int, found: str) -> Refusal:
    return Refusal(
        Cause.DAMAGED,
        f"{subject}: expected a DICOM header of one slice in instance {number} of {count}, found {found}. "
        "The file is cut, damaged or of another kind; fetch the series again.",
    )
