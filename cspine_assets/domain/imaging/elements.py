"""The elements of a DICOM header as they stand in its file, read the short way where its encoding is the usual one.

Add here what is true of the bytes of any header. What a value says about a slice or a person is known elsewhere, and
whatever is not encoded as almost all headers are is left to pydicom.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import chain, repeat
from typing import Final, NamedTuple, cast

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


class _Placed(NamedTuple):
    """An element as it was found.

    Attributes:
        whole: Its bytes in the file; empty where they alone do not say what it is.
    """

    tag: int
    element: Element
    length: int
    whole: bytes


class _Pixels(NamedTuple):
    """Where the header ends: so many bytes say that pixels follow."""

    length: int


@dataclass
class HeadReader:
    """Reads headers of one series in the usual encoding: explicit types, little endian, not packed.

    ``dcmread`` comes to the same and takes seven times as long, a sixth of all that converting a series takes. Four in
    five elements stand in the next instance byte for byte: they are recognized, and all headers hold the same one.
    """

    _last: list[_Placed] = field(default_factory=list)

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
        position = MARK_OFFSET + len(DICOM_MARK)
        placed: list[_Placed] = []
        for last in chain(self._last, repeat(None)):
            known = last is not None and last.whole and start.startswith(last.whole, position)
            found = last if known else _next(start, position, placed)
            if found is None:
                return None
            position += found.length
            if isinstance(found, _Pixels):
                self._last = placed
                return _header(placed, file_bytes - position)
            placed.append(found)
        return None


def _next(start: bytes, position: int, before: Sequence[_Placed]) -> _Placed | _Pixels | None:
    """Returns the element at a position, or that the pixels begin there; None for what only pydicom can read."""
    if position + _START.size + _LONG_LENGTH.size > len(start):
        return None
    group, number, kind, length = _START.unpack_from(start, position)
    tag, value = group << 16 | number, _START.size
    if kind in _LONG_TYPES:
        (length,) = _LONG_LENGTH.unpack_from(start, position + value)
        value += _LONG_LENGTH.size
    elif kind not in _SHORT_TYPES:
        return None
    if tag in _PIXELS:
        # pixels of no stated length are packed, so not in this encoding
        return None if length == _UNSTATED else _Pixels(value)
    if length == _UNSTATED:
        return _read_unstated(tag, start[position:], before)
    whole = start[position : position + value + length]
    if len(whole) < value + length:
        return None
    vr = kind.decode()
    content = whole[value:] or cast("bytes | None", empty_value_for_VR(vr, raw=True))
    element = RawDataElement(BaseTag(tag), vr, length, content, 0, is_implicit_VR=False, is_little_endian=True)
    return _Placed(tag, element, len(whole), whole)


def _read_unstated(tag: int, rest: bytes, before: Sequence[_Placed]) -> _Placed | None:
    """Reads an element of no stated length by pydicom, a sequence most likely; its texts may need the character set."""
    characters = next((found.whole for found in before if found.tag == tag_of("SpecificCharacterSet")), b"")
    stream = io.BytesIO(characters + rest)
    for element in data_element_generator(stream, is_implicit_VR=False, is_little_endian=True):
        if element.tag == tag:
            return _Placed(tag, element, stream.tell() - len(characters), b"")
    return None


def _header(placed: Sequence[_Placed], rest_bytes: int) -> Header | None:
    # one of the file's own elements that stands later is damage; pydicom, too, has it among the others
    first = next((number for number, found in enumerate(placed) if found.tag >> 16 != _META_GROUP), len(placed))
    meta = {found.tag: found.element for found in placed[:first]}
    elements = {found.tag: found.element for found in placed[first:]}
    return Header(elements, meta, rest_bytes) if _is_plain(meta) else None


def _is_plain(meta: Mapping[int, Element]) -> bool:
    syntax = meta.get(tag_of("TransferSyntaxUID"))
    return syntax is not None and bytes(syntax.value or b"").rstrip(b"\0 ") == ExplicitVRLittleEndian.encode()
