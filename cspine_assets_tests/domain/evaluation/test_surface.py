"""Surface distances against brute force over all pairs of surface voxels, on anisotropic grids."""

from __future__ import annotations

import math
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import binary_erosion
from scipy.spatial.distance import cdist

from cspine_assets.domain.anatomy import LABELS, Structure
from cspine_assets.domain.errors import GeometryError
from cspine_assets.domain.evaluation.mask_score import score_masks
from cspine_assets.domain.evaluation.score import Part, ScoredCase, ScoredPair, score_pairs
from cspine_assets.domain.evaluation.surface import measure_surfaces
from cspine_assets.domain.lake import Lake
from cspine_assets.domain.tables.evaluation import ExamMetrics
from cspine_assets.domain.warehouse.publish import publish_database
from cspine_assets.domain.warehouse.read import query

BODY, DISC = Structure.VERTEBRAL_BODY, Structure.INTERVERTEBRAL_DISC
ANISOTROPIC = (0.5, 0.625, 4.4)


def brute_force(reference, prediction, spacing_mm):
    """HD95, ASSD, NSD at 1 and 2 mm of two boolean masks, from every distance between their surfaces."""
    points = [
        np.argwhere(mask & ~binary_erosion(mask, border_value=0)) * np.array(spacing_mm)
        for mask in (reference, prediction)
    ]
    distances = cdist(*points)
    there, back = distances.min(axis=1), distances.min(axis=0)
    within = [sum(int((d <= t).sum()) for d in (there, back)) / (len(there) + len(back)) for t in (1, 2)]
    hd95 = max(np.percentile(there, 95), np.percentile(back, 95))
    return [hd95, (there.mean() + back.mean()) / 2, *within]


def values(measured):
    return [measured.hd95_mm, measured.assd_mm, measured.nsd_1mm, measured.nsd_2mm]


def random_pair(seed):
    """Boxes with holes and noise; touching the array's edge, far apart, in either memory order, any slice axis."""
    rng = np.random.default_rng(seed)
    shape = rng.permutation([5, 14, 18])
    masks = []
    for _ in range(2):
        mask = np.zeros(shape, np.uint8)
        for label in LABELS.values():
            for _ in range(int(rng.integers(1, 4))):
                low = rng.integers(0, shape - 1)
                mask[tuple(map(slice, low, low + rng.integers(1, 9, 3)))] = label
        mask[rng.random(shape) < rng.choice([0, 0.01, 0.1])] = rng.integers(0, 3)
        masks.append(mask if rng.random() < 0.5 else np.asfortranarray(mask))
    spacing_mm = tuple(float(s) for s in rng.permutation([rng.uniform(0.3, 0.8), rng.uniform(0.3, 0.8), 4.4]))
    return masks[0], masks[1], spacing_mm


def test_distances_equal_brute_force_on_anisotropic_grids():
    compared = 0
    for seed in range(120):
        reference, prediction, spacing_mm = random_pair(seed)
        measured = measure_surfaces(reference, prediction, spacing_mm=spacing_mm)
        for structure, label in LABELS.items():
            if (reference == label).any() and (prediction == label).any():
                expected = brute_force(reference == label, prediction == label, spacing_mm)
                assert values(measured[structure]) == pytest.approx(expected, abs=1e-9, rel=0), seed
                compared += 1
    assert compared > 200


def test_a_shift_along_one_axis_has_that_distance_everywhere_it_matters():
    reference, prediction = np.zeros((2, 20, 20, 6), np.uint8)
    reference[4:10, 4:10, 1:4] = 1
    prediction[7:13, 4:10, 1:4] = 1
    measured = measure_surfaces(reference, prediction, spacing_mm=ANISOTROPIC)[BODY]
    assert measured.hd95_mm == 1.5
    assert measured.nsd_2mm == 1.0
    assert measured.nsd_1mm < 1.0


def test_the_larger_direction_counts_and_not_both_pooled():
    reference, prediction = np.zeros((2, 60, 10, 10), np.uint8)
    reference[2:12, 2:8, 2:8] = 1
    prediction[2:12, 2:8, 2:8] = 1
    prediction[50, 3:6, 2:8] = 1  # a plate 39 mm away: 18 of 250 surface voxels of one mask, of 482 of both
    measured = measure_surfaces(reference, prediction, spacing_mm=(1, 1, 1))[BODY]
    pooled = np.percentile([0.0] * 464 + [39.0] * 18, 95)
    assert (measured.hd95_mm, pooled) == (39.0, 0.0)


@pytest.mark.parametrize("noise", [-3e-8, 0.0, 3e-8])
def test_the_rounding_of_a_header_does_not_decide_what_is_within_a_tolerance(noise):
    reference, prediction = np.zeros((2, 12, 3, 3), np.uint8)
    reference[2:6] = 1
    prediction[4:8] = 1
    measured = measure_surfaces(reference, prediction, spacing_mm=(0.5 + noise, 0.5, 4.0))[BODY]
    assert measured.nsd_1mm == 1.0


