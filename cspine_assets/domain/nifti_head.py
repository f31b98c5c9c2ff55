"""The header of a NIfTI file, and whether its voxels can be trusted to lie where it says.

Every door that takes a NIfTI (score, predict, convert, masks of other tools) judges it here, so that all refuse the
same files for the same reason. Add a rule here when a header is met that a tool would misread without a message.
Reading the voxels is not done here.
"""

from __future__ import annotations

import struct
from math import hypot, isfinite, isnan, prod
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

HEADER_BYTES: Final = 348
FIRST_VOXEL: Final = 352
"""Where voxels may begin in a single file: behind the header and the four bytes that announce extensions."""

_FIELDS: Final = struct.Struct("<i36x8h14x2h2x8f3f3xB128x2h18f16x4s")
_FIELDS_BIG: Final = struct.Struct(">i36x8h14x2h2x8f3f3xB128x2h18f16x4s")
"""The fields of NIfTI-1 that are needed, in their order (nifti1.h), without alignment: sizeof_hdr, dim, datatype and
bitpix, pixdim, vox_offset and scl_slope and scl_inter, xyzt_units, qform_code and sform_code, quatern and qoffset,
srow_x and srow_y and srow_z, magic."""

_SECOND_VERSION: Final = (b"\x1c\x02\x00\x00", b"\x00\x00\x02\x1c")
"""How a header of NIfTI-2 begins, in either byte order: its length, 540."""

TYPES: Final = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8",
}  # fmt: skip
"""Data types that hold one real number a voxel (nifti1.h)."""

_OTHER_TYPES: Final = {1: "bits", 32: "complex numbers", 128: "colours (RGB)", 1536: "128-bit floats",
                       1792: "complex numbers", 2048: "complex numbers", 2304: "colours (RGBA)"}  # fmt: skip

_UNITS: Final = {1: "metres", 3: "micrometres"}
"""Units of length in ``xyzt_units`` other than millimetres (2) and none (0), which all tools take for millimetres."""

_SIZES_MM: Final = (1e-3, 1e3)
"""A voxel of a scan of a person is neither shorter nor longer than this."""

SHEAR_TOLERANCE: Final = 1e-4
"""Cosine of the angle between two axes that counts as a right angle: nnU-Net's reader opens such a file, and distances
are right within 0.005 percent."""

LARGEST_VOLUME_BYTES: Final = 4 << 30
"""No memory is taken for a larger volume, whatever a header promises."""

FURTHEST_MM: Final = 1e5
"""A first voxel further from the scanner's centre is none: single precision cannot tell voxels apart out there."""

_FAR: Final = f"expected the first voxel within {FURTHEST_MM:g} mm of the scanner's centre, found it further away."

_QUATERNION_TOLERANCE: Final = 3e-7
"""Rounding of a unit quaternion in single precision; what is longer is refused by nibabel too."""

_LETTERS: Final = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}
"""Axis of the world (RAS) that a letter names, and its sign."""

PLACES: Final = range(1, 6)
"""Codes of a qform or sform that places the voxels somewhere (nifti1.h)."""


