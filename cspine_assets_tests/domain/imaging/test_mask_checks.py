from __future__ import annotations

import gzip
import hashlib

import nibabel as nib
import numpy as np
import pytest

from cspine_assets.domain.anatomy import Structure
from cspine_assets.domain.imaging.mask_batch import MaskTask, each_checked
from cspine_assets.domain.imaging.masks import check_mask, mask_rows
from cspine_assets.domain.volume import Geometry

AFFINE = np.array([[0, 0, 3.3, -8], [-0.5, 0, 0, 40], [0, -0.5, 0, 60], [0, 0, 0, 1.0]])
SHAPE = (12, 12, 5)
GRID = Geometry(SHAPE, AFFINE)


def drawn():
    mask = np.zeros(SHAPE, np.uint8)
    mask[2:5, 1:4, 1:4] = 1
    mask[2:5, 7:10, 1:4] = 1
    mask[2:5, 5, 1:4] = 2
    return mask


def look(tmp_path, mask, affine=AFFINE, **more):
    path = tmp_path / "mask_SEG.nii.gz"
    nib.save(nib.Nifti1Image(mask, affine), path)
    return check_mask(path, GRID, exam_id="exam", patient_id="patient", **more)


def test_a_good_mask_is_counted_and_left_where_it_is(tmp_path):
    found = look(tmp_path, drawn())
    assert found.is_ok
    assert found.labels == (0, 1, 2)
    body, disc = found.counts[Structure.VERTEBRAL_BODY], found.counts[Structure.INTERVERTEBRAL_DISC]
    assert (body.voxels, body.components) == (54, 2)
    assert (disc.voxels, disc.components) == (9, 1)
    assert found.path == tmp_path / "mask_SEG.nii.gz"


def test_voxels_that_touch_at_an_edge_are_two_components(tmp_path):
    mask = drawn()
    mask[10, 10, 0] = mask[11, 11, 0] = 2
    assert look(tmp_path, mask).counts[Structure.INTERVERTEBRAL_DISC].components == 3


def test_a_usable_mask_is_written_with_its_voxels_and_grid_unchanged(tmp_path):
    destination = tmp_path / "home" / "mask.nii.gz"
    found = look(tmp_path, drawn(), destination=destination)
    image = nib.load(destination)
    assert np.array_equal(image.dataobj, drawn())
    assert np.array_equal(image.affine, nib.load(tmp_path / "mask_SEG.nii.gz").affine)
    assert mask_rows([found], tmp_path / "home").loc[0, "path"] == "mask.nii.gz"


def test_another_compression_makes_no_other_mask(tmp_path):
    kept = look(tmp_path, drawn(), destination=tmp_path / "home" / "mask.nii.gz")
    packed = tmp_path / "mask_SEG.nii.gz"
    packed.write_bytes(gzip.compress(gzip.decompress(packed.read_bytes()), compresslevel=1))
    again = check_mask(packed, GRID, exam_id="exam", patient_id="patient")
    assert again.sha256 == kept.sha256
    assert again.sha256 == hashlib.sha256(gzip.decompress(kept.path.read_bytes())).hexdigest()
    assert look(tmp_path, np.roll(drawn(), 1, axis=0)).sha256 != kept.sha256


def test_whole_numbers_stored_as_floats_are_taken_with_a_note(tmp_path):
    found = look(tmp_path, drawn().astype(np.float32))
    assert found.is_ok
    assert found.notes == ("whole numbers stored as float32",)


def moved(mm):
    affine = AFFINE.copy()
    affine[1, 3] += mm
    return affine


def test_an_origin_within_a_thousandth_of_a_millimetre_is_the_same(tmp_path):
    assert look(tmp_path, drawn(), moved(5e-4)).is_ok


def interpolated():
    mask = drawn().astype(np.float32)
    mask[2, 5, 1] = 1.5
    return mask


def stranger():
    mask = drawn()
    mask[0, 0, 0] = 7
    return mask


def bodies_alone():
    return np.where(drawn() == 2, 0, drawn())


