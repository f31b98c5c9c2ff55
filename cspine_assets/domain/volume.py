"""A volume on its voxel grid: reading, writing, the slice axis, and whether two grids are the same.

What holds for every NIfTI of the study lives here. What a voxel means (labels, levels) and how a volume came to be
(conversion, prediction) does not.
"""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cspine_assets.domain.errors import GeometryError
from cspine_assets.domain.files import written_aside
from cspine_assets.domain.image_names import refusal_of_ending
from cspine_assets.domain.nifti_head import HEADER_BYTES, NiftiHead, axes_affine, strange_file
from cspine_assets.domain.plain_nifti import (
    LARGEST_RATIO,
    PlainNifti,
    Scratch,
    absent,
    damaged,
    read_plain_nifti,
    view_plain_nifti,
)

if TYPE_CHECKING:
    import nibabel as nib

SPACING_TOLERANCE_MM = 1e-3
"""Spacing and origin may differ by this much: header fields are float32, and tools round them differently."""

DIRECTION_TOLERANCE = 1e-4
"""Direction cosines may differ by this much, for the same reason."""


LABEL_TOLERANCE = 1e-3
"""What rounding to single precision moves labels by at most, and the least that is proposed to allow."""

LARGEST_SHIFT = 0.05
"""What storing labels in whole numbers with a scaling moves them by at most: one of 256 levels of labels up to 12."""


class UnplacedError(GeometryError):
    """A file that does not say where its voxels lie, or says it in a way that cannot be true."""


@dataclass(frozen=True)
class Allowance:
    """What a person allows of files beyond the rules.

    Attributes:
        axes: Where the three array axes of a file without a usable placement point, such as ``PSR``; its voxel sizes
            are then those of ``pixdim``, and its first voxel lies at 0. None refuses such a file.
        label_tolerance: A value that lies so near to a whole number is taken for that label.
    """

    axes: str | None = None
    label_tolerance: float = 0.0


STRICT = Allowance()


@dataclass(frozen=True)
class Geometry:
    """A voxel grid in the scanner's world (RAS, millimetres).

    Attributes:
        shape: Voxels along the three axes of the array.
        affine: 4 x 4 matrix from voxel indices to millimetres.
    """

    shape: tuple[int, ...]
    affine: NDArray[np.float64]

    @cached_property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance of neighbouring voxel centres along each array axis."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)

    @property
    def origin_mm(self) -> NDArray[np.float64]:
        """World position of the first voxel's centre."""
        return self.affine[:3, 3]

    @cached_property
    def direction(self) -> NDArray[np.float64]:
        """Unit vectors of the array axes in the world, one a column."""
        return np.asarray(self.affine[:3, :3] / np.asarray(self.spacing_mm), dtype=np.float64)

    @property
    def axis_codes(self) -> str:
        """Where each array axis points, such as ``PSR``."""
        import nibabel as nib  # noqa: PLC0415 - a quarter of a second, and most masks are read without it

        return "".join(str(code) for code in nib.aff2axcodes(self.affine))

    @cached_property
    def slice_axis(self) -> int:
        """The array axis nearest to left-right: sagittal slices lie one after the other along it.

        Taken from the affine, never from the position in the array: one exam of the release has it first.
        """
        return int(np.argmax(np.abs(self.direction[0])))

    @property
    def voxel_volume_mm3(self) -> float:
        """Volume of one voxel."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    @property
    def diagonal_mm(self) -> float:
        """Length of the volume's diagonal, from corner to corner: no two voxels lie further apart."""
        return float(np.linalg.norm(np.multiply(self.shape, self.spacing_mm)))

    def difference(self, other: Geometry) -> str | None:
        """Returns what differs from another grid in one phrase, or None where they are the same within tolerance."""
        if self.shape == other.shape and np.array_equal(self.affine, other.affine):
            return None
        if self.shape != other.shape:
            return f"shape {self.shape} against {other.shape}"
        spacing = float(np.max(np.abs(np.subtract(self.spacing_mm, other.spacing_mm))))
        if spacing > SPACING_TOLERANCE_MM:
            return f"spacing differs by {spacing:.4g} mm"
        direction = float(np.max(np.abs(self.direction - other.direction)))
        if direction > DIRECTION_TOLERANCE:
            return f"direction differs by {direction:.4g} ({self.axis_codes} against {other.axis_codes})"
        origin = float(np.max(np.abs(self.origin_mm - other.origin_mm)))
        if origin > SPACING_TOLERANCE_MM:
            return f"origin differs by {origin:.4g} mm"
        return None


@dataclass(frozen=True)
class Volume:
    """Voxels and their grid.

    Attributes:
        array: Three-dimensional array in the file's own axis order.
        geometry: Its grid.
    """

    array: NDArray[np.generic]
    geometry: Geometry


def read_geometry(path: Path, *, allowed: Allowance = STRICT) -> Geometry:
    """Returns the grid of a NIfTI from its header, without reading voxels.

    Raises:
        GeometryError: The file is missing or no NIfTI-1, or its header cannot be trusted (``nifti_head``).
    """
    return _grid(_load(path, allowed), allowed)


