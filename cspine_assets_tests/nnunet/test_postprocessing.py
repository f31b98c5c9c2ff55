import nibabel as nib
import numpy as np
import pytest
from acvl_utils.morphology.morphology_helper import remove_all_but_largest_component
from nnunetv2.imageio.nibabel_reader_writer import NibabelIOWithReorient
from nnunetv2.postprocessing.remove_connected_components import (
    load_postprocess_save,
    remove_all_but_largest_component_from_segmentation,
)

from cspine_assets.nnunet.choosing import choose, score_options
from cspine_assets.nnunet.postprocessing import Postprocessing, keep_largest, write_postprocessed
from cspine_assets_tests.nnunet.tiny import SAGITTAL, write_case


def speck(mask: np.ndarray) -> np.ndarray:
    """The mask with a false body far from the spine."""
    spoilt = mask.copy()
    spoilt[44:47, 40:43, 0:2] = 1
    return spoilt


def save(array: np.ndarray, path):
    nib.save(nib.Nifti1Image(array, SAGITTAL), path)
    return path


@pytest.fixture
def reference(tmp_path):
    return write_case(tmp_path, 0)[1]


@pytest.fixture
def truth(reference) -> np.ndarray:
    return np.asarray(nib.load(reference).dataobj)


def test_keep_largest_is_nnunets_over_the_merged_foreground():
    rng = np.random.default_rng(0)
    for density in (0.0, 0.02, 0.05, 0.1, 0.3):
        for _ in range(10):
            mask = (rng.random((9, 8, 7)) < density).astype(np.uint8) * rng.integers(1, 3, (9, 8, 7), dtype=np.uint8)
            theirs = remove_all_but_largest_component_from_segmentation(mask, [1, 2])
            assert np.array_equal(keep_largest(mask), theirs)


def test_pieces_that_touch_at_a_corner_are_one_and_pieces_of_equal_size_both_stay():
    mask = np.zeros((6, 6, 6), np.uint8)
    mask[0, 0, 0], mask[1, 1, 1] = 1, 2
    mask[4, 4, 4:6] = 1
    mask[5, 0, 0] = 1
    assert np.count_nonzero(keep_largest(mask)) == 4
    assert np.array_equal(keep_largest(mask) > 0, remove_all_but_largest_component(mask > 0))


def test_discs_survive_because_the_foreground_is_merged(truth):
    assert np.array_equal(keep_largest(speck(truth)), truth)


def test_what_is_written_equals_what_nnunets_command_writes(tmp_path, truth):
    oblique = SAGITTAL @ np.array([[0.9986, -0.0523, 0, 0], [0.0523, 0.9986, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    writer = NibabelIOWithReorient()
    for name, affine in (("sagittal", SAGITTAL), ("oblique", oblique)):
        scan, source = tmp_path / f"{name}_scan.nii.gz", tmp_path / f"{name}.nii.gz"
        nib.save(nib.Nifti1Image(speck(truth), affine), scan)
        mask, properties = writer.read_seg(str(scan))
        writer.write_seg(mask[0], str(source), properties)
        ours, theirs = tmp_path / f"{name}_ours.nii.gz", tmp_path / f"{name}_theirs.nii.gz"
        write_postprocessed(Postprocessing.KEEP_LARGEST, source, ours)
        how = [remove_all_but_largest_component_from_segmentation], [{"labels_or_regions": [1, 2]}]
        load_postprocess_save(str(source), str(theirs), writer, *how)
        assert ours.read_bytes() == theirs.read_bytes()
        assert ours.read_bytes() != source.read_bytes()


def test_without_postprocessing_the_same_file_stands_there_once_more(tmp_path, reference):
    for _ in range(2):
        write_postprocessed(Postprocessing.NONE, reference, tmp_path / "kept" / "mask.nii.gz")
    assert (tmp_path / "kept" / "mask.nii.gz").read_bytes() == reference.read_bytes()
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["mask.nii.gz"]


def decide(tmp_path, reference, *predictions):
    scores = []
    for number, prediction in enumerate(predictions):
        path = save(prediction, tmp_path / f"prediction_{number}.nii.gz")
        scores += score_options(f"exam {number}", reference, path)
    return choose(scores)


def chosen(frame) -> set[str]:
    assert frame.groupby("option")["chosen"].nunique().tolist() == [1, 1]
    return set(frame.loc[frame["chosen"], "option"])


def test_it_is_chosen_where_it_helps(tmp_path, reference, truth):
    frame = decide(tmp_path, reference, speck(truth), truth)
    assert chosen(frame) == {"keep_largest"}
    bodies = frame[frame["structure"] == "vertebral_body"].set_index("option")
    voxels = np.count_nonzero(truth == 1)
    assert bodies.loc["none", "mean_dice"] == pytest.approx((2 * voxels / (2 * voxels + 18) + 1) / 2)
    assert bodies.loc["keep_largest", "mean_dice"] == 1
    assert bodies.loc["keep_largest", ["n", "exams_changed", "exams_better", "exams_worse"]].tolist() == [2, 1, 1, 0]


def test_it_is_not_chosen_where_nothing_changes(tmp_path, reference, truth):
    frame = decide(tmp_path, reference, truth, truth)
    assert chosen(frame) == {"none"}
    assert set(frame["reason"]) == {"keep_largest changes no mask"}


def test_it_is_not_chosen_where_it_cuts_off_what_is_true(tmp_path, reference, truth):
    torn = truth.copy()
    torn[:, 14:17] = 0
    frame = decide(tmp_path, reference, torn)
    assert chosen(frame) == {"none"}
    assert "no gain" in frame["reason"].iloc[0]


def test_it_is_not_chosen_where_one_structure_pays_for_the_other(tmp_path, reference, truth):
    # a large false body, and a true disc cut off from its neighbours: bodies gain more than discs lose
    spoilt = truth.copy()
    spoilt[:, 27:40] = 0
    spoilt[20:22, 29, 3:5] = 2
    spoilt[34:47, 30:47, 0:3] = 1
    frame = decide(tmp_path, reference, spoilt)
    assert chosen(frame) == {"none"}
    assert frame["reason"].iloc[0].endswith("but intervertebral_disc would lose")


def test_the_order_of_exams_changes_nothing_and_no_exams_give_no_rows(tmp_path, reference, truth):
    scores = []
    for number, prediction in enumerate((speck(truth), truth)):
        path = save(prediction, tmp_path / f"p{number}.nii.gz")
        scores += score_options(f"exam {number}", reference, path)
    assert choose(scores).equals(choose(scores[::-1]))
    assert choose([]).empty
