import json
import os
import shutil
import subprocess
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from cspine_assets.domain.errors import ModelError
from cspine_assets.domain.files import fingerprint_file
from cspine_assets.nnunet import training
from cspine_assets.nnunet.dataset import ANNOTATED, write_raw_dataset
from cspine_assets.nnunet.environment import NnunetFolders
from cspine_assets.nnunet.plans import Split, plan_and_preprocess, read_plans, read_splits
from cspine_assets.nnunet.process import Supervision
from cspine_assets.nnunet.profiles import Configuration
from cspine_assets_tests.nnunet.tiny import TINY, planned, tiny_cases


def plan(study, splits, on_message=lambda _: None):
    return plan_and_preprocess(
        study.folders, ANNOTATED, splits, profile=TINY, workers=1, supervision=study.supervision("again", on_message)
    )


@pytest.mark.slow
def test_plans_say_what_was_planned(planned_study):
    flat, full = planned_study.plans.configurations
    assert (flat.configuration, full.configuration) == ("2d", "3d_fullres")
    assert flat.spacing_mm == pytest.approx((1, 1))
    assert full.spacing_mm == pytest.approx((3.3, 1, 1))
    assert full.median_shape == (8, 48, 48)
    assert (flat.stages, flat.batch_size) == (3, 2)
    assert read_plans(planned_study.plans.folder).configurations == (flat, full)


@pytest.mark.slow
def test_folds_stand_beside_the_preprocessed_data_and_nothing_else_does(planned_study):
    folder = planned_study.plans.folder
    assert read_splits(folder) == tuple(planned_study.splits)
    assert len(list((folder / "gt_segmentations").iterdir())) == 6
    assert (folder / "nnUNetPlans_2d").is_dir()
    assert (folder / "nnUNetPlans_3d_fullres").is_dir()
    assert [path.name for path in folder.parent.iterdir()] == ["Dataset108_CSpineSeg"]


@pytest.mark.slow
def test_the_same_data_is_not_planned_again_but_new_folds_are_written(planned_study):
    new = planned_study.splits[::-1]
    try:
        again = plan(planned_study, new)
        assert not again.changed
        assert again.fingerprint == planned_study.plans.fingerprint
        assert read_splits(again.folder) == tuple(new)
        assert not (planned_study.home / "logs" / "again.log").exists()
    finally:
        plan(planned_study, planned_study.splits)


@pytest.mark.slow
def test_a_failed_planning_leaves_nothing_half_made(planned_study, tmp_path):
    folders = NnunetFolders.under(tmp_path)
    cases = list(planned_study.cases)
    spoilt = tmp_path / "spoilt.nii.gz"
    spoilt.write_bytes(b"no NIfTI file")
    cases[0] = replace(cases[0], image=spoilt)
    write_raw_dataset(folders.raw, ANNOTATED, cases)
    with pytest.raises(ModelError, match=r"again\.log"):
        plan_and_preprocess(
            folders,
            ANNOTATED,
            planned_study.splits,
            profile=TINY,
            workers=1,
            supervision=planned_study.supervision("again"),
        )
    (planned_study.home / "logs" / "again.log").unlink()
    assert list(folders.preprocessed.iterdir()) == []


@pytest.fixture
def own_study(planned_study, tmp_path):
    """A copy of the tiny study whose files a test may change."""
    shutil.copytree(planned_study.home / "volumes", tmp_path / "volumes")
    shutil.copytree(planned_study.folders.preprocessed, tmp_path / "nnunet" / "preprocessed")
    return planned(tmp_path)


def redraw_mask(study, case):
    """Another mask under the same name, and not newer than the old one, as a restored backup would be."""
    before = case.label.stat()
    image = nib.load(case.label)
    mask = np.asarray(image.dataobj).copy()
    mask[:4] = 0
    nib.save(nib.Nifti1Image(np.roll(mask, 2, axis=0), image.affine), case.label)
    os.utime(case.label, (before.st_atime, before.st_mtime - 1000))
    write_raw_dataset(study.folders.raw, ANNOTATED, study.cases)


