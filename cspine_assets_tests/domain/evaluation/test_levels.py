"""Levels on a column of boxes: seven bodies, C2 with a dens, six discs, 1 mm voxels."""

from __future__ import annotations

import numpy as np
import pytest

from cspine_assets.domain.anatomy import DISC_LEVELS, LEVELS, VERTEBRAE, Structure
from cspine_assets.domain.evaluation.flags import Flag, Severity
from cspine_assets.domain.evaluation.level_naming import name_pair, name_reference
from cspine_assets.domain.evaluation.level_score import LevelStatus, View
from cspine_assets.domain.evaluation.levels import measure_anatomical_levels, measure_levels, score_levels
from cspine_assets.domain.evaluation.top_body import Confidence, Source, StatedTop
from cspine_assets.domain.volume import Geometry

PITCH, HEIGHT, FIRST = 18, 13, 40
SHAPE = (9, 24, FIRST + 7 * PITCH)
"""Slices, anterior-posterior, and from head to feet."""

BODY, DISC = 1, 2
DEPTH = slice(4, 20)
SIDE = slice(1, 8)


def body_rows(n):
    return slice(FIRST + n * PITCH, FIRST + n * PITCH + HEIGHT)


def disc_rows(n):
    """Returns the rows of the disc below body n."""
    return slice(FIRST + n * PITCH + HEIGHT, FIRST + (n + 1) * PITCH)


def column(bodies=range(7), discs=range(6), dens=True):
    mask = np.zeros(SHAPE, np.uint8)
    for n in bodies:
        mask[SIDE, DEPTH, body_rows(n)] = BODY
    if dens and 0 in bodies:
        mask[3:6, 9:14, FIRST - 16 : FIRST] = BODY
    for n in discs:
        # two voxels of every disc fewer than of the one above: no two levels can have the same Dice by accident
        mask[SIDE, 4 : 20 - n, disc_rows(n)] = DISC
    return mask


def prediction_of(reference):
    """Returns a prediction that lacks a part of every disc, another one at each level."""
    predicted = reference.copy()
    for n in range(6):
        part = predicted[SIDE, 4 : 5 + n, disc_rows(n)]
        part[part == DISC] = 0
    return predicted


GEOMETRY = Geometry(SHAPE, np.array([[3.0, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 0], [0, 0, 0, 1]]))
"""The last array axis runs from head to feet, the second from front to back."""

EXPECTED = [2 * (15 - 2 * n) / (16 - n + 15 - 2 * n) for n in range(6)]
"""Dice of the level below body n when all is as drawn: 16 - n columns in the reference, n + 1 fewer predicted."""


def by_level(reference, prediction, geometry=GEOMETRY, view=View.VOLUME, structure=Structure.INTERVERTEBRAL_DISC):
    scores = measure_anatomical_levels(reference, prediction, geometry)
    return {score.level: score for score in scores if score.view is view and score.structure is structure}


def bodies_by_level(reference, prediction, geometry=GEOMETRY):
    return by_level(reference, prediction, geometry, structure=Structure.VERTEBRAL_BODY)


def dice(scores):
    return [score.dice for score in scores.values()]


@pytest.mark.parametrize("view", list(View))
def test_a_whole_column_is_named_from_c2_to_t1_without_flags(view):
    scores = by_level(column(), prediction_of(column()), view=view)
    assert list(scores) == list(DISC_LEVELS)
    assert dice(scores) == pytest.approx(EXPECTED)
    assert {score.severity for score in scores.values()} == {Severity.NONE}


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
@pytest.mark.parametrize("flipped", [(), (0,), (2,), (0, 1, 2)])
def test_names_do_not_depend_on_how_the_array_lies(axes, flipped):
    affine = GEOMETRY.affine.copy()
    for axis in flipped:
        affine[:3, 3] += affine[:3, axis] * (SHAPE[axis] - 1)
        affine[:3, axis] *= -1
    turned = Geometry(tuple(SHAPE[a] for a in axes), affine[:, [*axes, 3]])
    reference, prediction = (np.flip(mask, flipped).transpose(axes) for mask in (column(), prediction_of(column())))
    assert dice(by_level(reference, prediction, turned)) == pytest.approx(EXPECTED)


