import shutil

import pytest

from cspine_assets.nnunet.disk import (
    SMALL_FILES_BYTES,
    DiskFullError,
    DiskNeed,
    preprocessing_need,
    require_free_disk,
    training_need,
)

FULL_SIZE = {"parameters": 30_000_000, "optimizer_states": 1, "validation_voxels": 0, "labels": 3}


def test_a_training_needs_four_checkpoints_of_weights_and_optimizer():
    need = training_need(**FULL_SIZE, probabilities=False)
    assert need.bytes - SMALL_FILES_BYTES == 4 * 30_000_000 * 8
    assert "4 checkpoints x 30,000,000 parameters x 8 B" in need.formula


def test_probabilities_are_reckoned_for_every_validation_voxel_and_label():
    asked = FULL_SIZE | {"validation_voxels": 1000}
    masks, probabilities = (training_need(**asked, probabilities=kept).bytes for kept in (False, True))
    assert probabilities - masks == 1000 * 3 * 4


def test_checkpoints_that_stand_will_be_replaced():
    need = training_need(**FULL_SIZE, probabilities=False, standing_bytes=700_000_000)
    assert need.bytes - SMALL_FILES_BYTES == 260_000_000
    assert "700.0 MB that stand" in need.formula


def test_preprocessing_needs_image_and_mask_of_every_case_and_configuration():
    assert preprocessing_need(cases=10, median_voxels=1000, configurations=2).bytes == 10 * 1000 * 6 * 2


def test_room_that_is_there_is_enough_and_one_byte_more_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 5, 5))
    require_free_disk(tmp_path, DiskNeed(5, "five"))
    with pytest.raises(DiskFullError, match=r"\(six\)"):
        require_free_disk(tmp_path, DiskNeed(6, "six"))