def read_volume(path: Path, *, allowed: Allowance = STRICT) -> Volume:
    """Returns a scan with its intensities as stored on disk (scaled only where the header says so).

    Args:
        path: The file.
        allowed: What is allowed beyond the rules.

    Raises:
        GeometryError: As ``read_geometry``, or it is cut short, damaged, not three-dimensional, or larger than memory.
    """
    image = _load(path, allowed)
    try:
        array = np.asanyarray(image.dataobj)
    except MemoryError as error:
        raise GeometryError(
            f"{path}: expected a volume that fits into memory, got shape {image.shape}. Is it a single scan?"
        ) from error
    except Exception as error:  # what zlib, NumPy and nibabel raise on foreign bytes is listed nowhere
        raise GeometryError(
            f"{path}: expected a whole NIfTI, the voxels cannot be read ({_in_a_line(error)})."
        ) from error
    return Volume(array, _grid(image, allowed))


def view_volume(content: bytes | memoryview) -> Volume | None:
    """Returns the scan in the bytes of an inflated NIfTI, nothing copied; None where only ``read_volume`` knows more.

    ``read_volume`` gives the same and takes three times as long, most of it for one call each of many functions.
    """
    plain = view_plain_nifti(content)
    return None if plain is None else _as_volume(plain)


def read_mask(path: Path, *, scratch: Scratch | None = None, allowed: Allowance = STRICT) -> Volume:
    """Returns a mask as uint8.

    Args:
        path: The file.
        scratch: Memory to read many masks with, one after another: the mask is gone when it is used again. None for
            a mask that stays.
        allowed: What is allowed beyond the rules.

    Raises:
        GeometryError: As ``read_volume``, its bytes are damaged, or a value is no whole number between 0 and 255.
    """
    plain = read_plain_nifti(path, scratch or Scratch())
    volume = read_volume(path, allowed=allowed) if plain is None else _as_volume(plain)
    if volume.array.dtype == np.uint8:
        return Volume(volume.array.astype(np.uint8, copy=False), volume.geometry)
    values = volume.array
    with np.errstate(invalid="ignore"):  # what is no number is refused below
        mask = values.astype(np.uint8)
        if np.array_equal(mask, values):
            return Volume(mask, volume.geometry)
        mask = (np.rint(values) if values.dtype.kind == "f" else values).astype(np.uint8)
        away = np.abs(np.subtract(values, mask, dtype=np.float64))
    wrong = ~(away <= allowed.label_tolerance)
    if wrong.any():
        other, largest = values[wrong], float(np.nanmax(away, initial=0))
        raise GeometryError(
            f"{path}: expected labels as whole numbers between 0 and 255, got {other[0]:.9g} "
            f"({other.size} such voxel(s)). {_remedy_for_labels(path, largest)}"
        )
    return Volume(mask, volume.geometry)


def write_mask(path: Path, mask: NDArray[np.uint8], like: Path) -> None:
    """Writes a mask with exactly the header geometry of the scan it was made for.

    Args:
        path: Destination, ``.nii`` or ``.nii.gz``.
        mask: Labels, in the scan's array order.
        like: The scan; its affine, codes and units are taken over unchanged.

    Raises:
        GeometryError: The mask has another shape than the scan.
    """
    import nibabel as nib  # noqa: PLC0415 - as above

    scan = _load(like)
    if tuple(mask.shape) != tuple(scan.shape):
        raise GeometryError(f"{path}: expected a mask of the scan's shape {scan.shape}, got {mask.shape}.")
    header = scan.header.copy()
    header.set_data_dtype(np.uint8)
    header.set_slope_inter(1, 0)
    header["cal_min"] = header["cal_max"] = 0
    # a scan's free text may name a patient or a place
    header["descrip"] = header["aux_file"] = header["db_name"] = b""
    header.extensions.clear()
    with written_aside(path) as aside:
        nib.save(nib.Nifti1Image(mask.astype(np.uint8), None, header), aside)


def sagittal_slice(volume: Volume, index: int) -> NDArray[np.generic]:
    """Returns one sagittal slice as people look at it: superior up, anterior to the left.

    Args:
        volume: Any orientation.
        index: Position along the slice axis.
    """
    axis = volume.geometry.slice_axis
    plane = np.take(volume.array, index, axis=axis)
    rest = [a for a in range(3) if a != axis]
    direction = volume.geometry.direction[:, rest]
    vertical = int(np.argmax(np.abs(direction[2])))
    horizontal = 1 - vertical
    picture: NDArray[np.generic] = plane if vertical == 0 else plane.T
    if direction[2, vertical] > 0:
        picture = picture[::-1]
    if direction[1, horizontal] > 0:
        picture = picture[:, ::-1]
    return picture


def sagittal_pixel_mm(geometry: Geometry) -> tuple[float, float]:
    """Returns height and width in mm of a pixel of ``sagittal_slice``."""
    rest = [a for a in range(3) if a != geometry.slice_axis]
    vertical = int(np.argmax(np.abs(geometry.direction[2, rest])))
    return geometry.spacing_mm[rest[vertical]], geometry.spacing_mm[rest[1 - vertical]]


