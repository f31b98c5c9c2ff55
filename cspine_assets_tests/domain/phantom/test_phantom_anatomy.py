from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from cspine_assets.domain.anatomy import DISC_LEVELS, LABELS, VERTEBRAE, Structure
from cspine_assets.domain.phantom.degradation import model_mask
from cspine_assets.domain.phantom.grid import VoxelGrid
from cspine_assets.domain.phantom.masks import mask_solids
from cspine_assets.domain.phantom.plan import plan_cohort
from cspine_assets.domain.phantom.scene import draw_scene
from cspine_assets_tests.domain.phantom.phantom_cohort import SETTINGS
from cspine_assets_tests.domain.phantom.phantom_truth import exam_truth


def dice(first, second):
    return 2 * np.sum(first & second) / (first.sum() + second.sum())


def scene(index, settings=SETTINGS):
    return draw_scene(settings, plan_cohort(settings).exams[index])


@pytest.mark.parametrize("structure", list(Structure))
def test_a_model_s_masks_are_worse_than_an_expert_s_yet_alike(structure):
    settings = replace(SETTINGS, matrix=128)
    scores = []
    for index in range(8):
        own = scene(index, settings)
        expert = mask_solids(own.spine.solids, own.grid) == LABELS[structure]
        model = model_mask(np.random.default_rng(index), own.spine, own.grid) == LABELS[structure]
        scores.append(dice(expert, model))
    assert max(scores) < 0.97
    assert min(scores) > 0.6
    assert 0.75 < np.mean(scores) < 0.95


def test_a_model_makes_the_same_mistakes_again():
    own = scene(0)
    first, second = (model_mask(np.random.default_rng(4), own.spine, own.grid) for _ in range(2))
    assert np.array_equal(first, second)


def test_a_mask_does_not_depend_on_the_order_of_the_array_s_axes():
    own = scene(0)
    turned = VoxelGrid(own.grid.affine[:, [2, 0, 1, 3]], tuple(own.grid.shape[axis] for axis in (2, 0, 1)))
    mask = mask_solids(own.spine.solids, own.grid)
    assert np.array_equal(mask_solids(own.spine.solids, turned), mask.transpose(2, 0, 1))


def test_every_level_lies_below_the_one_above():
    for index in range(len(plan_cohort(SETTINGS).exams)):
        spine = scene(index).spine
        heights = [body.frame.centre_mm[2] for body in spine.bodies]
        assert heights == sorted(heights, reverse=True)
        for disc, above, below in zip(spine.discs, spine.bodies[:-1], spine.bodies[1:], strict=True):
            assert above.frame.centre_mm[2] > disc.frame.centre_mm[2] > below.frame.centre_mm[2]


def test_bodies_do_not_touch_and_discs_lie_between():
    settings = replace(SETTINGS, matrix=320)
    for index in range(4):
        own = scene(index, settings)
        alone = [mask_solids((body,), own.grid) > 0 for body in own.spine.bodies[:7]]
        for upper, lower in pairwise(alone):
            assert upper.any()
            assert not (upper & lower).any()


def test_the_truth_names_the_levels_and_finds_them_where_the_mask_is(cohort):
    for index, exam in enumerate(cohort.exams):
        truth = exam_truth(SETTINGS, index)
        assert truth.exam.exam_id == exam.exam_id
        levels = {level.level: level for level in truth.levels}
        assert {*VERTEBRAE, *DISC_LEVELS} <= set(levels)
        assert all(levels[name].is_in_view for name in (*VERTEBRAE, *DISC_LEVELS))
        if exam.patient.has_expert_masks:
            mask = cohort.mask(exam)
            labels = np.asarray(mask.dataobj)
            for name in VERTEBRAE:
                voxel = np.linalg.inv(mask.affine) @ [*levels[name].centroid_mm, 1]
                assert labels[tuple(np.rint(voxel[:3]).astype(int))] == LABELS[Structure.VERTEBRAL_BODY]


def test_the_truth_s_volume_is_the_mask_s():
    truth = exam_truth(SETTINGS, 0)
    own = scene(0)
    fine = VoxelGrid(np.diag([0.8, 0.8, 0.8, 1.0]), (60, 60, 60))
    fine.affine[:3, 3] = own.spine.bodies[2].frame.centre_mm - 24
    voxels = mask_solids((own.spine.bodies[2],), fine).sum()
    expected = next(level.volume_mm3 for level in truth.levels if level.level == "C4")
    assert voxels * 0.8**3 == pytest.approx(expected, rel=0.03)


def test_both_exams_of_a_patient_show_the_same_spine():
    exams = plan_cohort(SETTINGS).exams
    second = next(exam for exam in exams if exam.study_number == 2)
    first, again = draw_scene(SETTINGS, exams[second.index - 1]), draw_scene(SETTINGS, second)
    assert [body.half_height_mm for body in first.spine.bodies] == [body.half_height_mm for body in again.spine.bodies]
    assert not np.allclose(first.grid.affine, again.grid.affine)
