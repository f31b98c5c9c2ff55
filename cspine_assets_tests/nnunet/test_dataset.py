import json
from dataclasses import replace

import pytest

from cspine_assets.domain.anatomy import NNUNET_LABEL_NAMES
from cspine_assets.domain.errors import ModelError
from cspine_assets.nnunet.dataset import (
    ANNOTATED,
    UNANNOTATED,
    Case,
    read_training_fingerprint,
    write_raw_dataset,
)


@pytest.fixture
def cases(tmp_path):
    """Two training cases and a test case; nothing here opens the files, so any bytes will do."""
    folder = tmp_path / "home" / "volumes"
    folder.mkdir(parents=True)
    made = []
    for case_id, part in (("a", "train"), ("b", "train"), ("c", "test")):
        image, label = folder / f"{case_id}.nii.gz", folder / f"{case_id}_SEG.nii.gz"
        image.write_bytes(case_id.encode())
        label.write_bytes(case_id.encode() * 2)
        made.append(Case(case_id=case_id, part=part, image=image, label=label))
    return made


@pytest.fixture
def raw(tmp_path):
    return tmp_path / "home" / "nnunet" / "raw"


def test_layout_and_description_are_those_of_the_published_dataset(cases, raw):
    dataset = write_raw_dataset(raw, ANNOTATED, cases)
    files = {path.relative_to(raw).as_posix() for path in raw.rglob("*.nii.gz")}
    assert files == {
        "Dataset108_CSpineSeg/imagesTr/a_0000.nii.gz",
        "Dataset108_CSpineSeg/imagesTr/b_0000.nii.gz",
        "Dataset108_CSpineSeg/imagesTs/c_0000.nii.gz",
        "Dataset108_CSpineSeg/labelsTr/a.nii.gz",
        "Dataset108_CSpineSeg/labelsTr/b.nii.gz",
        "Dataset108_CSpineSeg/labelsTs/c.nii.gz",
    }
    assert json.loads((dataset.folder / "dataset.json").read_text()) == {
        "channel_names": {"0": "T2"},
        "labels": NNUNET_LABEL_NAMES,
        "numTraining": 2,
        "file_ending": ".nii.gz",
        "name": "CSpineSeg",
        "overwrite_image_reader_writer": "NibabelIOWithReorient",
    }


def test_files_are_links_that_survive_a_move_of_the_home(cases, raw, tmp_path):
    write_raw_dataset(raw, ANNOTATED, cases)
    (tmp_path / "home").rename(tmp_path / "elsewhere")
    moved = tmp_path / "elsewhere" / "nnunet" / "raw" / "Dataset108_CSpineSeg"
    assert (moved / "imagesTr" / "a_0000.nii.gz").is_symlink()
    assert (moved / "imagesTr" / "a_0000.nii.gz").read_bytes() == b"a"
    assert (moved / "labelsTs" / "c.nii.gz").read_bytes() == b"cc"


def test_the_same_cases_in_another_order_change_nothing(cases, raw):
    first = write_raw_dataset(raw, ANNOTATED, cases)
    written = (first.folder / "dataset.json").stat().st_mtime_ns
    second = write_raw_dataset(raw, ANNOTATED, cases[::-1])
    assert (first.changed, second.changed) == (True, False)
    assert second.fingerprint == first.fingerprint
    assert (second.folder / "dataset.json").stat().st_mtime_ns == written


def test_a_changed_mask_changes_the_fingerprint(cases, raw):
    first = write_raw_dataset(raw, ANNOTATED, cases)
    cases[0].label.write_bytes(b"redrawn")
    second = write_raw_dataset(raw, ANNOTATED, cases)
    assert second.changed
    assert second.training_fingerprint != first.training_fingerprint


def test_a_changed_test_case_leaves_what_models_learn_from_unchanged(cases, raw):
    first = write_raw_dataset(raw, ANNOTATED, cases)
    cases[2].image.write_bytes(b"scanned again")
    second = write_raw_dataset(raw, ANNOTATED, cases)
    assert second.fingerprint != first.fingerprint
    assert second.training_fingerprint == first.training_fingerprint == read_training_fingerprint(first.folder)


def test_a_case_that_left_the_study_leaves_no_link_behind(cases, raw):
    write_raw_dataset(raw, ANNOTATED, cases)
    dataset = write_raw_dataset(raw, ANNOTATED, cases[1:])
    assert sorted(path.name for path in (dataset.folder / "imagesTr").iterdir()) == ["b_0000.nii.gz"]


def test_a_damaged_dataset_is_written_again(cases, raw):
    dataset = write_raw_dataset(raw, ANNOTATED, cases)
    (dataset.folder / "labelsTr" / "a.nii.gz").unlink()
    assert write_raw_dataset(raw, ANNOTATED, cases).changed
    assert (dataset.folder / "labelsTr" / "a.nii.gz").exists()


def test_nothing_is_left_beside_the_dataset(cases, raw):
    write_raw_dataset(raw, ANNOTATED, cases)
    write_raw_dataset(raw, ANNOTATED, cases[1:])
    assert [path.name for path in raw.iterdir()] == ["Dataset108_CSpineSeg"]


def test_the_unannotated_dataset_has_images_only(cases, raw):
    unlabelled = [replace(case, part="test", label=None) for case in cases]
    dataset = write_raw_dataset(raw, UNANNOTATED, unlabelled)
    assert dataset.folder.name == "Dataset111_CSpineSeg_UNANNO"
    assert [path.name for path in dataset.folder.iterdir() if path.is_dir()] == ["imagesTs"]
    assert (dataset.training_cases, dataset.test_cases) == (0, 3)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda cases: cases.append(cases[0]), "case a comes twice"),
        (lambda cases: cases.append(replace(cases[0], case_id="d", label=None)), "d has no reference mask"),
        (lambda cases: cases[1].image.unlink(), "case b: expected a file"),
    ],
)
def test_a_dataset_that_cannot_be_trusted_is_refused_and_the_old_one_stands(cases, raw, spoil, said):
    standing = write_raw_dataset(raw, ANNOTATED, cases)
    spoil(cases)
    with pytest.raises(ModelError, match=said):
        write_raw_dataset(raw, ANNOTATED, cases)
    assert read_training_fingerprint(standing.folder) == standing.training_fingerprint