def test_a_tilted_scan_keeps_its_names():
    angle = np.deg2rad(25)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    tilted = Geometry(SHAPE, turn @ GEOMETRY.affine)
    assert dice(by_level(column(), prediction_of(column()), tilted)) == pytest.approx(EXPECTED)


def test_a_disc_missing_in_the_prediction_is_missed_and_shifts_no_other():
    reference, prediction = column(), prediction_of(column())
    prediction[:, :, disc_rows(2)] = 0
    scores = by_level(reference, prediction)
    assert scores["C4/C5"].status is LevelStatus.MISSED
    assert dice(scores) == pytest.approx([*EXPECTED[:2], 0.0, *EXPECTED[3:]])


def test_a_disc_missing_in_the_reference_makes_the_prediction_spurious():
    reference = column(discs=(0, 1, 3, 4, 5))
    scores = by_level(reference, prediction_of(column()))
    assert scores["C4/C5"].status is LevelStatus.SPURIOUS
    assert dice(scores) == pytest.approx([*EXPECTED[:2], 0.0, *EXPECTED[3:]])


def test_a_disc_missing_in_both_is_absent_with_its_reason():
    reference = column(discs=(0, 1, 3, 4, 5))
    score = by_level(reference, prediction_of(reference))["C4/C5"]
    assert (score.status, score.dice) == (LevelStatus.ABSENT, None)
    assert score.reason == "neither mask has this disc in the volume"


def test_merged_discs_are_cut_between_their_levels():
    reference, prediction = column(), prediction_of(column())
    prediction[1, 14, FIRST + 2 * PITCH + HEIGHT : FIRST + 4 * PITCH] = DISC
    scores = by_level(reference, prediction)
    assert dice(scores) == pytest.approx(EXPECTED, abs=0.02)
    flagged = [level for level, score in scores.items() if Flag.PREDICTION_MERGED in score.flags]
    assert flagged == ["C4/C5", "C5/C6"]
    assert scores["C4/C5"].severity is Severity.NOTE


def test_a_disc_in_two_pieces_is_one_level():
    reference, prediction = column(), prediction_of(column())
    prediction[:, 12, disc_rows(3)] = 0
    score = by_level(reference, prediction)["C5/C6"]
    assert Flag.PREDICTION_IN_PIECES in score.flags
    assert score.dice == pytest.approx(2 * 8 / (13 + 8))


def test_an_extra_component_is_flagged_and_belongs_to_no_level():
    reference, prediction = column(), prediction_of(column())
    prediction[2:8, 22:24, disc_rows(1)] = DISC
    scores = by_level(reference, prediction)
    assert dice(scores) == pytest.approx(EXPECTED)
    assert Flag.PREDICTION_EXTRA in scores["C3/C4"].flags
    assert [bool(score.flags) for score in scores.values()] == [False, True, False, False, False, False]


def test_an_extra_component_on_the_spine_may_be_the_levels_and_one_beside_it_may_not():
    near, far = prediction_of(column()), prediction_of(column())
    near[2:8, 21:23, disc_rows(1)] = DISC
    grown = np.pad(far, ((0, 0), (0, 12), (0, 0)))
    grown[2:8, 32:34, disc_rows(1)] = DISC
    wide = Geometry(grown.shape, GEOMETRY.affine)
    reference = np.pad(column(), ((0, 0), (0, 12), (0, 0)))
    assert by_level(column(), near)["C3/C4"].severity is Severity.NAME_UNSURE
    assert by_level(reference, grown, wide)["C3/C4"].flags == (Flag.PREDICTION_EXTRA,)


def test_a_prediction_beside_its_reference_counts_for_the_empty_level_nearby():
    reference, prediction = column(), column(discs=(0, 1, 2, 3, 5))
    rows = disc_rows(4)
    prediction[SIDE, 4:16, rows.start - 6 : rows.start - 1] = DISC
    score = by_level(reference, prediction)["C6/C7"]
    assert (score.status, score.dice) == (LevelStatus.OK, 0.0)
    assert Flag.PREDICTION_AWAY in score.flags


def test_specks_are_left_out_and_counted():
    reference, prediction = column(), prediction_of(column())
    prediction[1, 22, disc_rows(5)] = DISC
    scores = by_level(reference, prediction)
    assert dice(scores) == pytest.approx(EXPECTED)
    assert scores["C7/T1"].flags == (Flag.SPECKS,)


