"""One exam scored from files: identity, labels of other makers, missing predictions."""

from __future__ import annotations

import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from cspine_assets.domain.anatomy import Structure
from cspine_assets.domain.errors import CSpineError, TableError
from cspine_assets.domain.evaluation.mask_score import score_masks
from cspine_assets.domain.evaluation.score import Part, ScoredCase, ScoredPair, concat_frames, score_pairs

CASE = ScoredCase(
    exam_id="593973-000001_Study-MR-1_Series-4",
    patient_id="593973-000001",
    set="test",
    fold=None,
    predictor="2d",
    profile="demo",
    split_sha256="s",
    model_sha256="m",
    annotation_provenance="expert",
)


def score_case(reference, prediction, *parts):
    return score_pairs([ScoredPair(reference, prediction, CASE)], parts=parts or tuple(Part))


def write(path, array):
    nib.save(nib.Nifti1Image(array, np.diag([4.0, 1, 1, 1])), path)
    return path


def example_mask(body=1, disc=2):
    mask = np.zeros((5, 12, 30), np.uint8)
    for n in range(3):
        mask[1:4, 3:9, 10 * n + 1 : 10 * n + 6] = body
        mask[1:4, 3:9, 10 * n + 7 : 10 * n + 9] = disc
    return mask


def test_an_exam_has_two_rows_of_overlap_and_32_of_levels(tmp_path):
    path = write(tmp_path / "mask.nii.gz", example_mask())
    frames = score_case(path, path)
    assert frames.exams["dice_volumetric"].tolist() == [1.0, 1.0]
    assert frames.levels.groupby(["view", "protocol", "structure"]).size().tolist() == [6, 7, 6, 7, 6]
    assert set(frames.levels["exam_id"]) == {CASE.exam_id}


def test_every_level_row_has_either_a_dice_or_a_reason(tmp_path):
    path = write(tmp_path / "mask.nii.gz", example_mask())
    levels = score_case(path, path).levels
    assert (levels["dice"].notna() ^ levels["reason"].notna()).all()


def test_overlap_can_be_scored_without_levels(tmp_path):
    path = write(tmp_path / "mask.nii.gz", example_mask())
    frames = score_case(path, path, Part.EXAMS)
    assert len(frames.exams) == 2
    assert frames.levels.empty


def test_levels_can_be_scored_without_the_rest(tmp_path):
    path = write(tmp_path / "mask.nii.gz", example_mask())
    frames = score_case(path, path, Part.LEVELS)
    assert frames.exams.empty
    assert len(frames.levels) == 32


def test_a_missing_prediction_is_a_row_and_not_a_gap(tmp_path):
    path = write(tmp_path / "mask.nii.gz", example_mask())
    frames = score_case(path, None)
    assert frames.exams["status"].tolist() == ["missed", "missed"]
    assert frames.exams["dice_volumetric"].tolist() == [0.0, 0.0]


def test_label_numbers_of_another_maker_are_mapped(tmp_path):
    ours = score_masks(write(tmp_path / "a.nii.gz", example_mask()), None)
    theirs = score_masks(
        write(tmp_path / "b.nii.gz", example_mask(49, 100)),
        None,
        labels={Structure.VERTEBRAL_BODY: 49, Structure.INTERVERTEBRAL_DISC: 100},
    )
    assert ours == theirs


def test_one_structure_alone_can_be_scored(tmp_path):
    path = write(tmp_path / "mask.nii.gz", example_mask(49, 100))
    score = score_masks(path, path, labels={Structure.INTERVERTEBRAL_DISC: 100}, with_levels=False)
    assert list(score.overlap) == [Structure.INTERVERTEBRAL_DISC]
    assert score.levels == []


def test_a_mask_without_any_of_the_labels_is_an_error_and_not_an_empty_mask(tmp_path):
    path = write(tmp_path / "mask.nii.gz", example_mask(49, 100))
    with pytest.raises(CSpineError, match=r"mask\.nii\.gz.*vertebral_body=1.*got only 49, 100"):
        score_masks(path, path)


def test_an_exam_scored_twice_is_refused(tmp_path):
    path = write(tmp_path / "mask.nii.gz", example_mask())
    frames = score_case(path, path)
    with pytest.raises(TableError):
        concat_frames([frames, frames])


def test_no_exam_gives_two_empty_tables():
    frames = concat_frames([])
    assert frames.exams.empty
    assert "dice" in frames.levels


def test_a_real_mask_against_itself_is_1_everywhere():
    root = os.environ.get("CSPINE_REAL_DATA")
    if not root:
        pytest.skip("CSPINE_REAL_DATA does not name the folder of real test data")
    path = Path(root) / "t2w_spine_crop" / "sub-mri_seg-subreg_label-6_msk.nii.gz"
    labels = {Structure.VERTEBRAL_BODY: 49, Structure.INTERVERTEBRAL_DISC: 100}
    score = score_masks(path, path, labels=labels)
    assert {(one.dice_volumetric, one.dice_slice_mean, one.iou) for one in score.overlap.values()} == {(1.0, 1.0, 1.0)}
    assert {level.dice for level in score.levels if level.reason is None} == {1.0}
    # a crop of two lumbar discs: no name of a cervical level may be taken for sure
    assert {level.severity for level in score.levels if level.dice is not None} == {"name_unsure"}
