"""Overlap against an independent, plain re-implementation and against SimpleITK."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from cspine_assets.domain.anatomy import LABELS, Structure
from cspine_assets.domain.errors import GeometryError
from cspine_assets.domain.evaluation import pair
from cspine_assets.domain.evaluation.mask_score import score_masks
from cspine_assets.domain.evaluation.overlap import Status, measure_overlap
from cspine_assets_tests.domain.evaluation.mask_pairs import random_pair

BODY, DISC = Structure.VERTEBRAL_BODY, Structure.INTERVERTEBRAL_DISC


def measure(reference, prediction, axis=2, voxel_volume_mm3=1.0, labels=LABELS):
    return measure_overlap(reference, prediction, slice_axis=axis, voxel_volume_mm3=voxel_volume_mm3, labels=labels)


def plain_slice_mean(reference, prediction, label, axis):
    total = 0.0
    for index in range(reference.shape[axis]):
        a = np.take(reference, index, axis) == label
        b = np.take(prediction, index, axis) == label
        both, size = int(np.logical_and(a, b).sum()), int(a.sum()) + int(b.sum())
        dice = 1.0 if size == 0 else 2.0 * both / size
        total = total + dice
    return total / reference.shape[axis]


@pytest.mark.parametrize("highest", [2, 3, 255])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slice_mean_dice_equals_a_plain_loop_to_the_last_bit(axis, highest):
    for seed in range(200):
        reference, prediction = random_pair(seed, highest=highest)
        measured = measure(reference, prediction, axis)
        for structure, label in LABELS.items():
            assert measured[structure].dice_slice_mean == plain_slice_mean(reference, prediction, label, axis), seed


def test_slices_are_added_from_first_to_last():
    # these slices' Dice add up to another number pairwise, or from the last to the first
    reference = np.zeros((97, 1, 40), np.uint8)
    prediction = np.zeros_like(reference)
    for index in range(40):
        reference[: 3 + 2 * index, 0, index] = 1
        prediction[index : 4 + 2 * index, 0, index] = 1
    slices = [
        2
        * np.sum((reference == 1) & (prediction == 1), axis=(0, 1))[n]
        / (np.sum(reference == 1, axis=(0, 1)) + np.sum(prediction == 1, axis=(0, 1)))[n]
        for n in range(40)
    ]
    expected = plain_slice_mean(reference, prediction, 1, 2)
    assert expected != float(np.mean(slices))
    assert measure(reference, prediction)[BODY].dice_slice_mean == expected


def test_volumetric_dice_and_iou_equal_simpleitk():
    compared = 0
    for seed in range(60):
        reference, prediction = random_pair(seed)
        measured = measure(reference, prediction)
        for structure, label in LABELS.items():
            if measured[structure].status is not Status.OK:
                continue
            oracle = sitk.LabelOverlapMeasuresImageFilter()
            oracle.Execute(
                *(sitk.GetImageFromArray((mask == label).astype(np.uint8)) for mask in (reference, prediction))
            )
            assert measured[structure].dice_volumetric == pytest.approx(oracle.GetDiceCoefficient(1), abs=1e-12)
            assert measured[structure].iou == pytest.approx(oracle.GetJaccardCoefficient(1), abs=1e-12)
            compared += 1
    assert compared > 40


def test_volumes_are_in_cubic_millimetres_and_their_difference_is_relative_to_the_reference():
    reference, prediction = np.zeros((2, 4, 4, 4), np.uint8)
    reference[:2, :2, :2] = 1
    prediction[:2, :2, :3] = 1
    measured = measure(reference, prediction, voxel_volume_mm3=0.5)[BODY]
    assert (measured.volume_reference_mm3, measured.volume_prediction_mm3) == (4.0, 6.0)
    assert measured.volume_difference_relative == 0.5


@pytest.mark.parametrize(
    ("in_reference", "in_prediction", "status", "dice", "slice_mean"),
    [
        (True, True, Status.OK, 1.0, 1.0),
        (True, False, Status.MISSED, 0.0, 0.75),
        (False, True, Status.SPURIOUS, 0.0, 0.75),
        (False, False, Status.BOTH_EMPTY, None, 1.0),
    ],
)
def test_empty_masks_follow_the_policy(in_reference, in_prediction, status, dice, slice_mean):
    reference, prediction = np.zeros((2, 3, 3, 4), np.uint8)
    reference[1, 1, 1] = 2 * in_reference
    prediction[1, 1, 1] = 2 * in_prediction
    measured = measure(reference, prediction)[DISC]
    assert (measured.status, measured.dice_volumetric, measured.iou) == (status, dice, dice)
    assert measured.dice_slice_mean == slice_mean
    assert (measured.volume_difference_relative is None) == (not in_reference)


def test_masks_of_two_shapes_are_refused():
    with pytest.raises(GeometryError, match=r"\(2, 2, 2\) against \(2, 2, 3\)"):
        measure(np.zeros((2, 2, 2), np.uint8), np.zeros((2, 2, 3), np.uint8))


def test_a_third_label_is_no_voxel_of_the_others():
    # the number of the third is the bits of the first and the second together
    reference, prediction = np.zeros((2, 8, 8, 5), np.uint8)
    reference[1:4], reference[5:7] = 1, 3
    prediction[1:7] = 3
    measured = measure(reference, prediction, labels={BODY: 1, DISC: 2, "spinal_cord": 3})
    assert (measured[BODY].status, measured[BODY].dice_volumetric, measured[BODY].dice_slice_mean) == ("missed", 0, 0)
    assert measured[DISC].status is Status.BOTH_EMPTY
    assert measured["spinal_cord"].dice_volumetric == 2 * 2 / (2 + 6)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16, np.int32, np.int64, np.float32, np.float64])
def test_any_labels_of_any_type_are_counted_as_comparing_counts_them(dtype):
    for seed in range(40):
        rng = np.random.default_rng(seed)
        highest = int(min(np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 4000, rng.choice([3, 9, 4000])))
        numbers = rng.choice(np.arange(1, highest + 1), min(highest, int(rng.integers(1, 6))), replace=False)
        labels = {f"structure {number}": int(number) for number in numbers}
        others = rng.integers(0, highest + 1, 3)  # the background and what nobody asked for
        shape = rng.integers(1, 12, 3)
        reference, prediction = rng.choice(np.array([0, *numbers, *others], dtype), (2, *shape))
        reference = np.asfortranarray(reference) if seed % 2 else reference
        axis = int(rng.integers(3))
        measured = measure(reference, prediction, axis, labels=labels)
        for name, number in labels.items():
            ours, theirs = reference == number, prediction == number
            total = int(ours.sum() + theirs.sum())
            expected = 2 * int((ours & theirs).sum()) / total if total else None
            assert measured[name].dice_volumetric == expected, (seed, labels)
            assert measured[name].volume_reference_mm3 == ours.sum()
            assert measured[name].volume_prediction_mm3 == theirs.sum()
            assert measured[name].dice_slice_mean == plain_slice_mean(reference, prediction, number, axis)


def test_the_background_is_no_structure():
    with pytest.raises(ValueError, match="background's 0"):
        measure(np.zeros((2, 2, 2), np.uint8), np.zeros((2, 2, 2), np.uint8), labels={BODY: 0})


def test_a_number_between_the_labels_becomes_background(monkeypatch):
    monkeypatch.setattr(pair, "LABELS", {BODY: 1, DISC: 3})
    monkeypatch.setattr(pair, "ALLOWED_LABELS", frozenset({0, 1, 3}))
    mask = np.array([0, 1, 2, 3], np.uint8).reshape(1, 2, 2)
    assert pair.relabel(mask, labels={BODY: 1, DISC: 3}).ravel().tolist() == [0, 1, 0, 3]


def write(path, array, affine):
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def overlap_of(reference, prediction):
    return score_masks(reference, prediction, with_surfaces=False, with_levels=False).overlap


def test_slices_lie_along_the_axis_that_the_affine_says(tmp_path):
    rng = np.random.default_rng(5)
    reference, prediction = rng.integers(0, 3, (2, 5, 6, 7)).astype(np.uint8)
    slices_first = np.array([[3.0, 0, 0, 0], [0, 0, 0.5, 0], [0, 0.5, 0, 0], [0, 0, 0, 1]])
    paths = [
        write(tmp_path / f"{name}.nii.gz", mask, slices_first)
        for name, mask in (("reference", reference), ("prediction", prediction))
    ]
    measured = overlap_of(*paths)[DISC]
    assert measured.dice_slice_mean == plain_slice_mean(reference, prediction, 2, 0)
    assert measured.volume_reference_mm3 == pytest.approx(0.75 * np.sum(reference == 2))


def test_a_shifted_prediction_grid_is_an_error_that_names_the_difference(tmp_path):
    mask = np.ones((3, 3, 3), np.uint8)
    shifted = np.eye(4)
    shifted[0, 3] = 2.0
    reference = write(tmp_path / "reference.nii.gz", mask, np.eye(4))
    prediction = write(tmp_path / "prediction.nii.gz", mask, shifted)
    with pytest.raises(GeometryError, match=r"prediction\.nii\.gz.*origin differs by 2 mm"):
        overlap_of(reference, prediction)
