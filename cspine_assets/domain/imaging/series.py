"""Whether the headers of a series describe one evenly spaced sagittal volume.

Add a rule here when a series is met that dcm2niix would turn into a wrong volume without a word. Files are
not read here, and what identifies a person is the matter of ``deidentification``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cspine_assets.domain.imaging.headers import Instance
from cspine_assets.domain.imaging.refusal import Cause, Refusal
from cspine_assets.domain.volume import Geometry

ORIENTATION_TOLERANCE = 1e-4
"""Direction cosines of one stack may differ by this much: scanners write them with five or six decimals."""

GAP_TOLERANCE = 0.01
"""Gaps between slices may differ by this part of their median.

Positions carry at least two decimals of a millimetre; a missing slice doubles a gap.
"""

_FINEST_MM = 0.01
"""Positions nearer than this are the same position."""


@dataclass(frozen=True)
class SeriesExpectation:
    """What is known of a series before its headers are read; None is not checked."""

    subject: str
    patient_id: str | None = None
    series_uid: str | None = None
    instance_count: int | None = None


@dataclass(frozen=True)
class SeriesGeometry:
    """A series whose headers describe one volume.

    Attributes:
        series_uid: The one SeriesInstanceUID.
        grid: Voxel grid with the array axes columns, rows, slices.
        instance_count: Slices.
        order: Which of the instances is the first slice of the grid, which the second, and so on.
    """

    series_uid: str
    grid: Geometry
    instance_count: int
    order: tuple[int, ...]


def check_series(instances: Sequence[Instance], expectation: SeriesExpectation) -> SeriesGeometry:
    """Returns the voxel grid that the headers describe.

    No value of a header is repeated in a reason, save counts and lengths: they may identify a person.

    Args:
        instances: At least one, in any order; slices are sorted by position, whatever their numbers say.
        expectation: What else is known.

    Raises:
        ConversionError: The headers are not those of one evenly spaced sagittal stack of MR slices, or not of
            the patient, series or length expected.
    """
    if not instances:
        raise Refusal(
            Cause.MISSING, f"{expectation.subject}: expected DICOM instances, found none. Fetch the series again."
        )
    _check_identity(instances, expectation)
    _check_pixels(instances, expectation.subject)
    _check_stack(instances, expectation)
    series = _geometry(instances, expectation.subject)
    if expectation.instance_count is None:
        _check_promises(instances, expectation.subject)
    return series


def _check_identity(instances: Sequence[Instance], expectation: SeriesExpectation) -> None:
    subject = expectation.subject
    series = {instance.series_uid for instance in instances}
    if len(series) > 1:
        raise Refusal(
            Cause.MIXED_SERIES,
            f"{subject}: expected one SeriesInstanceUID, found {len(series)} in {len(instances)} instances. "
            "Keep one series a folder (a localizer is a series of its own).",
        )
    if expectation.series_uid is not None and series != {expectation.series_uid}:
        raise Refusal(
            Cause.WRONG_IDENTITY,
            f"{subject}: expected SeriesInstanceUID {expectation.series_uid}, the headers carry another. "
            "The archive holds another series; fetch it again.",
        )
    patients = {instance.patient_id for instance in instances}
    if len(patients) > 1:
        raise Refusal(Cause.MIXED_SERIES, f"{subject}: expected one PatientID, found {len(patients)} in one series.")
    if expectation.patient_id is not None and patients != {expectation.patient_id}:
        raise Refusal(
            Cause.WRONG_IDENTITY,
            f"{subject}: expected PatientID {expectation.patient_id}, the headers carry another. "
            "The archive holds another patient's series; fetch it again.",
        )
    modalities = sorted({instance.modality for instance in instances})
    if modalities != ["MR"]:
        raise Refusal(Cause.OTHER_KIND, f"{subject}: expected modality MR, found {', '.join(modalities) or 'none'}.")


def _check_pixels(instances: Sequence[Instance], subject: str) -> None:
    if any("MOSAIC" in instance.image_type for instance in instances):
        raise Refusal(
            Cause.OTHER_KIND,
            f"{subject}: expected one slice an instance, found mosaics (many slices in one picture, a time series of "
            "volumes). Choose the sagittal T2-weighted series.",
        )
    frames = max(instance.frames for instance in instances)
    if frames > 1:
        raise Refusal(Cause.OTHER_KIND, f"{subject}: expected one slice an instance, found {frames} frames in one.")
    if any(instance.samples_per_pixel != 1 for instance in instances):
        raise Refusal(Cause.OTHER_KIND, f"{subject}: expected grey values, found colour pictures (a screen copy?).")
    matrices = {(instance.rows, instance.columns) for instance in instances}
    if len(matrices) > 1:
        found = " and ".join(f"{rows}x{columns}" for rows, columns in sorted(matrices))
        raise Refusal(Cause.MIXED_SERIES, f"{subject}: expected one matrix, found {found} in one series.")
    cut = sum(instance.lacking_bytes > 0 for instance in instances)
    if cut:
        raise Refusal(
            Cause.DAMAGED,
            f"{subject}: expected whole pixel data, {cut} of {len(instances)} instances are cut short. "
            "Fetch the series again.",
        )


def _check_stack(instances: Sequence[Instance], expectation: SeriesExpectation) -> None:
    subject = expectation.subject
    spacings = np.array([instance.pixel_spacing_mm for instance in instances])
    if np.ptp(spacings, axis=0).max() > 1e-4 or spacings.min() <= 0:
        raise Refusal(
            Cause.MIXED_SERIES, f"{subject}: expected one positive pixel spacing, found several in one series."
        )
    orientations = np.array([instance.orientation for instance in instances])
    if np.ptp(orientations, axis=0).max() > ORIENTATION_TOLERANCE:
        count = len({tuple(row) for row in np.round(orientations, 3)})
        raise Refusal(Cause.MIXED_SERIES, f"{subject}: expected one slice orientation, found {count} in one series.")
    parts = {instance.image_type[2] for instance in instances if len(instance.image_type) > 2}
    if {"P", "M"} <= parts:
        raise Refusal(
            Cause.MIXED_SERIES, f"{subject}: expected one kind of image, found phase and magnitude in one series."
        )
    _check_duplicates(instances, subject)
    if expectation.instance_count is not None and len(instances) != expectation.instance_count:
        raise Refusal(
            Cause.SLICE_COUNT,
            f"{subject}: expected {expectation.instance_count} instances (number_of_instances of the series), "
            f"found {len(instances)}. Fetch the series again.",
        )
    if len(instances) < 2:
        raise Refusal(Cause.OTHER_KIND, f"{subject}: expected a stack of slices, found a single one.")


def _check_promises(instances: Sequence[Instance], subject: str) -> None:
    """Compares the slices with what their own headers promise: a lost end leaves no gap between positions."""
    count = len(instances)
    promised = max((instance.promised or 0 for instance in instances), default=0)
    # an acquisition may be spread over series (echoes, magnitude and phase), which are whole parts of it
    if promised > count and promised % count:
        raise _fewer(subject, f"ImagesInAcquisition is {promised}", count)
    numbers = sorted({instance.number for instance in instances if instance.number is not None})
    steps = set(np.diff(numbers).tolist())
    if len(numbers) < count or numbers[0] < 0 or (len(steps) == 1 and steps != {1}):
        return  # not numbered, or every second or third of a row
    lacking = numbers[-1] + (numbers[0] == 0) - count
    if 0 < lacking <= count // 2:  # where more are lacking, the numbers go on from another series
        raise _fewer(subject, f"InstanceNumber goes up to {numbers[-1]}", count)


def _fewer(subject: str, promise: str, count: int) -> Refusal:
    return Refusal(
        Cause.SLICE_COUNT,
        f"{subject}: expected as many slices as the headers promise ({promise}), found {count}: an end may be "
        "missing. Fetch the series again; if it is whole, convert it yourself and give the .nii.gz.",
    )


def _check_duplicates(instances: Sequence[Instance], subject: str) -> None:
    keys = np.round(np.array([instance.position_mm for instance in instances]) / _FINEST_MM).astype(np.int64)
    most = max(Counter(tuple(key) for key in keys.tolist()).values())
    if most == 1:
        return
    echoes = len({instance.echo_time_ms for instance in instances})
    copies = len(instances) - len({instance.sop_uid for instance in instances})
    if copies:
        cause = f"{copies} instances stand twice"
    elif echoes > 1:
        cause = f"{echoes} echo times, so {echoes} volumes in one series"
    else:
        cause = "repetitions, so a time series of volumes"
    raise Refusal(
        Cause.REPEATED_SLICES, f"{subject}: expected one slice a position, found {most} at one position ({cause})."
    )


def _geometry(instances: Sequence[Instance], subject: str) -> SeriesGeometry:
    """Sorts the slices along the normal and returns their grid, when it is an even one."""
    first = instances[0]
    row, column = np.array(first.orientation[:3]), np.array(first.orientation[3:])
    lengths = np.array([np.linalg.norm(row), np.linalg.norm(column)])
    if np.abs(lengths - 1).max() > 1e-3 or abs(float(row @ column)) > 1e-3:
        raise Refusal(
            Cause.UNEVEN_SLICES, f"{subject}: expected two unit vectors at right angles as the slice orientation."
        )
    normal = np.cross(row, column)
    axis = int(np.argmax(np.abs(normal)))
    if axis:
        found = ("sagittal", "coronal", "axial")[axis]
        raise Refusal(
            Cause.OTHER_KIND, f"{subject}: expected sagittal slices, found {found} ones. Choose a sagittal series."
        )
    positions = np.array([instance.position_mm for instance in instances])
    order = np.argsort(positions @ normal)
    positions = positions[order]
    step = _even_step(positions, normal, subject)
    affine = np.eye(4)
    affine[:3, 0] = row * first.pixel_spacing_mm[1]
    affine[:3, 1] = column * first.pixel_spacing_mm[0]
    affine[:3, 2] = step
    affine[:3, 3] = positions[0]
    affine[:2] *= -1  # the header's LPS to the RAS of NIfTI
    grid = Geometry((first.columns, first.rows, len(instances)), affine)
    return SeriesGeometry(first.series_uid, grid, len(instances), tuple(order.tolist()))


def _even_step(positions: NDArray[np.float64], normal: NDArray[np.float64], subject: str) -> NDArray[np.float64]:
    """Returns the vector from one slice to the next."""
    steps = np.diff(positions, axis=0)
    gaps = steps @ normal
    median = float(np.median(gaps))
    allowed = max(GAP_TOLERANCE * median, _FINEST_MM)
    if np.abs(gaps - median).max() > allowed:
        missing = int(np.sum(gaps > 1.5 * median))
        hint = f"; {missing} gap(s) look like missing slices" if missing else ""
        raise Refusal(
            Cause.UNEVEN_SLICES,
            f"{subject}: expected even gaps between slices, found {gaps.min():.3f} to {gaps.max():.3f} mm"
            f"{hint}. Fetch the series again.",
        )
    aside = float(np.abs(steps - gaps[:, None] * normal).max())
    if aside > allowed:
        raise Refusal(
            Cause.UNEVEN_SLICES,
            f"{subject}: expected slices straight behind one another, found them {aside:.3f} mm aside.",
        )
    mean: NDArray[np.float64] = (positions[-1] - positions[0]) / len(steps)
    return mean
