"""The 21 adversarial scenarios on two kinds of spine: what is right, and nothing wrong without a word.

The rules were tuned on the textbook spine; the other showed what was missing, so these cases are no longer unseen.
``benchmarks/levels.py`` prints cases that nobody looked at, and there some levels of the other spine are still wrong.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from cspine_assets.domain.evaluation.level_score import Protocol, View
from cspine_assets.domain.evaluation.level_trial import Judgement, KnownLevels, Verdict, judge
from cspine_assets.domain.phantom.other_spine import other_anatomy, textbook_anatomy
from cspine_assets.domain.phantom.scenarios import SCENARIOS, draw_scenario, tilted
from cspine_assets.domain.volume import Geometry

CASES = 20
SEED = 2025
RIGHT = 0.93


def known_levels(scenario, spine, number: int) -> KnownLevels:
    case = draw_scenario(scenario, spine, seed=SEED, number=number)
    return KnownLevels(
        case.reference,
        case.prediction,
        case.reference_levels,
        case.prediction_levels,
        Geometry(case.reference.shape, case.affine),
    )


def of_rule(judgements: list[Judgement], protocol: Protocol) -> list[Judgement]:
    return [one for one in judgements if one.protocol is protocol]


@pytest.mark.parametrize("spine", [textbook_anatomy, other_anatomy])
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


def test_a_disc_that_lacks_leaves_the_published_rule_without_scores(plain):
    prediction = np.where((plain.prediction == 2) & (plain.prediction_levels == 3), 0, plain.prediction)
    judgements = judge(replace(plain, prediction=prediction.astype(np.uint8)))
    assert {one.verdict for one in of_rule(judgements, Protocol.PAPER)} == {Verdict.FLAGGED}
    assert {one.verdict for one in of_rule(judgements, Protocol.ANATOMICAL)} == {Verdict.RIGHT}
