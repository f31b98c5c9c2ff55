"""The elements of a DICOM header as they stand in its file, read the short way where its encoding is the usual one.

Add here what is true of the bytes of any header. What a value says about a slice or a person is known elsewhere, and
whatever is not encoded as almost all headers are is left to pydicom.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Final, cast

from pydicom.dataelem import DataElement, RawDataElement, convert_raw_data_element, empty_value_for_VR
from pydicom.filereader import data_element_generator
from pydicom.tag import BaseTag, Tag
from pydicom.uid import ExplicitVRLittleEndian
from pydicom.valuerep import EXPLICIT_VR_LENGTH_16, EXPLICIT_VR_LENGTH_32

from cspine_assets.domain.imaging.folders import DICOM_MARK, MARK_OFFSET

Element = DataElement | RawDataElement

_META_GROUP: Final = 2
_PIXELS: Final = frozenset(int(Tag(keyword)) for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData"))

_START: Final = struct.Struct("<2H2sH")
"""Group, number, type and length of an element (DICOM PS3.5, 7.1.2)."""
_LONG_LENGTH: Final = struct.Struct("<L")
"""The length of types that may be long; it follows the start."""
_UNSTATED: Final = 0xFFFFFFFF
_SHORT_TYPES: Final = frozenset(vr.encode() for vr in EXPLICIT_VR_LENGTH_16)
_LONG_TYPES: Final = frozenset(vr.encode() for vr in EXPLICIT_VR_LENGTH_32)


@dataclass(frozen=True)
class Header:
    """A DICOM header as it was read.

    Attributes:
        elements: All before the pixels, by their tags, as they were read.
        meta: Those that describe the file, its group 2.
        rest_bytes: What follows in the file.
    """

    elements: Mapping[int, Element]
    meta: Mapping[int, Element]
    rest_bytes: int


@cache
def tag_of(keyword: str) -> int:
    """Returns the tag of an element by its name in the standard."""
    return int(Tag(keyword))


def converted(element: Element) -> DataElement:
    """Returns an element with its value as Python has it."""
    return convert_raw_data_element(element) if isinstance(element, RawDataElement) else element


@dataclass
class HeadReader:
    """Reads headers of one series in the usual encoding: explicit types, little endian, not packed.

    ``dcmread`` comes to the same and takes five times as long, which would be a fifth of converting a series. Nine in
    ten elements stand byte for byte in every instance of a series; they are made once, and all headers hold the same.
    """

    _made: dict[bytes, Element] = field(default_factory=dict)

    def read(self, start: bytes, file_bytes: int) -> Header | None:
        """Returns the header in a file's first bytes; None where it is in another encoding, or not all there.

        Args:
            start: First bytes of the file.
            file_bytes: Length of the whole file.

        Raises:
            Exception: One of ``UNREADABLE`` where the bytes are no header.
        """
        if start[MARK_OFFSET : MARK_OFFSET + len(DICOM_MARK)] != DICOM_MARK:
            return None
        meta: dict[int, Element] = {}
        elements: dict[int, Element] = {}
        characters = b""
        position = MARK_OFFSET + len(DICOM_MARK)
        while position + _START.size + _LONG_LENGTH.size <= len(start):
            group, number, kind, length = _START.unpack_from(start, position)
            tag = group << 16 | number
            value = position + _START.size
            if kind in _LONG_TYPES:
                (length,) = _LONG_LENGTH.unpack_from(start, value)
                value += _LONG_LENGTH.size
            elif kind not in _SHORT_TYPES:
                return None
            if tag in _PIXELS:
                # pixels of no stated length are packed, so not in this encoding
                return None if length == _UNSTATED else Header(elements, meta, file_bytes - value)
            if not elements and group != _META_GROUP and not _is_plain(meta):
                return None
            if length == _UNSTATED:
                element, end = _read_unstated(start, position, characters)
            else:
                end = value + length
                whole = start[position:end]
                element = self._element(whole, value - position)
                characters = whole if tag == tag_of("SpecificCharacterSet") else characters
            if end > len(start):
                return None
            (meta if group == _META_GROUP else elements)[tag] = element
            position = end
        return None

    def _element(self, whole: bytes, value_at: int) -> Element:
        made = self._made.get(whole)
        if made is None:
            group, number, kind, _ = _START.unpack_from(whole)
            tag, vr = BaseTag(group << 16 | number), kind.decode()
            value = whole[value_at:] or cast("bytes | None", empty_value_for_VR(vr, raw=True))
            made = RawDataElement(tag, vr, len(whole) - value_at, value, 0, is_implicit_VR=False, is_little_endian=True)
            self._made[whole] = made
        return made


def _read_unstated(start: bytes, position: int, characters: bytes) -> tuple[Element, int]:
    """Returns an element of no stated length, a sequence most likely, as pydicom reads it, and where it ends.

    Args:
        start: First bytes of the file.
        position: Where the element begins.
        characters: The element that names the header's character set, or nothing: texts in the sequence need it.
    """
    stream = io.BytesIO(characters + start[position:])
    elements = data_element_generator(stream, is_implicit_VR=False, is_little_endian=True)
    if characters:
        next(elements)
    try:
        element = next(elements)
    except StopIteration as cut:
        raise EOFError from cut
    return element, position + stream.tell() - len(characters)


def _is_plain(meta: Mapping[int, Element]) -> bool:
    syntax = meta.get(tag_of("TransferSyntaxUID"))
    return syntax is not None and bytes(syntax.value or b"").rstrip(b"\0 ") == ExplicitVRLittleEndian.encode()
