"""Gzip in and out, by the fast library and with bytes that depend on the content alone.

Add here what reads or writes a compressed file of this wing. What the bytes mean is known elsewhere.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from isal import igzip, igzip_lib, isal_zlib

from cspine_assets.domain.files import written_aside
from cspine_assets.domain.imaging.refusal import Cause, Refusal

LEVEL: Final = 1
"""isal's level: 9 ms for a volume of 448 x 448 x 15 where zlib's level 6 takes 257 ms and saves one byte in fifty.
Level 0 takes 9 ms too and is larger than the volume, level 2 saves nothing within so short a window."""

LARGEST_VOLUME_BYTES: Final = 4 << 30
_GZIP: Final = 16
_WINDOW_BITS: Final = 9
"""How far back to look for a repetition: 512 bytes. Between rows of a scan noise repeats nothing: a look at the whole
32 KB takes 15 percent longer, and real volumes come out from 2 percent smaller to 2 percent larger."""
_MEMORY_LEVEL: Final = 9
"""How much is packed with one code: the most takes a tenth less time than zlib's usual 8, for 0.3 percent in size."""
_CHUNK_BYTES: Final = 1 << 22
_PIECE_BYTES: Final = 1 << 18
"""Packed at a time. What comes out of 1 MiB no longer fits the memory that the last one left: fresh memory costs 1 ms a
volume."""


def write_gzip(path: Path, *parts: bytes | memoryview) -> str:
    """Writes parts one after another as one gzip file, whole or not at all, and returns the content's SHA-256.

    Equal content gives equal bytes: there is no name and no time in it.
    """
    with written_aside(path) as aside, aside.open("wb") as stream:
        stream.writelines(_packed(parts))
    return content_sha256(*parts)


def content_sha256(*parts: bytes | memoryview) -> str:
    """Returns the SHA-256 of parts one after another, as ``gunzip --stdout FILE | sha256sum`` gives it.

    Of the content and not of the file: a release of the compressor that packs otherwise makes no volume another one,
    and no model that was trained on it out of date.
    """
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _packed(parts: Iterable[bytes | memoryview]) -> Iterator[bytes]:
    """Yields a gzip file in pieces that are still in the processor's cache when they are written."""
    packer = isal_zlib.compressobj(LEVEL, wbits=_GZIP + _WINDOW_BITS, memLevel=_MEMORY_LEVEL)
    for part in parts:
        view = memoryview(part)
        for start in range(0, len(view), _PIECE_BYTES):
            yield packer.compress(view[start : start + _PIECE_BYTES])
    yield packer.flush()


def inflate_raw(packed: bytes, size: int) -> bytes:
    """Returns a deflated member of an archive, at most one byte more than it should have.

    Raises:
        ValueError: It is no whole deflate stream.
    """
    unpacker = isal_zlib.decompressobj(wbits=-15)
    try:
        content: bytes = unpacker.decompress(packed, size + 1)
    except igzip_lib.IsalError as error:  # type: ignore[misc]  # its stub is wrong
        raise ValueError("no deflate stream") from error
    return content


def checksum(content: bytes) -> int:
    """Returns the CRC-32 that a zip keeps of a member."""
    value: int = isal_zlib.crc32(content)
    return value


def mapped(path: Path) -> memoryview:
    """Returns a file's bytes without copying them; the file may be removed while they are in use."""
    with path.open("rb") as stream:
        if not os.fstat(stream.fileno()).st_size:
            return memoryview(b"")
        return memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))


def read_nifti_bytes(path: Path, *, subject: str) -> bytes:
    """Returns the bytes of a ``.nii`` or ``.nii.gz``, inflated; the content decides which, not the name.

    Raises:
        ConversionError: The file is missing, cut short, damaged, or larger than any volume.
    """
    try:
        with path.open("rb") as stream:
            packed = stream.read(2) == b"\x1f\x8b"
        if not packed:
            return path.read_bytes()
        with igzip.IGzipFile(path, "rb") as stream:  # type: ignore[no-untyped-call]
            content = bytearray()
            while part := stream.read(_CHUNK_BYTES):
                content += part
                if len(content) > LARGEST_VOLUME_BYTES:
                    raise Refusal(
                        Cause.UNSAFE_ARCHIVE, f"{subject}: expected a volume, {path.name} inflates to over 4 GiB."
                    )
    except FileNotFoundError as error:
        raise Refusal(
            Cause.MISSING, f"{subject}: expected a NIfTI at {path.name}, there is none. Fetch it again."
        ) from error
    except (OSError, EOFError, igzip_lib.IsalError) as error:  # type: ignore[misc]  # its stub is wrong
        raise Refusal(
            Cause.DAMAGED,
            f"{subject}: expected a whole gzip file, {path.name} is cut short or damaged ({type(error).__name__}). "
            "Fetch it again.",
        ) from error
    return bytes(content)