class NiftiHead(NamedTuple):
    """What the header of a single-file NIfTI-1 says; names as in nifti1.h.

    A tuple, because one is made for every mask that is scored, and a frozen dataclass takes several times as long.
    """

    byte_order: str
    dim: tuple[int, ...]
    datatype: int
    bitpix: int
    pixdim: tuple[float, ...]
    vox_offset: float
    slope: float
    inter: float
    units: int
    qform_code: int
    sform_code: int
    quatern: tuple[float, ...]
    srow: tuple[float, ...]
    magic: bytes

    @classmethod
    def of(cls, content: bytes | memoryview) -> NiftiHead | None:
        """Returns the header at the beginning of a file's inflated bytes; None where they are no NIfTI-1."""
        if len(content) < HEADER_BYTES:
            return None
        order, layout = ("<", _FIELDS) if content[0] == HEADER_BYTES & 0xFF else (">", _FIELDS_BIG)
        fields = layout.unpack_from(content)
        if fields[0] != HEADER_BYTES:
            return None
        return cls(
            byte_order=order,
            dim=fields[1:9],
            datatype=fields[9],
            bitpix=fields[10],
            pixdim=fields[11:19],
            vox_offset=fields[19],
            slope=fields[20],
            inter=fields[21],
            units=fields[22] & 0b111,
            qform_code=fields[23],
            sform_code=fields[24],
            quatern=fields[25:31],
            srow=fields[31:43],
            magic=fields[43],
        )

    @property
    def is_scaled(self) -> bool:
        """Whether a voxel's value is another than the stored number; a slope of 0 or NaN means no scaling."""
        return not (self.slope == 0 or isnan(self.slope) or (self.slope == 1 and self.inter == 0))

    @property
    def is_placed(self) -> bool:
        """Whether a qform or sform places the voxels in the scanner's world."""
        return self.has_sform or self.qform_code in PLACES

    @property
    def has_sform(self) -> bool:
        """Whether the sform places the voxels; the qform does otherwise."""
        return self.sform_code in PLACES

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels along each axis."""
        return self.dim[1 : self.dim[0] + 1]

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Type of the stored numbers, in the file's byte order."""
        return np.dtype(self.byte_order + TYPES[self.datatype])

    @property
    def voxel_bytes(self) -> int:
        """Bytes that all voxels take."""
        return prod(self.shape) * self.dtype.itemsize

    @property
    def has_plain_placement(self) -> bool:
        """Whether the sform places the voxels and nothing is wrong with it.

        As ``placement_fault`` and ``shear_fault``, without their words: it is asked of every mask that is scored.
        """
        if self.units in _UNITS or not self.has_sform:
            return False
        xx, xy, xz, x, yx, yy, yz, y, zx, zy, zz, z = self.srow
        first, second, third = xx * xx + yx * yx + zx * zx, xy * xy + yy * yy + zy * zy, xz * xz + yz * yz + zz * zz
        low, high = _SIZES_MM[0] ** 2, _SIZES_MM[1] ** 2
        # comparisons with NaN are false
        return (
            low <= first <= high
            and low <= second <= high
            and low <= third <= high
            and abs(x) <= FURTHEST_MM
            and abs(y) <= FURTHEST_MM
            and abs(z) <= FURTHEST_MM
            and (xx * xy + yx * yy + zx * zy) ** 2 <= SHEAR_TOLERANCE**2 * first * second
            and (xx * xz + yx * yz + zx * zz) ** 2 <= SHEAR_TOLERANCE**2 * first * third
            and (xy * xz + yy * yz + zy * zz) ** 2 <= SHEAR_TOLERANCE**2 * second * third
        )

    def layout_fault(self) -> str | None:  # noqa: PLR0911 - a rule a return
        """Returns why the voxels cannot be found or understood, as "expected ..., got ..."; None where they can."""
        count = self.dim[0]
        if self.magic[:3] == b"ni1":
            return (
                "expected header and voxels in one file, found a pair of .hdr and .img. Save it as .nii.gz "
                "(`nib-convert a.hdr a.nii.gz`)."
            )
        if self.magic != b"n+1\0":
            return "expected a NIfTI-1 file, found another mark in its header. Save it as NIfTI-1 again."
        if count != 3 or min(self.dim[1:4]) < 1:
            return f"expected a volume of 3 axes, {self._shape_found()}"
        if self.datatype in _OTHER_TYPES:
            return f"expected one real number a voxel, found {_OTHER_TYPES[self.datatype]}. Is it a colour picture?"
        if self.datatype not in TYPES:
            return f"expected a number type of NIfTI-1, found datatype {self.datatype}. Save the file again."
        if self.voxel_bytes > LARGEST_VOLUME_BYTES:
            return f"expected a scan of a person, got shape {self.shape}, which is over 4 GiB. Cut out the part needed."
        if not (isfinite(self.vox_offset) and self.vox_offset >= FIRST_VOXEL and self.vox_offset % 1 == 0):
            return (
                f"expected voxels from byte {FIRST_VOXEL} on, found vox_offset {self.vox_offset:g}: the first voxels "
                "would be read from the header. Save the file again."
            )
        if not isnan(self.slope) and not (isfinite(self.slope) and isfinite(self.inter)) and self.slope != 0:
            return "expected a finite scaling, found scl_slope or scl_inter infinite or NaN. Save the file again."
        return None

    def _shape_found(self) -> str:
        count = self.dim[0]
        if not 1 <= count <= 7:
            return f"its header says {count}. Its header is damaged; make or fetch it again."
        found = self.dim[1 : count + 1]
        if min(found) < 1:
            return f"got shape {found}, with an axis without voxels. Its header is damaged; make or fetch it again."
        if count > 3 and set(found[3:]) == {1}:
            return f"got shape {found}. Save it with its first 3 axes alone."
        return f"got shape {found}. {'Is it a time series?' if count > 3 else 'Is it a single slice?'}"

    def placement_fault(self) -> str | None:  # noqa: PLR0911 - a rule a return
        """Returns why the voxels cannot be placed in millimetres, as ``layout_fault`` does."""
        if self.units in _UNITS:
            return (
                f"expected millimetres, found {_UNITS[self.units]} as the unit of length (xyzt_units). Save it in "
                "millimetres: other tools read the unit in different ways."
            )
        if not self.is_placed:
            return (
                "expected a qform or sform that places the voxels, found neither: nobody can tell which axis runs from "
                "left to right."
            )
        if self.has_sform:
            return placement_fault(self.srow)
        if not all(map(isfinite, (self.pixdim[0], *self.quatern))):
            return "expected finite numbers in the qform, found infinite ones or NaN."
        if sum(part * part for part in self.quatern[:3]) > 1 + _QUATERNION_TOLERANCE:
            return "expected a unit quaternion in the qform, found a longer one."
        if max(map(abs, self.quatern[3:])) > FURTHEST_MM:
            return _FAR
        return self.size_fault()

    def shear_fault(self) -> str | None:
        """Returns which array axes are not at right angles; None where all are, or the placement is none."""
        return shear_fault(self.srow) if self.has_sform and self.placement_fault() is None else None

    def size_fault(self) -> str | None:
        """Returns why the voxel sizes of ``pixdim`` cannot be, None where they can; so long as the unit is known."""
        low, high = _SIZES_MM
        if self.units not in _UNITS and all(low <= abs(size) <= high for size in self.pixdim[1:4]):
            return None
        unit = _UNITS.get(self.units, "mm")
        return (
            f"expected voxels between {low:g} and {high:g} mm, found pixdim {_numbers(self.pixdim[1:4])} {unit}. "
            "Save it with its voxel sizes in millimetres."
        )