def test_a_mask_full_of_specks_keeps_its_bodies():
    reference = column()
    reference[0, ::2, ::3] = BODY
    assert dice(by_level(reference, prediction_of(reference))) == pytest.approx(EXPECTED)


@pytest.mark.parametrize("upper", [0, 1, 4])
def test_fused_bodies_are_counted_as_two_and_levels_below_are_unsure(upper):
    reference = column(discs=[n for n in range(6) if n != upper])
    reference[SIDE, DEPTH, disc_rows(upper)] = BODY
    scores = by_level(reference, prediction_of(reference))
    expected = [None if n == upper else value for n, value in enumerate(EXPECTED)]
    assert dice(scores) == [None if value is None else pytest.approx(value) for value in expected]
    unsure = [score.severity is Severity.NAME_UNSURE for score in scores.values()]
    assert unsure == [n >= upper for n in range(6)]


def fused_with_a_part_of_c3():
    """Returns a mask in which so low a C3 is one with C2 that both are hardly taller than a C2 alone."""
    reference = column(bodies=(0, 2, 3, 4, 5, 6), discs=range(1, 6))
    reference[SIDE, DEPTH, body_rows(0).stop : body_rows(0).stop + 5] = BODY
    return reference


def test_c2_and_a_part_of_c3_in_one_are_not_silent_though_they_look_like_c2():
    scores = by_level(fused_with_a_part_of_c3(), fused_with_a_part_of_c3())
    assert Flag.BODIES_FUSED not in scores["C2/C3"].flags
    assert {score.severity for score in scores.values()} == {Severity.NAME_UNSURE}


def test_seven_bodies_and_room_for_an_eighth_settle_that_a_missing_one_was_counted_right():
    below = np.zeros((*SHAPE[:2], PITCH), np.uint8)
    reference = np.concatenate([fused_with_a_part_of_c3(), below], axis=2)
    scores = bodies_by_level(reference, reference, Geometry(reference.shape, GEOMETRY.affine))
    assert [score.severity is Severity.NAME_UNSURE for score in scores.values()] == [n == 1 for n in range(7)]
    assert Flag.COUNT_SETTLES in scores["T1"].flags


@pytest.mark.parametrize("rows_below", [2, 20])
def test_fewer_bodies_are_unsure_only_where_the_field_of_view_would_show_another(rows_below):
    end = body_rows(5).stop + rows_below
    reference = column(bodies=range(6), discs=range(5))[:, :, :end]
    seen = Geometry(reference.shape, GEOMETRY.affine)
    scores = by_level(reference, reference, seen)
    has_flag = {Flag.BODIES_TOO_FEW in score.flags for score in scores.values()}
    assert has_flag == {rows_below == 20}


def test_an_eighth_body_is_t2_where_all_discs_are_there_and_else_unsure_from_the_pair_without():
    below = np.zeros((*SHAPE[:2], PITCH), np.uint8)
    below[SIDE, DEPTH, :HEIGHT] = BODY
    seen = Geometry((*SHAPE[:2], SHAPE[2] + PITCH), GEOMETRY.affine)
    unsure = []
    for absent in (None, 3):
        reference = column(discs=[n for n in range(6) if n != absent])
        reference[SIDE, DEPTH, disc_rows(6)] = DISC
        scores = by_level(*[np.concatenate([reference, below], axis=2)] * 2, seen)
        unsure.append([Flag.BODIES_TOO_MANY in score.flags for score in scores.values()])
    assert unsure == [[False] * 6, [False] * 3 + [True] * 3]


def test_a_rim_of_the_next_body_is_told_from_the_last_by_the_disc_between():
    reference = column()
    end = body_rows(4).start + 2
    reference[4, 4, disc_rows(3)] = BODY
    reference = reference[:, :, :end]
    scores = by_level(
        reference, reference, Geometry(reference.shape, GEOMETRY.affine), structure=Structure.VERTEBRAL_BODY
    )
    assert [score.status for score in scores.values()] == [LevelStatus.OK] * 5 + [LevelStatus.ABSENT] * 2


