"""The voxels of a conversion held against the pixels of the instances that it was made from.

Add a transfer syntax here when series come in one. Where slices lie is decided by ``verification`` and ``series``; here
it is asked whether each slice holds its own picture, with its own scaling.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import imagecodecs
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.encaps import generate_frames

from cspine_assets.domain.imaging.headers import Instance, StoredPixels, quiet_pydicom
from cspine_assets.domain.imaging.refusal import Cause, Refusal
from cspine_assets.domain.volume import Geometry, Volume

_LITTLE: Final = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1")
_BIG: Final = "1.2.840.10008.1.2.2"
_DEFLATED: Final = "1.2.840.10008.1.2.1.99"
_RLE: Final = "1.2.840.10008.1.2.5"
_LOSSLESS: Final[dict[str, Callable[[bytes], NDArray[Any]]]] = {
    "1.2.840.10008.1.2.4.57": imagecodecs.ljpeg_decode,
    "1.2.840.10008.1.2.4.70": imagecodecs.ljpeg_decode,
    "1.2.840.10008.1.2.4.80": imagecodecs.jpegls_decode,
    "1.2.840.10008.1.2.4.90": imagecodecs.jpeg2k_decode,
}
"""Lossless ways of packing: their pixels are the same whoever unpacks them."""
_LOSSY: Final[dict[str, Callable[[bytes], NDArray[Any]]]] = {
    "1.2.840.10008.1.2.4.50": imagecodecs.jpeg8_decode,
    "1.2.840.10008.1.2.4.81": imagecodecs.jpegls_decode,
    "1.2.840.10008.1.2.4.91": imagecodecs.jpeg2k_decode,
}
"""Ways that may lose: decoders differ by the last bits."""

_LAST_BITS: Final = 4
"""Stored units by which two decoders of a lossy picture may differ."""

_SCALE: Final = 1e-5
"""Part of the largest value by which a scaled voxel may differ: the scaling is single precision in a NIfTI."""

SAMPLED: Final = 3
"""Slices looked at where all are stored plainly and scaled alike: a wrong byte order, sign or order of slices shows in
each of them, and a single slice cannot be garbled by reading it."""


@dataclass(frozen=True)
class Slices:
    """The instances of a volume in the order of its slices, and where they lie."""

    files: tuple[Path, ...]
    instances: tuple[Instance, ...]

    @property
    def are_scaled_alike(self) -> bool:
        """Whether all instances state the same scaling, to the last digit."""
        return len({(one.scaling, one.private_scaling) for one in self.instances}) == 1


def check_pixels(volume: Volume, grid: Geometry, slices: Slices, *, subject: str) -> tuple[str, ...]:
    """Compares the voxels of a converted volume with the pixels of its instances, and returns what to note.

    All slices are compared where they are packed or scaled each in its own way, otherwise the first, middle and last.

    Args:
        volume: As converted; its grid is that of the headers, axes permuted and flipped.
        grid: Of the headers: columns, rows, slices.
        slices: The instances in the order of the last axis of the grid.
        subject: What the error is about.

    Raises:
        ConversionError: A slice holds another picture than its instance, or the slices have private scalings of their
            own, which the converter takes for one.
    """
    if len({one.private_scaling for one in slices.instances}) > 1:
        raise Refusal(
            Cause.DIFFERS_FROM_PIXELS,
            f"{subject}: expected one scaling of all slices, found Philips' private one to differ between them "
            "(2005,100E): the converter takes one for all. Export the series with a scaling common to its slices.",
        )
    stack = _in_order_of_headers(volume, grid)
    unknown = 0
    for number in _looked_at(slices):
        instance = slices.instances[number]
        try:
            stored = _stored(slices.files[number], instance)
        except Exception as error:  # what decoders raise on garbled bytes is listed nowhere
            raise _refused(subject, number, f"pixels that cannot be unpacked ({type(error).__name__})") from error
        if stored is None:
            unknown += 1
        elif not _is_same(stack[:, :, number].T, stored, instance):
            raise _refused(subject, number, "another picture in the converted volume")
    if unknown:
        return (f"pixels of {unknown} instance(s) are packed in a way that was not held against the volume",)
    return ()


def _refused(subject: str, number: int, found: str) -> Refusal:
    return Refusal(
        Cause.DIFFERS_FROM_PIXELS,
        f"{subject}: expected the pixels of its instance in slice {number + 1}, found {found}. The instance is "
        "damaged, or its scaling or packing is one that the converter misreads; fetch the series again, or export it "
        "unpacked (Explicit VR Little Endian) and with one scaling.",
    )


def _looked_at(slices: Slices) -> Sequence[int]:
    count = len(slices.instances)
    is_plain = all(one.pixels.syntax in (*_LITTLE, _BIG) for one in slices.instances)
    if is_plain and slices.are_scaled_alike:
        return sorted({0, count // 2, count - 1})
    return range(count)


def _in_order_of_headers(volume: Volume, grid: Geometry) -> NDArray[Any]:
    """Returns a view of the voxels along the axes of the headers: columns, rows, slices."""
    turned = np.rint(np.linalg.inv(volume.geometry.affine[:3, :3]) @ grid.affine[:3, :3]).astype(int)
    axes = np.abs(turned).argmax(axis=0)
    view = volume.array.transpose(axes.tolist())
    return view[tuple(slice(None, None, int(turned[axis, at])) for at, axis in enumerate(axes))]


def _stored(file: Path, instance: Instance) -> NDArray[Any] | None:
    """Returns the pixels of an instance as they are stored, rows by columns; None where their packing is not known."""
    pixels, shape = instance.pixels, (instance.rows, instance.columns)
    if pixels.syntax in (*_LITTLE, _BIG):
        kind = np.dtype(f"{'>' if pixels.syntax == _BIG else '<'}{'i' if pixels.is_signed else 'u'}{pixels.bits // 8}")
        with file.open("rb", buffering=0) as stream:
            stream.seek(-pixels.following_bytes, 2)
            content = stream.read(kind.itemsize * instance.rows * instance.columns)
        return _used_bits(np.frombuffer(content, kind).reshape(shape), pixels)
    decode = _LOSSLESS.get(pixels.syntax) or _LOSSY.get(pixels.syntax)
    if decode is None and pixels.syntax not in (_RLE, _DEFLATED):
        return None
    with quiet_pydicom():
        dataset = pydicom.dcmread(file)
        if decode is None:
            return _used_bits(np.asarray(dataset.pixel_array), pixels)
        frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
    unpacked = decode(frame).reshape(shape)
    if pixels.is_signed and unpacked.dtype.kind == "u":
        unpacked = unpacked.view(unpacked.dtype.str.replace("u", "i"))
    return _used_bits(unpacked, pixels)


def _used_bits(stored: NDArray[Any], pixels: StoredPixels) -> NDArray[Any]:
    """Returns pixels as they are, or None of the bits above those that are stored: overlays were put there once."""
    spare = 8 * stored.dtype.itemsize - pixels.bits_stored
    if spare <= 0:
        return stored
    # a shift up and down keeps the sign of signed pixels
    return stored << spare >> spare


def _is_same(found: NDArray[Any], stored: NDArray[Any], instance: Instance) -> bool:
    """Whether a slice holds an instance's pixels, scaled as the instance says."""
    if found.dtype.kind in "iu" and instance.pixels.syntax not in _LOSSY and np.array_equal(found, stored):
        return instance.scaling == (1.0, 0.0)
    if instance.private_scaling:
        return _is_linear_in(found, stored)
    slope, intercept = instance.scaling
    expected = stored.astype(np.float64) * slope + intercept
    allowed = _SCALE * max(float(np.abs(expected).max()), abs(intercept))
    if instance.pixels.syntax in _LOSSY:
        allowed += _LAST_BITS * abs(slope)
    return bool(np.abs(found - expected).max() <= allowed)


def _is_linear_in(found: NDArray[Any], stored: NDArray[Any]) -> bool:
    """Whether a slice is a straight line of the stored pixels: Philips states two scalings, and either may be used."""
    low, high = int(stored.argmin()), int(stored.argmax())
    values, pixels = found.astype(np.float64).ravel(), stored.astype(np.float64).ravel()
    if pixels[low] == pixels[high]:
        return bool(np.ptp(values) == 0)
    slope = (values[high] - values[low]) / (pixels[high] - pixels[low])
    away = np.abs(values - (values[low] + slope * (pixels - pixels[low]))).max()
    return slope > 0 and bool(away <= _SCALE * np.abs(values).max())
