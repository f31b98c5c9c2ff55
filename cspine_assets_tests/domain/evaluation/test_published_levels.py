"""The published study's rule for levels, with its traps kept."""

from __future__ import annotations

import numpy as np
import pytest

from cspine_assets.domain.evaluation.flags import Flag
from cspine_assets.domain.evaluation.level_score import LevelStatus
from cspine_assets.domain.evaluation.published_levels import measure_published_levels


def discs(columns, sizes=None, slices=5):
    """Returns a mask with one disc at each column of the middle slice, and nothing elsewhere."""
    mask = np.zeros((12, 40, slices), np.uint8)
    for n, column in enumerate(columns):
        mask[2 : 2 + (sizes or [8] * len(columns))[n], column : column + 2, slices // 2] = 2
    return mask


SIX = [30, 25, 20, 15, 10, 5]


def measure(reference, prediction, slice_axis=2):
    return measure_published_levels(reference, prediction, slice_axis=slice_axis)


def test_names_run_from_the_highest_column_down():
    scores = measure(discs(SIX), discs(SIX, sizes=[8, 7, 6, 5, 4, 3]))
    assert [score.dice for score in scores] == pytest.approx([2 * n / (8 + n) for n in (8, 7, 6, 5, 4, 3)])
    assert [score.level for score in scores] == ["C2/C3", "C3/C4", "C4/C5", "C5/C6", "C6/C7", "C7/T1"]


def test_fewer_than_six_components_exclude_the_exam_with_the_reason():
    scores = measure(discs(SIX), discs(SIX[:5]))
    assert {score.status for score in scores} == {LevelStatus.EXCLUDED}
    assert scores[0].reason == (
        "expected 6 components in the middle slice, got 6 in the reference and 5 in the prediction"
    )


def test_an_extra_component_shifts_names_and_is_flagged():
    scores = measure(discs(SIX), discs([36, *SIX]))
    assert [score.dice for score in scores] == [0.0] * 6
    assert scores[0].flags == (Flag.COMPONENTS_EXTRA,)


@pytest.mark.parametrize(("row", "is_apart"), [(10, False), (11, True)])
def test_components_that_touch_at_a_corner_are_one(row, is_apart):
    mask = discs(SIX)
    mask[row, 32, 2] = 2
    assert (measure(mask, mask)[0].flags == (Flag.COMPONENTS_EXTRA,)) is is_apart


def test_only_the_middle_of_an_even_number_of_slices_counts():
    mask = discs(SIX, slices=4)
    assert measure(mask, mask)[0].dice == 1.0
    assert measure(np.roll(mask, 1, 2), mask)[0].status is LevelStatus.EXCLUDED


def test_slices_may_lie_along_the_first_axis():
    mask = np.moveaxis(discs(SIX), 2, 0)
    assert [score.dice for score in measure(mask, mask, slice_axis=0)] == [1.0] * 6
