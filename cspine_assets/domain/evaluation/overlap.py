"""Overlap of a reference and a predicted mask: both Dice definitions, IoU and volumes, with a policy for empty masks.

Add a measure here when it follows from voxel counts alone. Distances between surfaces, levels of the spine and
anything over more than one exam stand in their own modules.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cspine_assets.domain.anatomy import BACKGROUND, LABELS, Structure
from cspine_assets.domain.errors import GeometryError

_WORD: Final = 8
"""Bytes of a machine word: voxels are looked at eight at a time, since most are background in both masks."""

_BYTES: Final = 256
"""Numbers that fit in a byte, 0 among them."""


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
    reference: NDArray[np.generic],
    prediction: NDArray[np.generic],
    *,
    slice_axis: int,
    voxel_volume_mm3: float,
    labels: Mapping[Structure, int] = LABELS,
) -> dict[Structure, Overlap]:
    """Returns the overlap of every structure of two masks on one grid.

    Args:
        reference: Mask of three axes, of any type of number; a voxel belongs to a structure where it equals its label.
        prediction: Mask of the same shape.
        slice_axis: Array axis along which sagittal slices lie, from the affine.
        voxel_volume_mm3: Volume of one voxel.
        labels: Number of each structure in both masks, by default the study's; other numbers are background.

    Raises:
        GeometryError: The shapes differ.
        ValueError: A structure has the number of the background.
    """
    if BACKGROUND in labels.values():
        raise ValueError(f"expected labels other than the background's {BACKGROUND}, got {dict(labels)}.")
    return {
        structure: _overlap_of(counts, voxel_volume_mm3)
        for structure, counts in _count_by_slice(reference, prediction, slice_axis, labels).items()
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
    reference: NDArray[np.generic], prediction: NDArray[np.generic], slice_axis: int, labels: Mapping[Structure, int]
) -> dict[Structure, _Counts]:
    """Returns the voxel counts of every structure by slice.

    Only words that hold a label in either mask are counted, one in forty: finding them is most of the work.
    """
    if reference.shape != prediction.shape:
        raise GeometryError(f"expected two masks of one shape, got {reference.shape} against {prediction.shape}.")
    order = _slices_first(reference, slice_axis)
    codes = _codes((reference, prediction), labels)
    ours, theirs = (_as_words(_as_bytes(mask, codes), order) for mask in (reference, prediction))
    filled = np.flatnonzero(np.logical_or(ours, theirs))
    starts = np.searchsorted(filled, np.arange(len(ours) + 1) * ours.shape[1])
    first, second = (words.reshape(-1).take(filled).view(np.uint8) for words in (ours, theirs))
    bits = np.empty((len(labels), 3, len(filled)), np.uint8)
    in_first, in_second = (np.empty_like(first, np.bool_) for _ in range(2))  # memory is taken once, not for each label
    for (of_first, of_second, of_both), number in zip(bits, labels.values(), strict=True):
        # a true voxel is a byte of one bit: bits of a word are voxels, whatever number the label has
        words = np.equal(first, codes[number], out=in_first).view(np.uint64)
        others = np.equal(second, codes[number], out=in_second).view(np.uint64)
        np.bitwise_count(words, out=of_first)
        np.bitwise_count(others, out=of_second)
        np.bitwise_count(np.bitwise_and(words, others, out=words), out=of_both)
    return {s: _Counts(*by_slice) for s, by_slice in zip(labels, _add_up(bits, starts), strict=True)}


def _add_up(bits: NDArray[np.uint8], starts: NDArray[np.int64]) -> list[list[list[int]]]:
    """Returns the voxels of each row of words by slice, whose words go from one start to the next."""
    has_words = starts[:-1] < starts[1:]
    counts = np.zeros((*bits.shape[:-1], len(has_words)), np.int64)
    counts[..., has_words] = np.add.reduceat(bits, starts[:-1][has_words], axis=-1, dtype=np.uint32)
    summed: list[list[list[int]]] = counts.tolist()
    return summed


def _codes(masks: Iterable[NDArray[np.generic]], labels: Mapping[Structure, int]) -> dict[int, int]:
    """Returns the byte that stands for each label number: itself, or 1, 2, ... where masks or numbers are not bytes."""
    numbers = dict.fromkeys(labels.values())
    if all(mask.dtype == np.uint8 for mask in masks) and all(0 < number < _BYTES for number in numbers):
        return {number: number for number in numbers}
    return {number: code for code, number in enumerate(numbers, start=1)}


def _as_bytes(mask: NDArray[np.generic], codes: Mapping[int, int]) -> NDArray[np.uint8]:
    """Returns the mask with each label's byte in place of its number; a mask that has them already is not copied."""
    if mask.dtype == np.uint8 and all(number == code for number, code in codes.items()):
        return mask.astype(np.uint8, copy=False)
    coded = np.zeros_like(mask, dtype=np.uint8)
    for number, code in codes.items():
        coded[mask == number] = code
    return coded


def _slices_first(array: NDArray[np.generic], slice_axis: int) -> tuple[int, ...]:
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