def test_a_body_missing_in_the_reference_shifts_no_name():
    reference = column(bodies=(0, 1, 2, 4, 5, 6))
    scores = by_level(reference, prediction_of(reference))
    assert dice(scores) == pytest.approx(EXPECTED)
    assert scores["C5/C6"].severity is Severity.NAME_UNSURE
    assert scores["C3/C4"].severity is Severity.NONE


@pytest.mark.parametrize("crack", ["left_right", "upper_lower"])
def test_a_body_in_two_pieces_is_one(crack):
    reference = column()
    rows = body_rows(3)
    if crack == "left_right":
        reference[4, :, rows] = 0
    else:
        reference[:, :, rows.start + 6 : rows.start + 8] = 0
    assert dice(by_level(reference, prediction_of(reference))) == pytest.approx(EXPECTED)


@pytest.mark.parametrize("first_disc", [0, 1])
def test_a_field_of_view_from_c3_is_never_silent(first_disc):
    whole = column(bodies=range(1, 7), discs=range(first_disc, 6))
    # ends within C2
    reference, prediction = (mask[:, :, body_rows(0).start + 2 :] for mask in (whole, prediction_of(whole)))
    scores = by_level(reference, prediction, Geometry(reference.shape, GEOMETRY.affine))
    assert {score.severity for score in scores.values()} == {Severity.NAME_UNSURE}


@pytest.mark.parametrize("with_dens", [False, True])
def test_a_field_of_view_that_goes_on_above_says_that_the_top_body_is_c2_whatever_its_shape(with_dens):
    reference = column(dens=with_dens)
    named = name_reference(reference, GEOMETRY)
    scores = by_level(reference, prediction_of(reference))
    assert dice(scores) == pytest.approx(EXPECTED)
    assert {score.severity for score in scores.values()} == {Severity.NONE}
    assert "field of view goes on" in named.frame.top.words()


def test_without_a_dens_a_field_of_view_that_ends_near_above_leaves_all_names_unsure():
    reference = column(dens=False)[:, :, FIRST - 10 :]
    seen = Geometry(reference.shape, GEOMETRY.affine)
    assert {score.severity for score in by_level(reference, reference, seen).values()} == {Severity.NAME_UNSURE}
    top = name_reference(reference, seen).frame.top
    assert (top.confidence, top.words()) == (
        Confidence.LOW,
        "nothing: field of view ends 9 mm above the topmost body, and no dens is drawn",
    )


def test_the_arch_of_c1_is_no_body():
    reference = column(dens=False)
    arch = reference.copy()
    arch[3:6, 1:6, FIRST - 14 : FIRST - 6] = BODY
    for one, other in ((arch, arch), (arch, reference), (reference, arch)):
        scores = bodies_by_level(one, other)
        assert dice(scores) == pytest.approx([1.0] * 7)
        assert Severity.NAME_UNSURE not in {score.severity for score in scores.values()}


def test_what_is_annotated_above_the_top_body_contradicts_the_field_of_view():
    reference = column(dens=False)
    reference[SIDE, 0:3, 2:34] = BODY
    assert {score.severity for score in by_level(reference, reference).values()} == {Severity.NAME_UNSURE}


def stated(mask, level, geometry=GEOMETRY):
    """Returns the levels of a mask scored against itself when a person has said what the topmost body is."""
    named = name_reference(mask, geometry, stated=StatedTop(level, Source.EXAM))
    return {
        score.level: score
        for score in score_levels(name_pair(named, mask))
        if score.view is View.VOLUME and score.structure is Structure.VERTEBRAL_BODY
    }


def test_a_persons_word_names_what_the_mask_leaves_open():
    cut = column(bodies=range(1, 7), discs=range(1, 6))[:, :, body_rows(0).start + 10 :]
    scores = stated(cut, "C3", Geometry(cut.shape, GEOMETRY.affine))
    assert [score.dice for score in scores.values()] == [None, *[1.0] * 6]
    assert {score.severity for score in scores.values()} == {Severity.NOTE}
    assert Flag.TOP_STATED in scores["C3"].flags