@pytest.mark.parametrize(
    ("mask", "affine", "cause", "reason"),
    [
        (interpolated(), AFFINE, "interpolated", "values in between (float32)"),
        (stranger(), AFFINE, "strange_labels", "found also 7"),
        (drawn() * 0, AFFINE, "structure_missing", "found none of vertebral_body and intervertebral_disc"),
        (bodies_alone(), AFFINE, "structure_missing", "found none of intervertebral_disc"),
        (drawn()[..., :-1], AFFINE, "other_grid", "shape (12, 12, 5) against (12, 12, 4)"),
        (drawn(), moved(0.01), "other_grid", "origin differs"),
        (drawn(), AFFINE * np.array([-1, 1, 1, 1]), "other_grid", "direction differs"),
        (drawn(), AFFINE * np.array([1.01, 1, 1, 1]), "other_grid", "spacing differs"),
        (np.stack([drawn(), drawn()], axis=-1), AFFINE, "not_a_volume", "3 axes"),
        (np.zeros(SHAPE, [(colour, "u1") for colour in "RGB"]), AFFINE, "not_a_volume", "one real number a voxel"),
        (drawn().astype(np.complex64), AFFINE, "not_a_volume", "one real number a voxel"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused_and_not_written(mask, affine, cause, reason, tmp_path):
    destination = tmp_path / "home" / "mask.nii.gz"
    found = look(tmp_path, mask, affine, destination=destination)
    assert found.cause == cause
    assert reason in found.reason
    assert found.path is None
    assert not destination.exists()
    assert mask_rows([found], tmp_path).loc[0, "status"] == "failed"


def test_a_mask_of_another_checksum_than_the_release_lists_is_no_reference(tmp_path):
    destination = tmp_path / "home" / "mask.nii.gz"
    listed = hashlib.md5(b"the mask as it was shipped", usedforsecurity=False).hexdigest()
    found = look(tmp_path, drawn(), destination=destination, md5=listed)
    assert found.cause == "wrong_checksum"
    assert f"with MD5 {listed}" in found.reason
    assert not destination.exists()
    own = hashlib.md5((tmp_path / "mask_SEG.nii.gz").read_bytes(), usedforsecurity=False).hexdigest()
    assert check_mask(tmp_path / "mask_SEG.nii.gz", GRID, exam_id="e", patient_id="p", md5=own.upper()).is_ok
    # a mask that shows what is wrong with it is told of by that
    assert look(tmp_path, drawn() * 3, md5=listed).cause == "strange_labels"


@pytest.mark.parametrize("end", [30, -20])
def test_a_mask_cut_short_is_refused(end, tmp_path):
    path = tmp_path / "mask.nii.gz"
    nib.save(nib.Nifti1Image(drawn(), AFFINE), path)
    path.write_bytes(path.read_bytes()[:end])
    assert "cut short" in check_mask(path, GRID, exam_id="exam", patient_id="patient").reason


@pytest.mark.parametrize("path", [None, "nowhere.nii.gz"])
def test_a_missing_mask_is_a_row_with_its_reason(path, tmp_path):
    found = check_mask(path and tmp_path / path, GRID, exam_id="exam", patient_id="patient")
    assert "there is none" in found.reason
    assert mask_rows([found], tmp_path).loc[0, "reason"] == found.reason


def test_a_picture_that_cannot_be_drawn_costs_its_exam_and_no_other(tmp_path):
    path = tmp_path / "mask_SEG.nii.gz"
    nib.save(nib.Nifti1Image(drawn(), AFFINE), path)
    tasks = [MaskTask(name, "patient", path, path, tmp_path / name / "mask.nii.gz") for name in ("first", "second")]
    pictures = iter([ValueError("Doe^Jane"), b"png"])

    def draw(_volume, _mask):
        picture = next(pictures)
        if isinstance(picture, ValueError):
            raise picture
        return picture

    first, second = each_checked(tasks, draw=draw)
    assert first.findings.cause == "unexpected"
    assert "first: unexpected ValueError in test_mask_checks.py" in first.findings.reason
    assert "Doe" not in first.findings.reason
    assert (second.findings.is_ok, second.picture) == (True, b"png")


@pytest.mark.parametrize("stored", ["u1", "<i2", ">i2", "<f4", "<f8"])
def test_a_usual_mask_is_never_laid_out_on_the_disk(stored, tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("cspine_assets.domain.imaging.masks.tempfile.TemporaryDirectory", None)
    found = look(tmp_path, drawn().astype(stored))
    assert (found.cause, found.labels, found.stored_type) == (None, (0, 1, 2), np.dtype(stored).name)
    assert found.counts[Structure.VERTEBRAL_BODY].voxels == 54
