"""Gzip in and out, by the fast library and with bytes that depend on the content alone.

Add here what reads or writes a compressed file of this wing. What the bytes mean is known elsewhere.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from isal import igzip, igzip_lib, isal_zlib

from cspine_assets.domain.errors import ConversionError
from cspine_assets.domain.files import written_aside

LEVEL: Final = 1
"""isal's level: 33 ms for a volume of 448 x 448 x 15 where zlib's level 6 takes 720 ms."""

LARGEST_VOLUME_BYTES: Final = 4 << 30
_GZIP_WBITS: Final = 16 + 15
_CHUNK_BYTES: Final = 1 << 22


def write_gzip(path: Path, *parts: bytes | memoryview) -> str:
    """Writes parts one after another as one gzip file, whole or not at all, and returns its SHA-256.

    Equal content gives equal bytes: there is no name and no time in it.
    """
    packer = isal_zlib.compressobj(LEVEL, wbits=_GZIP_WBITS)
    packed = [*(packer.compress(part) for part in parts), packer.flush()]
    digest = hashlib.sha256()
    with written_aside(path) as aside, aside.open("wb") as stream:
        for piece in packed:
            stream.write(piece)
            digest.update(piece)
    return digest.hexdigest()


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
                    raise ConversionError(f"{subject}: expected a volume, {path.name} inflates to over 4 GiB.")
    except FileNotFoundError as error:
        raise ConversionError(f"{subject}: expected a NIfTI at {path.name}, there is none. Fetch it again.") from error
    except (OSError, EOFError, igzip_lib.IsalError) as error:  # type: ignore[misc]  # its stub is wrong
        raise ConversionError(
            f"{subject}: expected a whole gzip file, {path.name} is cut short or damaged "
            f"({type(error).__name__}). "
            "Fetch it again."
        ) from error
    return bytes(content)
