"""Overlap of a reference and a predicted mask: both Dice definitions, IoU and volumes, with a policy for empty masks.

Add a measure here when it follows from voxel counts alone. Distances between surfaces, levels of the spine and
anything over more than one exam stand in their own modules.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cspine_assets.domain.anatomy import LABELS, Structure
from cspine_assets.domain.errors import GeometryError
from cspine_assets.domain.evaluation.pair import read_mask_pair

_WORD: Final = 8
"""Bytes of a machine word: voxels are looked at eight at a time, since most are background in both masks."""

_CODES: Final = 4
"""Values of two bits: background, one per structure, and one that no structure has."""

_TWO_BITS: Final = np.uint64(2)

_MORE_THAN_TWO_BITS: Final = 0xFCFCFCFCFCFCFCFC
"""What a word of voxels has in common with values above 3."""


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


def score_exam(reference_path: Path, prediction_path: Path) -> dict[Structure, Overlap]:
    """Returns the overlap of both structures of two mask files.

    Raises:
        GeometryError: A file cannot be read, or the grids differ; the message names the difference.
    """
    pair = read_mask_pair(reference_path, prediction_path, labels=LABELS)
    return measure_overlap(
        pair.reference,
        pair.prediction,
        slice_axis=pair.geometry.slice_axis,
        voxel_volume_mm3=pair.geometry.voxel_volume_mm3,
    )


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
    counts = _count_by_slice(reference, prediction, slice_axis)
    return {
        structure: _overlap_of(
            both=counts[:, label, label],
            in_reference=counts[:, :, label].sum(axis=1),
            in_prediction=counts[:, label, :].sum(axis=1),
            voxel_volume_mm3=voxel_volume_mm3,
        )
        for structure, label in LABELS.items()
    }


def _overlap_of(
    *,
    both: NDArray[np.int64],
    in_reference: NDArray[np.int64],
    in_prediction: NDArray[np.int64],
    voxel_volume_mm3: float,
) -> Overlap:
    """Returns the measures of one structure from its voxel counts per slice."""
    common, n_reference, n_prediction = int(both.sum()), int(in_reference.sum()), int(in_prediction.sum())
    total = n_reference + n_prediction
    return Overlap(
        status=status_of(n_reference, n_prediction),
        dice_volumetric=2 * common / total if total else None,
        dice_slice_mean=_slice_mean(both, in_reference + in_prediction),
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


def _slice_mean(both: NDArray[np.int64], total: NDArray[np.int64]) -> float:
    """Returns the plain mean of the slices' Dice, 1 where a slice is empty in both masks.

    Added up from the first slice to the last, as the published numbers were: ``np.mean`` adds pairwise, Python's
    ``sum`` compensates from 3.12 on, and both may differ in the last bit.
    """
    added = 0.0
    for common, voxels in zip(both.tolist(), total.tolist(), strict=True):
        added += 2 * common / voxels if voxels else 1.0
    return added / len(both)


def _count_by_slice(reference: NDArray[np.uint8], prediction: NDArray[np.uint8], slice_axis: int) -> NDArray[np.int64]:
    """Returns voxel counts of shape (slices, code in the prediction, code in the reference).

    Only words that hold a label in either mask are looked at, so the count of background in both is not complete. A
    slice at a time stays in the processor's cache.
    """
    if reference.shape != prediction.shape:
        raise GeometryError(f"expected two masks of one shape, got {reference.shape} against {prediction.shape}.")
    order = _slices_first(reference, slice_axis)
    words = _as_words(reference, order), _as_words(prediction, order)
    counts = np.zeros((reference.shape[slice_axis], _CODES**2), np.int64)
    either, is_filled = np.empty(words[0].shape[1], np.uint64), np.empty(words[0].shape[1], np.bool_)
    for index, (ours, theirs) in enumerate(zip(*words, strict=True)):
        np.bitwise_or(ours, theirs, out=either)
        np.not_equal(either, 0, out=is_filled)
        filled = np.flatnonzero(is_filled)
        if filled.size:
            first, second = ours[filled], theirs[filled]
            if int(np.bitwise_or.reduce(first | second)) & _MORE_THAN_TWO_BITS:
                first, second = _known(first), _known(second)
            # both masks' two bits side by side in each byte: one code per voxel
            codes = (first | (second << _TWO_BITS)).view(np.uint8)
            counts[index] = np.bincount(codes, minlength=_CODES**2)
    return counts.reshape(-1, _CODES, _CODES)


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
    table = np.zeros(256, np.uint8)
    for label in LABELS.values():
        table[label] = label
    return table[words.view(np.uint8)].view(np.uint64)
