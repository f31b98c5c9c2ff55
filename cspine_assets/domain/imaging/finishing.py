"""A volume checked and written to its place, whether converted here or shipped with the release.

Add a step here when every volume needs it after conversion. The checks themselves stand in ``verification``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cspine_assets.domain.errors import ConversionError, GeometryError
from cspine_assets.domain.imaging.compression import mapped, read_nifti_bytes, write_gzip
from cspine_assets.domain.imaging.converter import Produced, converter_name
from cspine_assets.domain.imaging.deidentification import HeaderFinding
from cspine_assets.domain.imaging.nifti_header import without_free_text
from cspine_assets.domain.imaging.outcome import ConvertedVolume, Origin
from cspine_assets.domain.imaging.pixels import Slices, check_pixels
from cspine_assets.domain.imaging.refusal import Cause, Refusal
from cspine_assets.domain.imaging.series import SeriesGeometry
from cspine_assets.domain.imaging.sources import SeriesRequest
from cspine_assets.domain.imaging.verification import (
    ShippedComparison,
    check_against_headers,
    check_sagittal,
    check_voxels,
    compare_with_shipped,
)
from cspine_assets.domain.volume import UnplacedError, Volume, read_volume, view_volume


def finish_converted(
    request: SeriesRequest,
    destination: Path,
    *,
    produced: Produced,
    series: SeriesGeometry,
    slices: Slices | None,
    findings: tuple[HeaderFinding, ...],
    notes: tuple[str, ...],
    folder: Path,
) -> ConvertedVolume:
    """Checks what dcm2niix wrote against headers, pixels and the shipped NIfTI, and writes it to its place.

    Args:
        request: What was asked for.
        destination: Place of the volume.
        produced: Files and remarks of the converter.
        series: What the headers describe.
        slices: The instances, whose pixels the voxels are held against.
        findings: Passed on.
        notes: Joined to the converter's warnings.
        folder: For unpacking the shipped NIfTI.

    Raises:
        ConversionError: There is not exactly one file, or it is not the volume of the headers and pixels.
    """
    subject = request.exam_id
    if len(produced.files) != 1:
        said = f" It said: {'; '.join(produced.warnings)}." if produced.warnings else ""
        raise Refusal(
            Cause.CONVERTER,
            f"{subject}: expected one volume from dcm2niix, got {len(produced.files)}.{said} "
            "The series mixes several pictures or is damaged; fetch it again.",
        )
    content = mapped(produced.files[0])
    volume = _readable(content, lambda: produced.files[0], f"{subject}: the volume of dcm2niix")
    check_against_headers(volume.geometry, series.grid, subject=subject)
    check_voxels(volume, subject=subject)
    if slices is not None:
        notes = (*notes, *check_pixels(volume, series.grid, slices, subject=subject))
    comparison, remarks = _compare(request, volume, folder)
    stripped = without_free_text(content)
    sha256 = write_gzip(destination, stripped.head, stripped.voxels)
    return ConvertedVolume(
        request=request,
        origin=Origin.DICOM,
        path=destination,
        geometry=volume.geometry,
        series_uid=series.series_uid,
        instance_count=series.instance_count,
        equals_shipped=comparison,
        converter=converter_name(),
        warnings=(*notes, *produced.warnings, *remarks, *_emptied(stripped.emptied)),
        sha256=sha256,
        findings=findings,
    )


def finish_shipped(request: SeriesRequest, shipped: Path, destination: Path, folder: Path) -> ConvertedVolume:
    """Writes the shipped NIfTI to its place after the checks that are possible without headers.

    Args:
        request: What was asked for; the expected instances are compared with the slices.
        shipped: The NIfTI of the release.
        destination: Place of the volume.
        folder: For unpacking it.

    Raises:
        ConversionError: It is damaged, no 3-D volume, not placed in the scanner's world, not sagittal, or of
            another length.
    """
    subject = request.exam_id
    content = read_nifti_bytes(shipped, subject=subject)
    volume = _unpacked(content, folder, f"{subject}: {shipped.name}")
    check_sagittal(volume.geometry, subject=subject, slice_count=request.expected_instances)
    check_voxels(volume, subject=subject)
    stripped = without_free_text(content)
    sha256 = write_gzip(destination, stripped.head, stripped.voxels)
    return ConvertedVolume(
        request=request,
        origin=Origin.SHIPPED_NIFTI,
        path=destination,
        geometry=volume.geometry,
        series_uid=request.series_uid,
        instance_count=None,
        equals_shipped=ShippedComparison.EQUAL,
        converter=None,
        warnings=_emptied(stripped.emptied),
        sha256=sha256,
        findings=(),
    )


def _compare(request: SeriesRequest, volume: Volume, folder: Path) -> tuple[ShippedComparison, tuple[str, ...]]:
    """Returns the comparison with the shipped NIfTI and, where that cannot be read, why."""
    shipped = request.shipped_nifti
    if shipped is None:
        return ShippedComparison.ABSENT, ()
    try:
        content = read_nifti_bytes(shipped, subject="shipped NIfTI")
        return compare_with_shipped(volume, _unpacked(content, folder, "shipped NIfTI")), ()
    except ConversionError as error:
        return ShippedComparison.UNREADABLE, (str(error),)


def _unpacked(content: bytes, folder: Path, subject: str) -> Volume:
    return _readable(content, lambda: _written(content, folder), subject)


def _written(content: bytes, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "shipped.nii"
    file.write_bytes(content)
    return file


def _readable(content: bytes | memoryview, as_file: Callable[[], Path], subject: str) -> Volume:
    """Returns the volume in a NIfTI's bytes; they are asked for as a file where they are of no plain kind."""
    volume = view_volume(content)
    if volume is None:
        file = as_file()
        try:
            volume = read_volume(file)
        except GeometryError as error:
            # the message names a scratch file that is gone when somebody reads it
            found = str(error).removeprefix(f"{file}: ")
            cause = Cause.UNPLACED if isinstance(error, UnplacedError) else Cause.NOT_A_VOLUME
            raise Refusal(cause, f"{subject}: {found}") from error
    return volume


def _emptied(fields: tuple[str, ...]) -> tuple[str, ...]:
    return (f"free text removed from the NIfTI header: {', '.join(fields)}",) if fields else ()
