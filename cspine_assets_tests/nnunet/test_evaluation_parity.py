"""nnU-Net's own evaluation and ours say the same of the same files."""

from __future__ import annotations

import math
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nnunetv2.evaluation.evaluate_predictions import compute_metrics
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

from cspine_assets.domain.anatomy import LABELS
from cspine_assets.domain.evaluation.mask_score import score_masks
from cspine_assets_tests.domain.evaluation.mask_pairs import random_pair


def assert_alike(measured: float | None, theirs: float):
    """An empty pair has no value here, and NaN there."""
    assert math.isnan(theirs) if measured is None else measured == pytest.approx(theirs, rel=0, abs=1e-15)


def test_dice_and_iou_of_files_equal_nnunets(tmp_path: Path):
    paths = tmp_path / "reference.nii.gz", tmp_path / "prediction.nii.gz"
    for seed in range(40):
        for path, mask in zip(paths, random_pair(seed, highest=2), strict=True):
            nib.save(nib.Nifti1Image(mask, np.diag([0.5, 0.6, 4.4, 1])), path)
        theirs = compute_metrics(*map(str, paths), SimpleITKIO(), list(LABELS.values()))["metrics"]
        for structure, measured in score_masks(*paths, with_surfaces=False, with_levels=False).overlap.items():
            assert_alike(measured.dice_volumetric, theirs[LABELS[structure]]["Dice"])
            assert_alike(measured.iou, theirs[LABELS[structure]]["IoU"])
