"""Masks as experts draw them: proportions, what is left out, and the truth about each voxel."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cspine_assets.domain.anatomy import LABELS, Structure
from cspine_assets.domain.evaluation.flags import Flag
from cspine_assets.domain.evaluation.level_naming import name_reference
from cspine_assets.domain.phantom.drawn_scenarios import DRAWN_SCENARIOS, KINDS, draw_drawn_scenario, field_from_c3
from cspine_assets.domain.phantom.exam import exam_mask
from cspine_assets.domain.phantom.plan import plan_cohort
from cspine_assets.domain.phantom.scene import draw_scene
from cspine_assets.domain.volume import Geometry
from cspine_assets_tests.domain.phantom.phantom_cohort import SETTINGS


@pytest.mark.parametrize("scenario", DRAWN_SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_every_drawn_voxel_has_a_level_but_the_arch_s(scenario):
    case = draw_drawn_scenario(scenario, KINDS["adult"], seed=1, number=0)
    again = draw_drawn_scenario(scenario, KINDS["adult"], seed=1, number=0)
    assert np.array_equal(case.reference, again.reference)
    drawn = case.reference_levels[case.reference > 0]
    assert drawn.size
    assert (drawn < 0).mean() < 0.05
    assert (0 in drawn[case.reference[case.reference > 0] == LABELS[Structure.VERTEBRAL_BODY]]) is (
        scenario is not field_from_c3
    )


def test_a_mask_that_ends_at_c7_leaves_the_names_of_its_levels_in_doubt():
    settings = replace(SETTINGS, to_c7_every=1)
    exam = next(exam for exam in plan_cohort(settings).exams if exam.patient.has_expert_masks)
    scene = draw_scene(settings, exam)
    mask = exam_mask(settings, exam, scene, scene.grid)
    named = name_reference(mask, Geometry(mask.shape, scene.grid.affine))
    assert len(named.frame) == 6
    assert Flag.BODIES_TOO_FEW in named.flags(Structure.VERTEBRAL_BODY, 0)
