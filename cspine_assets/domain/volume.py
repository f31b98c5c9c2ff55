"""A volume on its voxel grid: reading, writing, the slice axis, and whether two grids are the same.

What holds for every NIfTI of the study lives here. What a voxel means (labels, levels) and how a volume came to be
(conversion, prediction) does not.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, cast

import numpy as np
from numpy.typing import NDArray

from cspine_assets.domain.errors import GeometryError
from cspine_assets.domain.files import written_aside
from cspine_assets.domain.image_names import refusal_of_ending
from cspine_assets.domain.nifti_head import HEADER_BYTES, PLACES, NiftiHead, axes_affine, strange_file
from cspine_assets.domain.plain_nifti import (
    LARGEST_RATIO,
    PlainNifti,
    Scratch,
    absent,
    damaged,
    read_plain_nifti,
    require_file,
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


_PIECE_BYTES: Final = 1 << 22


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
    return _grid(_judged(path, allowed), allowed)


def read_volume(path: Path, *, allowed: Allowance = STRICT) -> Volume:
    """Returns a scan with its intensities as stored on disk (scaled only where the header says so).

    Args:
        path: The file.
        allowed: What is allowed beyond the rules.

    Raises:
        GeometryError: As ``read_geometry``, or it is cut short, damaged, or larger than memory.
    """
    opened = _judged(path, allowed)
    return Volume(_scaled(_stored(path, opened.head), opened.head), _grid(opened, allowed))


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

    scan = _judged(like, STRICT)
    if tuple(mask.shape) != scan.head.shape:
        raise GeometryError(f"{path}: expected a mask of the scan's shape {scan.head.shape}, got {mask.shape}.")
    header = scan.header()
    header.set_data_dtype(np.uint8)
    header.set_slope_inter(1, 0)
    header["cal_min"] = header["cal_max"] = 0
    # a scan's free text may name a patient or a place
    header["descrip"] = header["aux_file"] = header["db_name"] = b""
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

    opened = _judged(path, allowed)
    header = opened.header()
    affine = _grid(opened, allowed).affine
    header.set_sform(affine, code=1)
    header.set_qform(affine, code=1)
    header.set_slope_inter(1, 0)
    voxels = _scaled(_stored(path, opened.head), opened.head)
    header.set_data_dtype(voxels.dtype)
    nib.save(nib.Nifti1Image(voxels, affine, header), destination)


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
        f"in cspine score with --label-tolerance {allowed:g}."
    )


def _as_volume(plain: PlainNifti) -> Volume:
    return Volume(plain.array, Geometry(plain.array.shape, plain.affine))


@dataclass(frozen=True)
class _Opened:
    """A header that has been judged, and its bytes."""

    head: NiftiHead
    start: bytes

    def header(self) -> nib.Nifti1Header:
        """Returns the header for nibabel: without extensions, and with what nibabel refuses as nifti1.h means it."""
        import nibabel as nib  # noqa: PLC0415 - as above

        header = nib.Nifti1Header(self.start, check=False)
        header["vox_offset"] = 0
        header["pixdim"][:4] = (-1 if self.head.pixdim[0] < 0 else 1, *map(abs, self.head.pixdim[1:4]))
        for code in ("qform_code", "sform_code"):
            if int(header[code]) not in PLACES:
                header[code] = 0
        return header


def _grid(opened: _Opened, allowed: Allowance = STRICT) -> Geometry:
    """Returns the grid of a header that ``_judged`` has passed."""
    head = opened.head
    if allowed.axes is not None and head.placement_fault() is not None:
        affine = axes_affine(allowed.axes, head.pixdim[1:4])
    elif head.has_sform:
        affine = np.array([*head.srow, 0, 0, 0, 1], dtype=np.float64).reshape(4, 4)
    else:
        affine = np.asarray(opened.header().get_qform(), dtype=np.float64)
    return Geometry(head.shape, affine)


def _judged(path: Path, allowed: Allowance) -> _Opened:
    """Returns the header of a file whose name and header are those of a NIfTI that can be trusted.

    Nothing is read but the header, and no memory is taken for the voxels.
    """
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
        unplaced = (
            f"{unplaced} If you know how its axes lie, say so: cspine score, predict and convert take --assume-axes, "
            "such as --assume-axes PSR."
        )
    if unplaced is not None:
        raise UnplacedError(f"{path}: {unplaced}")
    held = path.stat().st_size * (LARGEST_RATIO if _is_packed(path) else 1)
    if head.vox_offset + head.voxel_bytes > held:
        raise _too_short(path, head)
    return _Opened(head, start)


def _scaled(stored: NDArray[np.generic], head: NiftiHead) -> NDArray[np.generic]:
    """Returns voxels scaled as the header says, in the type that nibabel gives them."""
    if not head.is_scaled:
        return stored
    from nibabel.volumeutils import apply_read_scaling  # noqa: PLC0415 - as above

    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused by whoever wants a picture
        scaled: NDArray[np.generic] = apply_read_scaling(stored, head.slope, head.inter)
    return scaled


def _stored(path: Path, head: NiftiHead) -> NDArray[np.generic]:
    """Returns the voxels as they are stored; a packed file is read to its end, so that its checksum is compared.

    Raises:
        GeometryError: The file is cut short, damaged, or too large for memory.
    """
    end = int(head.vox_offset) + head.voxel_bytes
    try:
        content = memoryview(bytearray(end))
        with _opened_bytes(path) as stream:
            count = _fill(stream, content)
            while _is_packed(path) and stream.read(_PIECE_BYTES):
                pass
    except MemoryError as error:
        raise GeometryError(
            f"{path}: expected a volume that fits into memory, got shape {head.shape}. Is it a single scan?"
        ) from error
    except Exception as error:  # what isal raises on foreign bytes is listed nowhere
        raise damaged(path) from error
    if count < end:
        raise _too_short(path, head)
    array: NDArray[np.generic] = np.frombuffer(content[int(head.vox_offset) :], head.dtype)
    return array.reshape(head.shape, order="F")


def _fill(stream: IO[bytes], content: memoryview) -> int:
    """Reads until memory is full or a stream at its end, and returns how many bytes came."""
    count = 0
    while count < len(content) and (piece := stream.read(min(_PIECE_BYTES, len(content) - count))):
        content[count : count + len(piece)] = piece
        count += len(piece)
    return count


def _too_short(path: Path, head: NiftiHead) -> GeometryError:
    return GeometryError(
        f"{path}: expected {head.voxel_bytes} bytes of voxels as its header says, the file is too short for them. "
        "It is cut short or its header is damaged; fetch or make it again."
    )


def _is_packed(path: Path) -> bool:
    return path.name.lower().endswith(".gz")


def _opened_bytes(path: Path) -> IO[bytes]:
    """Opens a file for its inflated bytes."""
    if not _is_packed(path):
        return path.open("rb")
    from isal import igzip  # noqa: PLC0415 - as above

    return cast("IO[bytes]", igzip.open(path, "rb"))  # type: ignore[no-untyped-call]


def _start(path: Path) -> bytes:
    """Returns the first inflated bytes of a file, enough for its header.

    Raises:
        GeometryError: It is missing, cannot be read, or its compressed bytes are damaged.
    """
    require_file(path)
    try:
        with _opened_bytes(path) as stream:
            return stream.read(HEADER_BYTES)
    except FileNotFoundError as error:
        raise absent(path) from error
    except Exception as error:
        if isinstance(error, OSError) and not isinstance(error, gzip.BadGzipFile):
            raise GeometryError(f"{path}: expected a NIfTI file, it cannot be read ({_in_a_line(error)}).") from error
        raise damaged(path) from error


def _in_a_line(error: Exception) -> str:
    """Returns what a library says, which may be broken into lines, as a part of one message."""
    return " ".join(f"{type(error).__name__}: {error}".split())