def middle_slice(geometry: Geometry) -> int:
    """Returns the index of the middle slice, ``n // 2`` as in the published notebook."""
    return geometry.shape[geometry.slice_axis] // 2


def place_volume(path: Path, destination: Path, allowed: Allowance) -> None:
    """Writes a copy of a scan that is placed as a person says, for tools that read the file's own header.

    Raises:
        GeometryError: As ``read_volume``.
    """
    import nibabel as nib  # noqa: PLC0415 - as above

    image = _load(path, allowed)
    header = image.header.copy()
    affine = _grid(image, allowed).affine
    header.set_sform(affine, code=1)
    header.set_qform(affine, code=1)
    nib.save(nib.Nifti1Image(image.dataobj, affine, header), destination)


def is_placed(path: Path) -> bool:
    """Whether a file says in a sound way where its voxels lie."""
    head = NiftiHead.of(_start(path))
    return head is not None and head.placement_fault() is None


def _remedy_for_labels(path: Path, largest: float) -> str:
    """Returns what to do about values that are no labels; a scaling of the header is the usual cause."""
    head = NiftiHead.of(_start(path))
    is_scaled = head is not None and head.is_scaled
    if largest > (LARGEST_SHIFT if is_scaled else LABEL_TOLERANCE):
        return "Is it a mask, and not an image or probabilities?"
    how = f"with a scaling (scl_slope {head.slope:.9g})" if head is not None and head.is_scaled else "as floats"
    allowed = max(LABEL_TOLERANCE, float(f"{1.05 * largest:.1g}"))
    return (
        f"It was saved {how}, which moved its labels by up to {largest:.2g}. Save it as whole numbers, or allow it "
        f"with --label-tolerance {allowed:g}."
    )


def _as_volume(plain: PlainNifti) -> Volume:
    return Volume(plain.array, Geometry(plain.array.shape, plain.affine))


def _grid(image: nib.Nifti1Image, allowed: Allowance = STRICT) -> Geometry:
    """Returns the grid of an image that ``_load`` has judged."""
    shape = tuple(int(n) for n in image.shape)
    affine = np.asarray(image.affine, dtype=np.float64)
    head = NiftiHead.of(image.header.binaryblock)
    if allowed.axes is not None and head is not None and head.placement_fault() is not None:
        affine = axes_affine(allowed.axes, head.pixdim[1:4])
    return Geometry(shape, affine)


def _load(path: Path, allowed: Allowance = STRICT) -> nib.Nifti1Image:
    """Opens a NIfTI, its header judged and its voxels unread."""
    import nibabel as nib  # noqa: PLC0415 - as above

    _check_head(path, allowed)
    try:
        image = nib.load(path)
    except Exception as error:  # what nibabel raises on foreign bytes is listed nowhere
        raise GeometryError(
            f"{path}: expected a NIfTI file, got something unreadable ({_in_a_line(error)})."
        ) from error
    if not isinstance(image, nib.Nifti1Image):
        raise GeometryError(f"{path}: expected NIfTI-1, got {type(image).__name__}.")
    return image


def _check_head(path: Path, allowed: Allowance) -> None:
    """Refuses a file by its name or header, before any memory is taken for its voxels."""
    if found := refusal_of_ending(path.name):
        raise GeometryError(f"{path}: {found}")
    start = _start(path)
    head = NiftiHead.of(start)
    fault = strange_file(start) if head is None else head.layout_fault()
    if head is not None and fault is None:
        fault = head.shear_fault()
    if head is None or fault is not None:
        raise GeometryError(f"{path}: {fault}")
    unplaced = head.placement_fault()
    if unplaced is not None and allowed.axes is not None:
        unplaced = head.size_fault()
    elif unplaced is not None:
        unplaced = f"{unplaced} If you know how its axes lie, say so with --assume-axes, such as --assume-axes PSR."
    if unplaced is not None:
        raise UnplacedError(f"{path}: {unplaced}")
    held = path.stat().st_size * (LARGEST_RATIO if path.name.lower().endswith(".gz") else 1)
    if head.vox_offset + head.voxel_bytes > held:
        raise GeometryError(
            f"{path}: expected {head.voxel_bytes} bytes of voxels as its header says, the file is too short for them. "
            "It is cut short or its header is damaged; fetch or make it again."
        )


def _start(path: Path) -> bytes:
    """Returns the first inflated bytes of a file, enough for its header.

    Raises:
        GeometryError: It is missing, cannot be read, or its compressed bytes are damaged.
    """
    try:
        with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as stream:
            return stream.read(HEADER_BYTES)
    except FileNotFoundError as error:
        raise absent(path) from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise damaged(path) from error
    except (OSError, ValueError) as error:
        raise GeometryError(f"{path}: expected a NIfTI file, it cannot be read ({_in_a_line(error)}).") from error


def _in_a_line(error: Exception) -> str:
    """Returns what a library says, which may be broken into lines, as a part of one message."""
    return " ".join(f"{type(error).__name__}: {error}".split())