@pytest.mark.slow
def test_a_changed_training_mask_makes_everything_anew_with_that_mask(own_study, planned_study):
    assert own_study.plans.fingerprint == planned_study.plans.fingerprint
    changed = own_study.cases[2]
    redraw_mask(own_study, changed)
    folds_beside_it = []

    def look(_message):
        aside = [path for path in own_study.folders.preprocessed.iterdir() if path != own_study.plans.folder]
        folds_beside_it.append([path.parent.name for folder in aside for path in folder.rglob("splits_final.json")])

    again = plan(own_study, own_study.splits, look)
    assert folds_beside_it[0] == ["Dataset108_CSpineSeg"], "nnU-Net would have drawn folds of its own"
    assert again.changed
    assert again.fingerprint != planned_study.plans.fingerprint
    kept = again.folder / "gt_segmentations" / f"{changed.case_id}.nii.gz"
    assert fingerprint_file(kept) == fingerprint_file(changed.label)


@pytest.mark.slow
def test_a_changed_test_mask_makes_no_model_stale(own_study, planned_study):
    redraw_mask(own_study, next(case for case in own_study.cases if case.part == "test"))
    again = plan(own_study, own_study.splits)
    assert not again.changed
    assert again.fingerprint == planned_study.plans.fingerprint


@pytest.mark.slow
def test_a_moved_case_makes_stale_the_folds_that_it_moved_between_and_no_other(own_study):
    flat = Configuration.FLAT
    before = [training.stamp_of(own_study.plans, flat, fold, TINY).fingerprint for fold in range(3)]
    first, second, third = own_study.splits
    moved = first.val[0]
    first = Split(train=(*first.train, moved), val=first.val[1:])
    second = Split(train=tuple(case for case in second.train if case != moved), val=(*second.val, moved))
    again = plan(own_study, [first, second, third])
    assert not again.changed, "nothing is preprocessed again for other folds"
    after = [training.stamp_of(again, flat, fold, TINY).fingerprint for fold in range(3)]
    assert [old == new for old, new in zip(before, after, strict=True)] == [False, False, True]


@pytest.mark.slow
def test_too_small_a_disk_is_refused_before_preprocessing(planned_study, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "volumes").symlink_to(planned_study.home / "volumes")
    disk = home / "nnunet" / "preprocessed"
    disk.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no right to mount a small disk here")
    try:
        with pytest.raises(ModelError, match=r"needs 1\.3 MB .*\(6 cases x 18,432 voxels x 6 B x 2 configurations\)"):
            planned(home)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.fixture
def raw_only(tmp_path):
    """A raw dataset whose files nobody opens."""
    file = tmp_path / "any.nii.gz"
    file.write_bytes(b"")
    folders = NnunetFolders.under(tmp_path / "nnunet")
    cases = [case for case in tiny_cases(tmp_path) if case.part == "train"]
    cases = [replace(case, image=file, label=file) for case in cases]
    write_raw_dataset(folders.raw, ANNOTATED, cases)
    return folders, [case.case_id for case in cases]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda ids: Split(train=tuple(ids), val=(ids[0],)), "validates on cases it trains on"),
        (lambda ids: Split(train=tuple(ids), val=()), "0 validation cases"),
        (lambda ids: Split(train=tuple(ids), val=("stranger",)), "names stranger"),
    ],
)
def test_folds_that_leak_or_do_not_fit_are_refused(raw_only, tmp_path, make, said):
    folders, ids = raw_only
    supervision = Supervision(log_path=tmp_path / "log", on_message=lambda _: None)
    with pytest.raises(ModelError, match=said):
        plan_and_preprocess(folders, ANNOTATED, [make(ids)], profile=TINY, workers=1, supervision=supervision)


def test_a_folder_of_nobody_has_no_plans(tmp_path):
    assert read_plans(tmp_path) is None
    (tmp_path / "splits_final.json").write_text(json.dumps([{"train": ["a"], "val": ["b"]}]))
    assert read_splits(tmp_path) == (Split(train=("a",), val=("b",)),)
