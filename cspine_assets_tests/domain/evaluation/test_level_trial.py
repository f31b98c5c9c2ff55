"""The 21 adversarial scenarios on three kinds of spine: what is right, and nothing wrong without a word.

A part of the trial with a fixed seed, and every case that was once silently wrong. ``benchmarks/levels.py`` runs the
whole: 20 cases of each scenario.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from cspine_assets.domain.anatomy import LABELS, Structure
from cspine_assets.domain.evaluation.level_score import Protocol, View
from cspine_assets.domain.evaluation.level_trial import Judgement, KnownLevels, Verdict, judge
from cspine_assets.domain.evaluation.named_pieces import NONE
from cspine_assets.domain.phantom.other_spine import other_anatomy, textbook_anatomy, worn_anatomy
from cspine_assets.domain.phantom.scenarios import SCENARIOS, draw_scenario, tilted
from cspine_assets.domain.volume import Geometry

CASES = 6
SEED = 2025
RIGHT = 0.93

ONCE_SILENT = [
    ("fused_bodies", 6, 11),
    ("cropped_bottom", 6, 15),
    ("lateral_shift", 11, 1),
    ("tilted", 12, 13),
    ("cropped_bottom", 90412, 10),
    ("disc_in_body", 90412, 13),
    ("cropped_bottom", 101, 9),
    ("fused_bodies", 102, 1),
    ("fused_bodies", 103, 6),
    ("body_missing", 103, 2),
    ("cropped_bottom", 103, 16),
    ("cropped_bottom", 103, 17),
    ("disc_in_body", 103, 11),
    ("body_split", 104, 19),
    ("disc_in_body", 104, 8),
    ("missing_in_reference", 105, 10),
    ("disc_in_body", 106, 11),
    ("cropped_bottom", 107, 15),
    ("spurious", 108, 4),
    ("cropped_bottom", 108, 9),
    ("disc_in_body", 109, 14),
    ("body_split", 110, 9),
    ("cropped_bottom", 112, 11),
    ("body_split", 113, 1),
    ("merged", 115, 4),
    ("merged", 120, 16),
    ("off_by_one", 5005, 6),
    ("merged", 5007, 5),
    ("merged", 6002, 18),
]
"""Scenario, seed and number of cases of the other spine that were silently wrong once."""


def known_levels(scenario, spine, number: int, seed: int = SEED) -> KnownLevels:
    case = draw_scenario(scenario, spine, seed=seed, number=number)
    return KnownLevels(
        case.reference,
        case.prediction,
        case.reference_levels,
        case.prediction_levels,
        Geometry(case.reference.shape, case.affine),
    )


def of_rule(judgements: list[Judgement], protocol: Protocol) -> list[Judgement]:
    return [one for one in judgements if one.protocol is protocol]


@pytest.mark.parametrize("spine", [textbook_anatomy, other_anatomy, worn_anatomy])
def test_levels_are_right_or_flagged_in_every_scenario(spine):
    verdicts = {view: Counter() for view in View}
    silent = []
    for scenario in SCENARIOS:
        for number in range(CASES):
            for one in of_rule(judge(known_levels(scenario, spine, number)), Protocol.ANATOMICAL):
                verdicts[one.view][one.verdict] += 1
                if one.verdict is Verdict.SILENTLY_WRONG:
                    silent.append((scenario.__name__, number, one.level, one.view.value))
    assert silent == []
    assert len(SCENARIOS) == 21
    for counts in verdicts.values():
        assert counts.total() == len(SCENARIOS) * CASES * 13
        assert counts[Verdict.RIGHT] >= RIGHT * counts.total()


@pytest.mark.parametrize(("name", "seed", "number"), ONCE_SILENT)
def test_what_was_once_silently_wrong_is_right_or_flagged(name, seed, number):
    scenario = next(one for one in SCENARIOS if one.__name__ == name)
    judged = of_rule(judge(known_levels(scenario, other_anatomy, number, seed)), Protocol.ANATOMICAL)
    assert [one for one in judged if one.verdict is Verdict.SILENTLY_WRONG] == []


@pytest.fixture
def plain() -> KnownLevels:
    return known_levels(tilted, textbook_anatomy, 0)


def test_a_plain_case_is_right_by_both_rules(plain):
    assert {one.verdict for one in judge(plain)} == {Verdict.RIGHT}


def test_a_truth_that_is_off_by_one_is_silently_wrong(plain):
    shifted = replace(
        plain,
        reference_levels=np.where(plain.reference_levels >= 0, plain.reference_levels + 1, -1).astype(np.int8),
        prediction_levels=np.where(plain.prediction_levels >= 0, plain.prediction_levels + 1, -1).astype(np.int8),
    )
    assert {one.verdict for one in judge(shifted)} == {Verdict.SILENTLY_WRONG}


@pytest.mark.parametrize(("share", "verdict"), [(0.02, Verdict.RIGHT), (0.3, Verdict.SILENTLY_WRONG)])
def test_a_dice_further_off_than_the_tolerance_is_wrong_though_most_voxels_are_right(plain, share, verdict):
    levels, disc = plain.prediction_levels.copy(), 3
    places = np.argwhere((levels == disc) & (plain.prediction == LABELS[Structure.INTERVERTEBRAL_DISC]))
    levels[tuple(places[: int(share * len(places))].T)] = NONE
    judged = of_rule(judge(replace(plain, prediction_levels=levels)), Protocol.ANATOMICAL)
    found = {one.level: one.verdict for one in judged if one.view is View.VOLUME}
    assert found["C4/C5"] is verdict
    assert {found[level] for level in found if level != "C4/C5"} == {Verdict.RIGHT}


def test_a_disc_that_lacks_leaves_the_published_rule_without_scores(plain):
    prediction = np.where((plain.prediction == 2) & (plain.prediction_levels == 3), 0, plain.prediction)
    judgements = judge(replace(plain, prediction=prediction.astype(np.uint8)))
    assert {one.verdict for one in of_rule(judgements, Protocol.PAPER)} == {Verdict.FLAGGED}
    assert {one.verdict for one in of_rule(judgements, Protocol.ANATOMICAL)} == {Verdict.RIGHT}
