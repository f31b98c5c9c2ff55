"""The bytes of a NIfTI-1 header that say more than the voxels need: free text, extensions, orientation codes.

Add a field here when a tool is found to write something about a person into it (NIfTI-1: nifti1.h, byte
offsets). Voxels and affines are read by ``volume``, never here.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import Final

from cspine_assets.domain.errors import GeometryError
from cspine_assets.domain.nifti_head import HEADER_BYTES, strange_file

_EXTENSION_FLAG: Final = 348
_EMPTIED: Final[dict[str, slice]] = {
    "data_type": slice(4, 14),
    "db_name": slice(14, 32),
    "aux_file": slice(228, 252),  # dcm2niix copies the image comments into it
    "intent_name": slice(328, 344),
}
_DESCRIPTION: Final = slice(148, 228)
_VOX_OFFSET: Final = 108

_TECHNICAL_DESCRIPTION = re.compile(rb"TE=[\d.eE+-]+;Time=(?P<time>[\d.]+)(;[a-zA-Z]{1,8}=[\d.+-]+)*")
"""What dcm2niix writes: echo time, time of day, phase-encoding steps."""

_NO_TIME: Final = b"0.000"


@dataclass(frozen=True)
class StrippedNifti:
    """An uncompressed NIfTI without free text.

    Attributes:
        head: All bytes before the voxels.
        voxels: All others, as they were.
        emptied: Names of the fields that held something and are empty now.
    """

    head: bytes
    voxels: memoryview
    emptied: tuple[str, ...]


def without_free_text(content: bytes | memoryview) -> StrippedNifti:
    """Returns a NIfTI with its free text and extensions emptied; its length and geometry stay.

    The echo time in the description stays; the time of day beside it becomes ``0.000``, as the basic profile
    of DICOM PS3.15 removes acquisition times.

    Args:
        content: An uncompressed single-file NIfTI-1.

    Raises:
        GeometryError: It is none.
    """
    order = _byte_order(content)
    offset = int(struct.unpack_from(order + "f", content, _VOX_OFFSET)[0])
    if not HEADER_BYTES <= offset <= len(content):
        raise GeometryError(f"expected voxels after the NIfTI header, found their offset to be {offset}.")
    changed = bytearray(content[:offset])
    emptied = [name for name, field in _EMPTIED.items() if _empty(changed, field)]
    if _strip_description(changed):
        emptied.append("descrip")
    if offset > HEADER_BYTES + 4 and _empty(changed, slice(_EXTENSION_FLAG, offset)):
        emptied.append("extensions")
    return StrippedNifti(bytes(changed), memoryview(content)[offset:], tuple(emptied))


def _byte_order(content: bytes | memoryview) -> str:
    for order in "<>":
        if len(content) >= HEADER_BYTES and struct.unpack_from(order + "i", content)[0] == HEADER_BYTES:
            if content[344:347] == b"n+1":
                return order
            break
    raise GeometryError(strange_file(bytes(content[:HEADER_BYTES])))


def _empty(content: bytearray, field: slice) -> bool:
    """Fills a field with zeros; whether it held anything."""
    held = any(content[field])
    content[field] = bytes(field.stop - field.start)
    return held


def _strip_description(content: bytearray) -> bool:
    text = bytes(content[_DESCRIPTION]).rstrip(b"\0")
    match = _TECHNICAL_DESCRIPTION.fullmatch(text)
    kept = b"" if match is None else text[: match.start("time")] + _NO_TIME + text[match.end("time") :]
    content[_DESCRIPTION] = kept.ljust(_DESCRIPTION.stop - _DESCRIPTION.start, b"\0")
    return kept != text