@pytest.mark.parametrize(("level", "above"), [("C3", False), ("C2", True)])
def test_a_word_that_the_mask_cannot_fit_is_contradicted(level, above):
    mask = column(dens=not above)
    if above:
        mask[SIDE, DEPTH, FIRST - 6 : FIRST - 1] = DISC
    scores = stated(mask, level)
    assert {score.severity for score in scores.values()} == {Severity.NAME_UNSURE}
    assert all(Flag.STATED_CONTRADICTED in score.flags for score in scores.values())


def test_two_fused_bodies_at_the_top_are_not_taken_for_c2():
    reference = column(bodies=range(1, 7), discs=range(2, 6))
    reference[SIDE, DEPTH, disc_rows(1)] = BODY
    scores = by_level(reference, prediction_of(reference))
    assert {score.severity for score in scores.values()} == {Severity.NAME_UNSURE}


def test_levels_below_the_field_of_view_are_absent_with_their_reason():
    reference = column(bodies=range(5), discs=range(4))
    scores = by_level(reference, prediction_of(reference))
    assert dice(scores)[:4] == pytest.approx(EXPECTED[:4])
    assert scores["C7/T1"].reason == "lies below the reference's bodies"


def test_a_reference_without_bodies_excludes_all_levels_with_the_reason():
    scores = measure_anatomical_levels(column(bodies=()), column(), GEOMETRY)
    assert {score.status for score in scores} == {LevelStatus.EXCLUDED}
    assert {score.reason for score in scores} == {"the reference has no vertebral body to name levels by"}


def test_every_level_of_every_view_and_protocol_is_scored_or_has_its_reason():
    empty = np.zeros(SHAPE, np.uint8)
    masks = [column(), column(bodies=range(2)), column(discs=()), empty]
    for reference in masks:
        for prediction in masks:
            scores = measure_levels(reference, prediction, GEOMETRY)
            assert [score.level for score in scores] == [*VERTEBRAE, *DISC_LEVELS] * 2 + list(DISC_LEVELS)
            assert all(score.level in LEVELS[score.structure] for score in scores)
            assert all((score.dice is None) == (score.reason is not None) for score in scores)


def test_the_middle_slice_shows_only_what_lies_in_it():
    reference = column()
    reference[4, :, disc_rows(1)] = 0
    scores = by_level(reference, reference, view=View.MID_SAGITTAL)
    assert scores["C3/C4"].status is LevelStatus.ABSENT
    assert scores["C3/C4"].reason == "neither mask has this disc in the middle slice"


def worse_bodies(reference):
    """Returns a prediction that lacks a part of every body, another one at each level."""
    predicted = reference.copy()
    for n in range(7):
        part = predicted[:, 4 : 5 + n, body_rows(n)]
        part[part == BODY] = 0
    return predicted


BODY_DICE = [2 * (15 - n) / (16 + 15 - n) for n in range(1, 7)]
"""Dice of the bodies C3 to T1; C2's has the dens in it."""


def test_bodies_are_named_from_c2_to_t1():
    scores = bodies_by_level(column(), worse_bodies(column()))
    assert list(scores) == list(VERTEBRAE)
    assert dice(scores)[1:] == pytest.approx(BODY_DICE)
    assert {score.severity for score in scores.values()} == {Severity.NONE}


def test_a_body_missing_in_the_prediction_is_missed_and_shifts_no_other():
    prediction = worse_bodies(column())
    prediction[:, :, body_rows(3)] = 0
    scores = bodies_by_level(column(), prediction)
    assert scores["C5"].status is LevelStatus.MISSED
    assert dice(scores)[1:] == pytest.approx([*BODY_DICE[:2], 0.0, *BODY_DICE[3:]])


def test_a_body_missing_in_the_reference_makes_the_prediction_spurious_and_unsure():
    reference = column(bodies=(0, 1, 2, 4, 5, 6))
    scores = bodies_by_level(reference, worse_bodies(column()))
    assert scores["C5"].status is LevelStatus.SPURIOUS
    assert dice(scores)[1:] == pytest.approx([*BODY_DICE[:2], 0.0, *BODY_DICE[3:]])
    assert [score.severity is Severity.NAME_UNSURE for score in scores.values()] == [n >= 3 for n in range(7)]


