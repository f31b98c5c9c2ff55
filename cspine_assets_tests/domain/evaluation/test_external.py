"""A folder of masks from another tool is untrusted: what can be scored is taken, the rest is refused with a reason."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from cspine_assets.domain.errors import CSpineError
from cspine_assets.domain.evaluation.external import (
    MAX_CARD_BYTES,
    find_masks,
    predictor_folders,
    read_card,
    refusal_of_mask,
    refusal_of_name,
)

AFFINE = np.diag([4.0, 0.5, 0.5, 1.0])


def write(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    return write(tmp_path / "reference.nii.gz", np.ones((5, 8, 8), np.uint8))


@pytest.mark.parametrize("name", ["TotalSpineSeg", "spinenet-2", "a", "nnunet_v1"])
def test_a_plain_name_is_taken(name):
    assert refusal_of_name(name) is None


@pytest.mark.parametrize("name", ["2d", "3d_fullres", "Ensemble", "a|b", "a b", "-a", "a" * 64, "a...b", "ä"])
def test_a_name_of_our_own_or_one_unfit_for_a_file_is_refused(name):
    assert "Rename" in str(refusal_of_name(name))


def test_folders_are_found_hidden_ones_and_files_are_not(tmp_path: Path):
    (tmp_path / "b").mkdir()
    (tmp_path / "a").mkdir()
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "notes.txt").touch()
    assert [path.name for path in predictor_folders(tmp_path)] == ["a", "b"]
    assert predictor_folders(tmp_path / "nowhere") == []


def test_masks_are_found_by_the_exam_they_name(tmp_path: Path):
    for name in ("e1.nii.gz", "e2.nii", "e3.nii.gz", "e3.nii", "stranger.nii.gz", "read.me", ".DS_Store"):
        (tmp_path / name).touch()
    (tmp_path / "predictor.json").write_text("{}")
    found = find_masks(tmp_path, ["e1", "e2", "e3", "e4"])
    assert {exam: path.name for exam, path in found.masks.items()} == {"e1": "e1.nii.gz", "e2": "e2.nii"}
    assert "both" in found.refused["e3"]
    assert found.unknown == ("read.me", "stranger.nii.gz")


def test_a_mask_on_the_same_grid_with_the_study_s_labels_is_taken(tmp_path: Path, reference: Path):
    array = np.zeros((5, 8, 8), np.float32)
    array[2] = 2
    assert refusal_of_mask(write(tmp_path / "ok.nii.gz", array), reference) is None


@pytest.mark.parametrize(
    ("array", "affine", "reason"),
    [
        (np.zeros((5, 8, 9), np.uint8), AFFINE, "shape"),
        (np.zeros((5, 8, 8, 2), np.uint8), AFFINE, "shape"),
        (np.zeros((5, 8, 8), np.uint8), np.diag([4.0, 0.5, 0.6, 1.0]), "spacing"),
        (np.full((5, 8, 8), 49, np.uint8), AFFINE, "got also 49"),
        (np.full((5, 8, 8), 0.5, np.float32), AFFINE, "whole numbers"),
    ],
)
def test_a_mask_that_cannot_be_scored_is_refused_with_its_reason(
    tmp_path: Path, reference: Path, array, affine, reason
):
    assert reason in str(refusal_of_mask(write(tmp_path / "bad.nii.gz", array, affine), reference))


def test_bytes_that_are_no_nifti_are_refused(tmp_path: Path, reference: Path):
    (tmp_path / "bad.nii.gz").write_bytes(b"\x1f\x8b no gzip")
    assert "NIfTI" in str(refusal_of_mask(tmp_path / "bad.nii.gz", reference))


def test_a_header_without_a_place_in_the_world_is_refused(tmp_path: Path, reference: Path):
    bad = AFFINE.copy()
    bad[0, 3] = np.nan
    assert refusal_of_mask(write(tmp_path / "bad.nii.gz", np.zeros((5, 8, 8), np.uint8), bad), reference) is not None


def test_a_card_says_where_a_predictor_comes_from(tmp_path: Path):
    assert read_card(tmp_path).provenance is None
    (tmp_path / "predictor.json").write_text('{"title": "T", "provenance": "SPIDER", "settings": {"folds": 5}}')
    card = read_card(tmp_path)
    assert card.provenance == "SPIDER"
    assert card.settings_text() == '{"folds": 5, "title": "T"}'


@pytest.mark.parametrize(
    "text",
    ["no json", "[]", '{"titel": "T"}', '{"settings": {"a": {"b": 1}}}', '{"title": "' + "x" * MAX_CARD_BYTES + '"}'],
)
def test_a_card_that_cannot_be_understood_is_one_clear_error(tmp_path: Path, text):
    (tmp_path / "predictor.json").write_text(text)
    with pytest.raises(CSpineError, match=r"predictor\.json: expected"):
        read_card(tmp_path)
