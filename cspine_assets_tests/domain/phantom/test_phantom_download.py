from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from cspine_assets.domain.anatomy import ALLOWED_LABELS
from cspine_assets.domain.dcm2niix import run_dcm2niix
from cspine_assets.domain.errors import CSpineError
from cspine_assets.domain.phantom import cohort as cohort_module
from cspine_assets.domain.phantom.cohort import write_cohort
from cspine_assets_tests.domain.phantom.phantom_cohort import SETTINGS


def digests(root):
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_every_archive_converts_to_the_shipped_image_voxel_for_voxel(cohort, tmp_path):
    for exam in cohort.exams:
        source, converted = tmp_path / exam.exam_id / "dicom", tmp_path / exam.exam_id / "nifti"
        converted.mkdir(parents=True)
        with zipfile.ZipFile(cohort.archive(exam)) as archive:
            archive.extractall(source)
        run_dcm2niix(source, converted, "%j")
        again, shipped = nib.load(converted / f"{exam.series_uid}.nii"), cohort.image(exam)
        assert np.array_equal(again.affine, shipped.affine)
        assert np.array_equal(again.dataobj, shipped.dataobj)
        assert np.asarray(shipped.dataobj).std() > 10


def test_masks_lie_on_the_grid_of_their_image(cohort):
    for exam in cohort.exams:
        image, mask = cohort.image(exam), cohort.mask(exam)
        assert mask.shape == image.shape
        assert np.array_equal(mask.affine, image.affine)
        assert mask.get_data_dtype() == np.uint8
        assert set(np.unique(mask.dataobj)) == ALLOWED_LABELS


def test_slices_run_last_in_the_array_except_in_the_one_3d_acquisition(cohort):
    for exam in cohort.exams:
        image = cohort.image(exam)
        axis = int(np.argmax(np.abs(image.affine[0, :3]) / np.linalg.norm(image.affine[:3, :3], axis=0)))
        assert axis == (0 if exam.acquisition.is_3d else 2)
        assert image.shape[axis] == exam.acquisition.slices
    assert sum(exam.acquisition.is_3d for exam in cohort.exams) == 1


def test_bodies_are_brighter_than_the_cortex_around_discs_in_every_orientation(cohort):
    # A mask flipped or turned against its image would cover air, fat and fluid, which vary far more.
    for exam in cohort.exams:
        if exam.patient.has_expert_masks:
            image, mask = np.asarray(cohort.image(exam).dataobj), np.asarray(cohort.mask(exam).dataobj)
            flipped = mask[::-1, ::-1]
            assert image[mask == 1].std() < 0.8 * image[flipped == 1].std()


def test_equal_settings_give_equal_bytes(cohort, tmp_path):
    again = tmp_path / "again"
    write_cohort(again, SETTINGS)
    assert digests(again) == digests(cohort.root)


def test_bytes_do_not_depend_on_the_batches_or_workers(cohort, tmp_path, monkeypatch):
    monkeypatch.setattr(cohort_module, "_EXAMS_PER_BATCH", 3)
    monkeypatch.setattr(cohort_module, "_WORKERS", 1)
    write_cohort(tmp_path / "again", SETTINGS)
    assert digests(tmp_path / "again") == digests(cohort.root)


def test_another_seed_gives_another_cohort(cohort, tmp_path):
    write_cohort(tmp_path / "other", replace(SETTINGS, seed=12, patients=1))
    assert not set(digests(tmp_path / "other").values()) & set(digests(cohort.root).values())


def test_an_archived_download_holds_the_same_files_in_four_zips(cohort, tmp_path):
    root = tmp_path / "archived"
    write_cohort(root, replace(SETTINGS, archived=True))
    names = ["annotation", "imaging_files", "segmentation", "structured"]
    assert sorted(path.name for path in root.glob("*.zip")) == [f"DukeCSpineSeg_{name}.zip" for name in names]
    for path in root.glob("*.zip"):
        zipfile.ZipFile(path).extractall(root)
        path.unlink()
    assert digests(root) == digests(cohort.root)


def test_archives_hide_the_order_of_their_slices(cohort):
    shuffled = nested = bare = 0
    for exam in cohort.exams:
        with zipfile.ZipFile(cohort.archive(exam)) as archive:
            names = archive.namelist()
        assert len(names) == exam.acquisition.slices
        nested += all("/" in name for name in names)
        bare += not any(name.endswith(".dcm") for name in names)
        numbers = [exam.instance_number(position) for position in range(exam.acquisition.slices)]
        shuffled += numbers != sorted(numbers)
    assert 0 < shuffled < len(cohort.exams)
    assert 0 < nested < len(cohort.exams)
    assert bare > 0


def test_the_provenance_file_names_the_expert_masks_alone(cohort):
    answer = json.loads(cohort.report.provenance_file.read_text())["data"]["data_file"]
    expected = {exam.mask_file_name for exam in cohort.exams if exam.patient.has_expert_masks}
    assert {entry["file_name"] for entry in answer} == expected
    assert 0 < len(expected) < len(cohort.exams)
    assert {entry["annotation_method"] for entry in answer} == {"Retrospective_expert"}


def test_a_used_folder_is_refused_and_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(CSpineError, match="empty folder"):
        write_cohort(tmp_path, SETTINGS)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(*arguments):
        raise CSpineError("planted")

    monkeypatch.setattr(cohort_module, "write_tables", fail)
    with pytest.raises(CSpineError, match="planted"):
        write_cohort(tmp_path / "download", replace(SETTINGS, patients=1))
    assert list(tmp_path.iterdir()) == []