def test_predicted_bodies_that_merged_are_cut_in_the_disc_space():
    prediction = worse_bodies(column())
    prediction[4, 14, FIRST + 2 * PITCH : FIRST + 5 * PITCH] = BODY
    scores = bodies_by_level(column(), prediction)
    assert dice(scores)[1:] == pytest.approx(BODY_DICE, abs=0.01)
    assert [Flag.PREDICTION_MERGED in score.flags for score in scores.values()] == [2 <= n <= 5 for n in range(7)]


def test_a_small_part_of_a_merged_prediction_counts_where_its_own_reference_lies():
    prediction = column()
    rows = body_rows(4)
    prediction[:, 8:12, rows] = 0
    prediction[:, 12:, rows.start + 4 :] = 0
    prediction[SIDE, 17:20, disc_rows(3)] = BODY
    scores = bodies_by_level(column(), prediction)
    part = np.count_nonzero(prediction[:, :, rows] == BODY)
    whole = np.count_nonzero(column()[:, :, rows] == BODY)
    assert scores["C6"].dice == pytest.approx(2 * part / (part + whole), abs=0.06)
    assert Flag.PREDICTION_MERGED in scores["C6"].flags


def test_a_level_that_hinges_on_specks_is_unsure_in_the_view_where_it_does():
    reference = column()
    reference[1:6, :, disc_rows(2)] = 0
    prediction = reference.copy()
    prediction[1:3, 12:15, disc_rows(2)] = DISC
    seen = {view: by_level(reference, prediction, view=view)["C4/C5"] for view in View}
    assert Flag.VOXELS_UNSURE in seen[View.VOLUME].flags
    assert Flag.VOXELS_UNSURE not in seen[View.MID_SAGITTAL].flags


def test_a_predicted_body_below_the_reference_is_spurious_at_its_own_level():
    scores = bodies_by_level(column(bodies=range(5), discs=range(4)), column(bodies=range(6), discs=range(5)))
    assert scores["C7"].status is LevelStatus.SPURIOUS
    assert scores["C6"].dice == 1.0
    assert scores["T1"].reason == "lies below the reference's bodies"


def test_a_predicted_body_that_grazes_a_neighbour_where_the_reference_has_none_is_not_the_neighbours():
    reference = column(bodies=range(6), discs=range(5))
    prediction = column()
    prediction[SIDE, DEPTH, body_rows(5)] = 0
    prediction[4, 14, body_rows(5).stop - 1 : body_rows(6).start] = BODY
    scores = bodies_by_level(reference, prediction)
    assert scores["C7"].status is LevelStatus.MISSED
    assert scores["T1"].status is LevelStatus.SPURIOUS


def test_a_reference_serves_many_predictions():
    reference = name_reference(column(), GEOMETRY)
    for prediction in (worse_bodies(column()), prediction_of(column()), column(bodies=range(3))):
        again = measure_anatomical_levels(column(), prediction, GEOMETRY)
        assert score_levels(name_pair(reference, prediction)) == again


def test_a_usual_disc_in_coarse_voxels_is_no_missing_body():
    """Bodies of 15 mm and gaps of 7.5 mm, in voxels of 2.5 mm; with a body taken out, it is one."""
    mask = np.zeros((5, 8, 70), np.uint8)
    for number in range(7):
        top = 68 - 9 * number
        mask[1:4, 1:7, top - 6 : top] = BODY
        mask[1:4, 1:7, top - 8] = DISC
    geometry = Geometry(mask.shape, np.diag([4.0, 2.5, 2.5, 1.0]))
    whole = name_reference(mask, geometry)
    assert Flag.BODY_MISSING not in whole.flags(Structure.VERTEBRAL_BODY, 6)
    mask[:, :, 68 - 9 * 3 - 8 : 68 - 9 * 3 + 2] = 0
    broken = name_reference(mask, geometry)
    assert Flag.BODY_MISSING in broken.flags(Structure.VERTEBRAL_BODY, 6)


def test_noise_with_more_pieces_than_a_map_has_levels_has_all_its_rows():
    noise = np.zeros((3, 6, 300), np.uint8)
    noise[::2, ::2, ::2] = BODY
    noise[1, ::2, 1::2] = DISC
    geometry = Geometry(noise.shape, GEOMETRY.affine)
    named = name_reference(noise, geometry)
    assert len(named.frame) > np.iinfo(np.int8).max
    assert len(measure_levels(noise, noise, geometry)) == 32
