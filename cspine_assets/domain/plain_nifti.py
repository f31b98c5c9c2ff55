"""NIfTI files whose voxels can be taken as they lie: inflated into memory that is used again, their header read here.

Add a header here only with a case of its own in the test that holds this reader against nibabel. Everything this module
does not know is nibabel's, which ``volume`` asks then; what a voxel means is no matter of it.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, field
from math import isfinite, isnan, prod
from pathlib import Path
from typing import Any, Final

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from cspine_assets.domain.errors import GeometryError

_HEADER: Final = "i36x8h14x2h34x3f132x2h24x12f16x4s"
"""The fields of NIfTI-1 that are needed, in their order (nifti1.h), without alignment: sizeof_hdr, dim, datatype and
bitpix, vox_offset and scl_slope and scl_inter, qform_code and sform_code, srow_x and srow_y and srow_z, magic."""

_HEADER_BYTES: Final = 348
_SINGLE_FILE: Final = b"n+1\0"
_FIRST_VOXEL: Final = 352

_TYPES: Final = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}
"""Data types of NIfTI-1 that a mask may have: whole numbers of every width, and floats that hold them."""

_PLACES: Final = range(1, 6)
"""Codes of an sform that places the voxels somewhere (nifti1.h); any other is corrected by nibabel."""

_LARGEST_RATIO: Final = 1032
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

    Known are single-file NIfTI-1 of either byte order, plain or gzipped, without a scaling, placed by their sform.

    Args:
        path: ``.nii`` or ``.nii.gz``; the ending decides whether it is inflated, as in nibabel.
        scratch: Memory that the voxels are put into; they stand there until it is used again.

    Raises:
        GeometryError: The file is missing, or its compressed bytes are damaged or cut short.
    """
    try:
        content = _content(path, scratch)
    except FileNotFoundError as error:
        raise GeometryError(f"{path}: expected a NIfTI file, there is none.") from error
    except OSError as error:
        raise GeometryError(f"{path}: expected a NIfTI file, it cannot be read ({error}).") from error
    return None if content is None else view_plain_nifti(content)


def view_plain_nifti(content: bytes | memoryview) -> PlainNifti | None:
    """Returns the volume in a file's inflated bytes, nothing copied, or None as ``read_plain_nifti`` does."""
    return None if len(content) < _FIRST_VOXEL else _parse(memoryview(content))


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
    if size > len(packed) * _LARGEST_RATIO:
        return None
    try:
        return memoryview(imagecodecs.gzip_decode(packed, out=scratch.take(size)))
    except imagecodecs.DeflateError as error:
        if "BAD_DATA" in str(error):
            raise GeometryError(
                f"{path}: expected a whole gzip file, its bytes are damaged or cut short. Make or fetch it again."
            ) from error
        return None
    except ValueError:
        return None


@dataclass(frozen=True)
class _Header:
    """What a header says about its voxels; names as in nifti1.h."""

    byte_order: str
    dim: tuple[int, ...]
    datatype: int
    bitpix: int
    vox_offset: float
    scaling: tuple[float, float]
    sform_code: int
    srow: tuple[float, ...]
    is_single_file: bool

    @classmethod
    def of(cls, content: memoryview) -> _Header:
        byte_order = "<" if content[0] == _HEADER_BYTES & 0xFF else ">"
        fields = struct.unpack_from(byte_order + _HEADER, content)
        return cls(
            byte_order=byte_order,
            dim=fields[1:9],
            datatype=fields[9],
            bitpix=fields[10],
            vox_offset=fields[11],
            scaling=(fields[12], fields[13]),
            sform_code=fields[15],
            srow=fields[16:28],
            is_single_file=fields[0] == _HEADER_BYTES and fields[28] == _SINGLE_FILE,
        )

    @property
    def is_plain(self) -> bool:
        """Whether this module knows all that the header says."""
        slope, inter = self.scaling
        return (
            self.is_single_file
            and self.dim[0] == 3
            and min(self.dim[1:4]) > 0
            and self.vox_offset >= _FIRST_VOXEL
            and self.vox_offset % 1 == 0
            and (slope == 0 or isnan(slope) or (slope == 1 and inter == 0))
            and self.sform_code in _PLACES
            and all(map(isfinite, self.srow))
        )

    @property
    def dtype(self) -> np.dtype[Any] | None:
        """Type of a voxel, None for one that no mask has."""
        code = _TYPES.get(self.datatype)
        return None if code is None else np.dtype(self.byte_order + code)


def _parse(content: memoryview) -> PlainNifti | None:
    """Returns the volume in a file's bytes, or None where this module does not know what its header says."""
    header = _Header.of(content)
    dtype = header.dtype
    if not header.is_plain or dtype is None or header.bitpix != 8 * dtype.itemsize:
        return None
    start, shape = int(header.vox_offset), header.dim[1:4]
    end = start + prod(shape) * dtype.itemsize
    if end > len(content):
        return None
    affine = np.array([*header.srow, 0, 0, 0, 1], dtype=np.float64).reshape(4, 4)
    return PlainNifti(np.frombuffer(content[start:end], dtype).reshape(shape, order="F"), affine)
