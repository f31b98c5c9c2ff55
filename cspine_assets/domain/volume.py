"""A volume on its voxel grid: reading, writing, the slice axis, and whether two grids are the same.

What holds for every NIfTI of the study lives here. What a voxel means (labels, levels) and how a volume came to be
(conversion, prediction) does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cspine_assets.domain.errors import GeometryError
from cspine_assets.domain.files import written_aside
from cspine_assets.domain.plain_nifti import PlainNifti, Scratch, read_plain_nifti, view_plain_nifti

if TYPE_CHECKING:
    import nibabel as nib

SPACING_TOLERANCE_MM = 1e-3
"""Spacing and origin may differ by this much: header fields are float32, and tools round them differently."""

DIRECTION_TOLERANCE = 1e-4
"""Direction cosines may differ by this much, for the same reason."""

_REAL_KINDS = "iuf"
"""NumPy's letters for whole numbers and floats: of colours and complex numbers no voxel can be compared."""


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


def read_geometry(path: Path) -> Geometry:
    """Returns the grid of a NIfTI from its header, without reading voxels.

    Raises:
        GeometryError: The file is missing or no NIfTI.
    """
    return _grid(_load(path))


def read_volume(path: Path) -> Volume:
    """Returns a scan with its intensities as stored on disk (scaled only where the header says so).

    Raises:
        GeometryError: The file is missing, no NIfTI, cut short, not three-dimensional, or holds colours or complex
            numbers.
    """
    image = _load(path)
    if len(image.shape) != 3:
        raise GeometryError(f"{path}: expected a volume of 3 axes, got shape {image.shape}. Is it a time series?")
    kind = image.get_data_dtype()
    if kind.kind not in _REAL_KINDS:
        raise GeometryError(f"{path}: expected one real number a voxel, got {kind}. Is it a colour picture?")
    try:
        array = np.asanyarray(image.dataobj)
    except (OSError, EOFError, ValueError) as error:
        raise GeometryError(
            f"{path}: expected a whole NIfTI, the voxels cannot be read ({_in_a_line(error)})."
        ) from error
    return Volume(array, _grid(image))


def view_volume(content: bytes | memoryview) -> Volume | None:
    """Returns the scan in the bytes of an inflated NIfTI, nothing copied; None where only ``read_volume`` knows more.

    ``read_volume`` gives the same and takes three times as long, most of it for one call each of many functions.
    """
    plain = view_plain_nifti(content)
    return None if plain is None else _as_volume(plain)


def read_mask(path: Path, *, scratch: Scratch | None = None) -> Volume:
    """Returns a mask as uint8.

    Args:
        path: The file.
        scratch: Memory to read many masks with, one after another: the mask is gone when it is used again. None for
            a mask that stays.

    Raises:
        GeometryError: As ``read_volume``, its bytes are damaged, or a value is no whole number between 0 and 255.
    """
    plain = read_plain_nifti(path, scratch or Scratch())
    volume = read_volume(path) if plain is None else _as_volume(plain)
    if volume.array.dtype == np.uint8:
        return Volume(volume.array.astype(np.uint8, copy=False), volume.geometry)
    with np.errstate(invalid="ignore"):  # what is no number is refused below
        mask = volume.array.astype(np.uint8)
    if not np.array_equal(mask, volume.array):
        other = volume.array[mask != volume.array]
        raise GeometryError(
            f"{path}: expected labels as whole numbers between 0 and 255, got {other[0]:g} "
            f"({other.size} such voxel(s)). Is it a mask, and not an image or probabilities?"
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


def _as_volume(plain: PlainNifti) -> Volume:
    return Volume(plain.array, Geometry(plain.array.shape, plain.affine))


def _grid(image: nib.Nifti1Image) -> Geometry:
    return Geometry(tuple(int(n) for n in image.shape), np.asarray(image.affine, dtype=np.float64))


def _load(path: Path) -> nib.Nifti1Image:
    """Opens a NIfTI, its voxels unread."""
    import nibabel as nib  # noqa: PLC0415 - as above
    from nibabel.filebasedimages import ImageFileError  # noqa: PLC0415

    try:
        image = nib.load(path)
    except FileNotFoundError as error:
        raise GeometryError(f"{path}: expected a NIfTI file, there is none.") from error
    except (ImageFileError, OSError, EOFError, ValueError) as error:
        raise GeometryError(
            f"{path}: expected a NIfTI file, got something unreadable ({_in_a_line(error)})."
        ) from error
    if not isinstance(image, nib.Nifti1Image):
        raise GeometryError(f"{path}: expected NIfTI-1, got {type(image).__name__}.")
    return image


def _in_a_line(error: Exception) -> str:
    """Returns what a library says, which may be broken into lines, as a part of one message."""
    return " ".join(str(error).split())
