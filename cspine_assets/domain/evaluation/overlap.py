"""Overlap of a reference and a predicted mask: both Dice definitions, IoU and volumes, with a policy for empty masks.

Add a measure here when it follows from voxel counts alone. Distances between surfaces, levels of the spine and
anything over more than one exam stand in their own modules.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cspine_assets.domain.anatomy import LABELS, Structure
from cspine_assets.domain.errors import GeometryError

_WORD: Final = 8
"""Bytes of a machine word: voxels are looked at eight at a time, since most are background in both masks."""

_EVERY_BYTE: Final = 0x0101010101010101
"""A word with 1 in each of its bytes."""

_BITS: Final = np.array([_EVERY_BYTE * label for label in LABELS.values()], np.uint64)[:, np.newaxis]
"""The bits of a word that a structure sets: the study's labels, 1 and 2, are one bit each, so bits set are voxels."""


class Status(StrEnum):
    """What a reference and a prediction hold of a structure; the value is its name in every table."""

    OK = "ok"
    MISSED = "missed"
    SPURIOUS = "spurious"
    BOTH_EMPTY = "both_empty"


@dataclass(frozen=True)
class Overlap:
    """Overlap of one structure in one exam.

    Attributes:
        status: ``ok``; ``missed`` (prediction empty); ``spurious`` (reference empty); ``both_empty``.
        dice_volumetric: 2 TP / (2 TP + FP + FN) over the volume; 0 where one is empty, None where both are.
        dice_slice_mean: Mean over sagittal slices of the slice's Dice, 1 where the slice is empty in both: the
            Dice of the published study. By that definition it is 1 where both masks are empty.
        iou: TP / (TP + FP + FN); empty masks as for ``dice_volumetric``.
        volume_reference_mm3: Volume of the reference.
        volume_prediction_mm3: Volume of the prediction.
        volume_difference_relative: (prediction - reference) / reference; None where the reference is empty.
    """

    status: Status
    dice_volumetric: float | None
    dice_slice_mean: float
    iou: float | None
    volume_reference_mm3: float
    volume_prediction_mm3: float
    volume_difference_relative: float | None


def measure_overlap(
    reference: NDArray[np.uint8],
    prediction: NDArray[np.uint8],
    *,
    slice_axis: int,
    voxel_volume_mm3: float,
) -> dict[Structure, Overlap]:
    """Returns the overlap of every structure of two masks on one grid.

    Args:
        reference: Mask with the study's labels, any shape of three axes.
        prediction: Mask of the same shape.
        slice_axis: Array axis along which sagittal slices lie, from the affine.
        voxel_volume_mm3: Volume of one voxel.

    Raises:
        GeometryError: The shapes differ.
    """
    return {
        structure: _overlap_of(counts, voxel_volume_mm3)
        for structure, counts in _count_by_slice(reference, prediction, slice_axis).items()
    }


@dataclass(frozen=True)
class _Counts:
    """Voxels of one structure, a number per slice: in the reference, in the prediction, and in both at once."""

    reference: list[int]
    prediction: list[int]
    both: list[int]


def _overlap_of(counts: _Counts, voxel_volume_mm3: float) -> Overlap:
    """Returns the measures of one structure."""
    common, n_reference, n_prediction = sum(counts.both), sum(counts.reference), sum(counts.prediction)
    total = n_reference + n_prediction
    return Overlap(
        status=status_of(n_reference, n_prediction),
        dice_volumetric=2 * common / total if total else None,
        dice_slice_mean=_slice_mean(counts),
        iou=common / (total - common) if total else None,
        volume_reference_mm3=n_reference * voxel_volume_mm3,
        volume_prediction_mm3=n_prediction * voxel_volume_mm3,
        volume_difference_relative=(n_prediction - n_reference) / n_reference if n_reference else None,
    )


def status_of(n_reference: int, n_prediction: int) -> Status:
    """Returns the status that two voxel counts stand for."""
    if n_reference and n_prediction:
        return Status.OK
    if n_reference:
        return Status.MISSED
    return Status.SPURIOUS if n_prediction else Status.BOTH_EMPTY


def _slice_mean(counts: _Counts) -> float:
    """Returns the plain mean of the slices' Dice, 1 where a slice is empty in both masks.

    Added up from the first slice to the last, as the published numbers were: ``np.mean`` adds pairwise, Python's
    ``sum`` compensates from 3.12 on, and both may differ in the last bit.
    """
    added = 0.0
    for common, ours, theirs in zip(counts.both, counts.reference, counts.prediction, strict=True):
        added += 2 * common / (ours + theirs) if ours or theirs else 1.0
    return added / len(counts.both)


def _count_by_slice(
    reference: NDArray[np.uint8], prediction: NDArray[np.uint8], slice_axis: int
) -> dict[Structure, _Counts]:
    """Returns the voxel counts of every structure by slice.

    Only words that hold a label in either mask are counted, one in forty: finding them is most of the work.
    """
    if reference.shape != prediction.shape:
        raise GeometryError(f"expected two masks of one shape, got {reference.shape} against {prediction.shape}.")
    order = _slices_first(reference, slice_axis)
    ours, theirs = _as_words(reference, order), _as_words(prediction, order)
    filled = np.flatnonzero(np.logical_or(ours, theirs))
    first, second = (_known(words.reshape(-1).take(filled)) for words in (ours, theirs))
    starts = np.searchsorted(filled, np.arange(len(ours) + 1) * ours.shape[1])
    counts = zip(*(_count_voxels(words, starts) for words in (first, second, first & second)), strict=True)
    return {structure: _Counts(*by_slice) for structure, by_slice in zip(LABELS, counts, strict=True)}


def _count_voxels(words: NDArray[np.uint64], starts: NDArray[np.int64]) -> list[list[int]]:
    """Returns how many voxels each structure has in each slice, whose words go from one start to the next."""
    has_words = starts[:-1] < starts[1:]
    counts = np.zeros((len(LABELS), len(has_words)), np.int64)
    voxels = np.bitwise_count(words & _BITS)
    counts[:, has_words] = np.add.reduceat(voxels, starts[:-1][has_words], axis=1, dtype=np.uint32)
    return counts.tolist()


def _slices_first(array: NDArray[np.uint8], slice_axis: int) -> tuple[int, ...]:
    """Returns the order of axes that puts slices first and follows memory after that, so that few bytes move."""
    rest = sorted((axis for axis in range(array.ndim) if axis != slice_axis), key=lambda axis: -array.strides[axis])
    return (slice_axis, *rest)


def _as_words(mask: NDArray[np.uint8], order: tuple[int, ...]) -> NDArray[np.uint64]:
    """Returns the mask's bytes as words, a row per slice; each row's last word is filled up with background."""
    rows = mask.transpose(order).reshape(mask.shape[order[0]], -1)
    missing = -rows.shape[1] % _WORD
    if missing:
        rows = np.pad(rows, ((0, 0), (0, missing)))
    return np.ascontiguousarray(rows).view(np.uint64)


def _known(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Returns the words with background in place of all that is no label of the study."""
    voxels = words.view(np.uint8)
    if voxels.max(initial=0) <= max(LABELS.values()):
        return words
    table = np.zeros(256, np.uint8)
    for label in LABELS.values():
        table[label] = label
    return table[voxels].view(np.uint64)
