"""NIfTI files whose voxels can be taken as they lie: inflated into memory that is used again, their header read here.

Add a header here only with a case of its own in the test that holds this reader against nibabel. Everything this module
does not know is nibabel's, which ``volume`` asks then; what a voxel means is no matter of it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from cspine_assets.domain.errors import GeometryError
from cspine_assets.domain.nifti_head import FIRST_VOXEL, TYPES, NiftiHead

LARGEST_RATIO: Final = 1032
"""Deflate makes nothing smaller than this part of itself (zlib.net/zlib_tech.html): a trailer that promises more lies,
and memory must not be taken for it."""


@dataclass
class Scratch:
    """Memory that is written over by every file that is read into it.

    Fresh memory for every file costs more than inflating it and counting its voxels: the system has to clear each page.
    """

    _bytes: bytearray = field(default_factory=bytearray)

    def take(self, size: int) -> memoryview:
        """Returns that many bytes of any content; whoever took some before sees them overwritten."""
        if len(self._bytes) < size:
            self._bytes = bytearray(size)
        return memoryview(self._bytes)[:size]


@dataclass(frozen=True)
class PlainNifti:
    """Voxels as they are stored, and where they lie.

    Attributes:
        array: In the file's own axis order and type; it lies in the scratch memory.
        affine: 4 x 4 matrix from voxel indices to millimetres.
    """

    array: NDArray[Any]
    affine: NDArray[np.float64]


def read_plain_nifti(path: Path, scratch: Scratch) -> PlainNifti | None:
    """Returns a volume of three axes, or None where its header or its compression wants a reader that knows more.

    Known are single-file NIfTI-1 of either byte order, plain or gzipped, without a scaling, placed by a sound sform.

    Args:
        path: ``.nii`` or ``.nii.gz``; the ending decides whether it is inflated, as in nibabel.
        scratch: Memory that the voxels are put into; they stand there until it is used again.

    Raises:
        GeometryError: The file is missing, or its compressed bytes are damaged or cut short.
    """
    require_file(path)
    try:
        content = _content(path, scratch)
    except FileNotFoundError as error:
        raise absent(path) from error
    except OSError as error:
        raise GeometryError(f"{path}: expected a NIfTI file, it cannot be read ({error}).") from error
    return None if content is None else view_plain_nifti(content)


def view_plain_nifti(content: bytes | memoryview) -> PlainNifti | None:
    """Returns the volume in a file's inflated bytes, nothing copied, or None as ``read_plain_nifti`` does."""
    return None if len(content) < FIRST_VOXEL else _parse(memoryview(content))


def require_file(path: Path) -> None:
    """Refuses a folder or a pipe, of which reading might never end.

    Raises:
        GeometryError: There is something, and it is no file.
    """
    if not path.is_file() and path.exists():  # in this order: of a file the system is asked once
        raise GeometryError(f"{path}: expected a NIfTI file, found a folder, pipe or device. Take it away.")


def absent(path: Path) -> GeometryError:
    """Returns the error of a file that is not there."""
    found = f"this is a link to {path.readlink()}, which is gone" if path.is_symlink() else "there is none"
    return GeometryError(f"{path}: expected a NIfTI file, {found}. Make or fetch it again.")


def damaged(path: Path) -> GeometryError:
    """Returns the error of a file whose compressed bytes cannot be inflated to their end, or which is not packed."""
    with path.open("rb") as stream:
        is_packed = stream.read(2) == b"\x1f\x8b"
    if not is_packed:
        return GeometryError(
            f"{path}: expected a NIfTI packed with gzip as its name says, found other bytes. Call it .nii if it is "
            "one, or make or fetch it again."
        )
    return GeometryError(
        f"{path}: expected a whole NIfTI packed with gzip, its bytes are damaged or cut short. Make or fetch it again."
    )


def _content(path: Path, scratch: Scratch) -> memoryview | None:
    """Returns the bytes of a file, inflated; None where they are compressed in another way than gzip's usual one."""
    with path.open("rb", buffering=0) as stream:
        if path.name.endswith(".nii"):
            content = scratch.take(os.fstat(stream.fileno()).st_size)
            return content[: stream.readinto(content)]
        packed = stream.read()
    return _inflate(path, packed, scratch) if path.name.endswith(".nii.gz") else None


def _inflate(path: Path, packed: bytes, scratch: Scratch) -> memoryview | None:
    """Returns the first member of a gzip file; None where it is longer than the trailer of the last one says."""
    size = int.from_bytes(packed[-4:], "little")
    if size > len(packed) * LARGEST_RATIO:
        return None
    try:
        content = memoryview(imagecodecs.gzip_decode(packed, out=scratch.take(size)))
        return content if len(content) == size else None
    except imagecodecs.DeflateError as error:
        if "BAD_DATA" in str(error):
            raise damaged(path) from error
        return None
    except ValueError:
        return None


def _parse(content: memoryview) -> PlainNifti | None:
    """Returns the volume in a file's bytes, or None where this module does not know what its header says."""
    head = NiftiHead.of(content)
    if head is None or head.dim[0] != 3 or head.is_scaled or head.datatype not in TYPES:
        return None
    if head.bitpix != 8 * head.dtype.itemsize or not head.has_plain_placement or head.layout_fault() is not None:
        return None
    start, shape = int(head.vox_offset), head.dim[1:4]
    end = start + head.voxel_bytes
    if end > len(content):
        return None
    affine = np.array([*head.srow, 0, 0, 0, 1], dtype=np.float64).reshape(4, 4)
    return PlainNifti(np.frombuffer(content[start:end], head.dtype).reshape(shape, order="F"), affine)