def axes_affine(axes: str, sizes_mm: tuple[float, ...]) -> NDArray[np.float64]:
    """Returns the affine of a grid whose first voxel lies at 0.

    Args:
        axes: Where the array axes point, such as ``PSR``.
        sizes_mm: Length of a voxel along each of them.
    """
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, letter in enumerate(axes):
        world, sign = _LETTERS[letter]
        affine[world, axis] = sign * abs(sizes_mm[axis])
    return affine


def axes_fault(axes: str) -> str | None:
    """Returns why three letters name no axes, None where they do."""
    worlds = [_LETTERS[letter][0] for letter in axes if letter in _LETTERS]
    if len(axes) == 3 and sorted(worlds) == [0, 1, 2]:
        return None
    return f"expected three letters, one each of L or R, A or P and I or S, such as PSR; got {axes!r}."


def strange_file(start: bytes) -> str:
    """Returns what a file is that has no header of NIfTI-1, by its first bytes."""
    if start[:4] in _SECOND_VERSION:
        return "expected NIfTI-1, found NIfTI-2, which nnU-Net's reader cannot open. Save it as NIfTI-1."
    if start[:2] == b"\x1f\x8b":
        return "expected a NIfTI file, found one packed with gzip where its name does not say so. Call it .nii.gz."
    if start[128:132] == b"DICM":
        return "expected a NIfTI file, found a DICOM instance. Convert its series with `cspine convert`."
    if start[:4] == b"PK\x03\x04":
        return "expected a NIfTI file, found a zip archive. Unpack it."
    if not start.strip(b"\0"):
        return "expected a NIfTI file, found no header (an empty file, or zeros). Fetch or make it again."
    return "expected a NIfTI-1 file, found other bytes. Fetch or make it again."


def placement_fault(srow: tuple[float, ...]) -> str | None:
    """Returns what is wrong with the three rows of an affine, None where nothing is.

    Args:
        srow: Twelve numbers, rows x, y and z.
    """
    if not all(map(isfinite, srow)):
        return "expected finite numbers in the affine (sform), found infinite ones or NaN. Save it with its placement."
    axes = [(srow[axis], srow[axis + 4], srow[axis + 8]) for axis in range(3)]
    sizes = [hypot(*axis) for axis in axes]
    low, high = _SIZES_MM
    if not all(low <= size <= high for size in sizes):
        return (
            f"expected voxels between {low:g} and {high:g} mm, found an affine with {_numbers(sizes)} mm. "
            "Save it with its placement."
        )
    return _FAR if max(abs(srow[at]) for at in (3, 7, 11)) > FURTHEST_MM else None


def shear_fault(srow: tuple[float, ...]) -> str | None:
    """Returns which array axes are not at right angles, None where all are; asked where ``placement_fault`` is None."""
    axes = [(srow[axis], srow[axis + 4], srow[axis + 8]) for axis in range(3)]
    sizes = [hypot(*axis) for axis in axes]
    for first, second in ((0, 1), (0, 2), (1, 2)):
        cosine = sum(a * b for a, b in zip(axes[first], axes[second], strict=True)) / (sizes[first] * sizes[second])
        if abs(cosine) > SHEAR_TOLERANCE:
            return (
                f"expected array axes at right angles, found axes {first} and {second} at a cosine of {cosine:.3g} "
                "(a sheared affine): distances along them are wrong. Resample it onto a grid with right angles."
            )
    return None


def _numbers(values: tuple[float, ...] | list[float]) -> str:
    return " x ".join(f"{value:.4g}" for value in values)