@pytest.mark.parametrize(
    ("in_reference", "in_prediction", "distance", "share"),
    [(True, False, math.inf, 0.0), (False, True, math.inf, 0.0), (False, False, None, None)],
)
def test_empty_masks_follow_the_policy(in_reference, in_prediction, distance, share):
    reference, prediction = np.zeros((2, 4, 4, 4), np.uint8)
    reference[1, 1, 1] = 2 * in_reference
    prediction[1, 1, 1] = 2 * in_prediction
    measured = measure_surfaces(reference, prediction, spacing_mm=ANISOTROPIC)[DISC]
    assert values(measured) == [distance, distance, share, share]


def test_a_mask_against_itself_has_no_distance():
    mask, _, spacing_mm = random_pair(7)
    measured = measure_surfaces(mask, mask.copy(), spacing_mm=spacing_mm)
    assert [values(measured[structure]) for structure in LABELS] == [[0.0, 0.0, 1.0, 1.0]] * 2


def test_masks_of_two_shapes_are_refused():
    with pytest.raises(GeometryError, match=r"\(2, 2, 2\) against \(2, 2, 3\)"):
        measure_surfaces(np.zeros((2, 2, 2), np.uint8), np.zeros((2, 2, 3), np.uint8), spacing_mm=ANISOTROPIC)


def test_spacing_and_diagonal_come_from_the_header(tmp_path: Path):
    reference, prediction, _ = random_pair(3)
    paths = [tmp_path / f"{name}.nii.gz" for name in "ab"]
    affine = np.diag([*ANISOTROPIC, 1.0])[[1, 2, 0, 3]]
    for path, mask in zip(paths, (reference, prediction), strict=True):
        nib.save(nib.Nifti1Image(mask, affine), path)
    score = score_masks(*paths, with_levels=False)
    expected = brute_force(reference == 1, prediction == 1, nib.affines.voxel_sizes(nib.load(paths[0]).affine))
    assert values(score.surfaces[BODY]) == pytest.approx(expected, abs=1e-9)
    assert score.diagonal_mm == pytest.approx(np.linalg.norm(np.array(reference.shape) * ANISOTROPIC))


def test_infinite_distances_survive_the_lake_and_the_database(tmp_path: Path):
    mask = np.zeros((5, 6, 4), np.uint8)
    mask[1:4, 1:4, 1:3] = 1
    nib.save(nib.Nifti1Image(mask, np.diag([*ANISOTROPIC, 1.0])), tmp_path / "mask.nii.gz")
    case = ScoredCase("e", "p", "test", None, "2d", "demo", "s", "expert", "m")
    frame = score_pairs([ScoredPair(tmp_path / "mask.nii.gz", None, case)], parts=[Part.EXAMS]).exams
    lake = Lake(tmp_path / "lake")
    lake.write(ExamMetrics, frame)
    stored = lake.read(ExamMetrics)
    publish_database({ExamMetrics: stored}, tmp_path / "cspine.duckdb")
    asked = query(
        tmp_path / "cspine.duckdb",
        "select structure, status, isinf(hd95_mm) as infinite, least(assd_mm, diagonal_mm) = diagonal_mm as replaced "
        "from evaluation.exam_metrics order by structure",
    )
    assert stored.set_index("structure")["hd95_mm"].to_dict()["vertebral_body"] == math.inf
    assert asked["status"].tolist() == ["both_empty", "missed"]
    assert asked["infinite"].isna().tolist() == [True, False]
    assert bool(asked["infinite"][1])
    assert bool(asked["replaced"][1])


def test_a_real_mask_against_a_shifted_copy_has_the_values_of_brute_force(tmp_path: Path):
    root = os.environ.get("CSPINE_REAL_DATA")
    if not root:
        pytest.skip("CSPINE_REAL_DATA does not name the folder of real test data")
    path = Path(root) / "t2w_spine_crop" / "sub-mri_seg-subreg_label-6_msk.nii.gz"
    image = nib.load(path)
    mask = np.asanyarray(image.dataobj).astype(np.uint8)
    shifted = np.zeros_like(mask)
    shifted[2:, 1:] = mask[:-2, :-1]
    nib.save(nib.Nifti1Image(shifted, None, image.header), tmp_path / "shifted.nii.gz")
    labels = {BODY: 49, DISC: 100}
    score = score_masks(path, tmp_path / "shifted.nii.gz", labels=labels, with_levels=False)
    for structure, label in labels.items():
        a, b = mask == label, shifted == label
        expected = brute_force(a, b, nib.affines.voxel_sizes(image.affine))
        assert values(score.surfaces[structure]) == pytest.approx(expected, abs=1e-9, rel=0)
        assert score.overlap[structure].dice_volumetric == 2 * int((a & b).sum()) / int(a.sum() + b.sum())
    same = score_masks(path, path, labels=labels, with_levels=False)
    assert [values(one) for one in same.surfaces.values()] == [[0.0, 0.0, 1.0, 1.0]] * 2
