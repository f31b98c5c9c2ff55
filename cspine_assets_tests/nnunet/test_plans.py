import json
from dataclasses import replace

import pytest

from cspine_assets.domain.errors import ModelError
from cspine_assets.nnunet.dataset import ANNOTATED, write_raw_dataset
from cspine_assets.nnunet.environment import NnunetFolders
from cspine_assets.nnunet.plans import Split, plan_and_preprocess, read_plans, read_splits
from cspine_assets.nnunet.process import Supervision
from cspine_assets_tests.nnunet.tiny import TINY, tiny_cases


def plan(study, splits):
    return plan_and_preprocess(
        study.folders, ANNOTATED, splits, profile=TINY, workers=1, supervision=study.supervision("again")
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
