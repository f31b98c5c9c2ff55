"""Names of levels on the 21 adversarial scenarios and three kinds of spine, the published rule beside ours.

Change nothing here to make a row look better: what a verdict is stands in ``level_trial``. Nothing was tuned on these
cases; whoever tunes on them takes another seed. A target that is missed is printed as missed.
"""

from __future__ import annotations

import multiprocessing
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Final

from numpy.random import Generator

from benchmarks.catalog import Size
from benchmarks.results import Column, Results, Row, Table
from benchmarks.runner import cores
from cspine_assets.domain.evaluation.level_score import Protocol, View
from cspine_assets.domain.evaluation.level_trial import Judgement, KnownLevels, Verdict, judge
from cspine_assets.domain.phantom.level_case import Anatomy
from cspine_assets.domain.phantom.other_spine import other_anatomy, textbook_anatomy, worn_anatomy
from cspine_assets.domain.phantom.scenarios import SCENARIOS, Scenario, draw_scenario
from cspine_assets.domain.volume import Geometry

SPINES: Final[dict[str, Callable[[Generator], Anatomy]]] = {
    "textbook": textbook_anatomy,
    "other": other_anatomy,
    "worn": worn_anatomy,
}
SEED: Final = 7001
RIGHT_TARGET: Final = 0.93


@dataclass(frozen=True)
class Trial:
    """What is tried.

    Attributes:
        spines: Kinds of spine.
        scenarios: What can go wrong.
        cases: Of each scenario and kind.
    """

    spines: Sequence[str]
    scenarios: Sequence[Scenario]
    cases: int


TRIALS: Final[Mapping[Size, Trial]] = MappingProxyType(
    {
        Size.SMALLEST: Trial(("worn",), SCENARIOS[::7], 1),
        Size.USUAL: Trial(tuple(SPINES), SCENARIOS, 20),
        Size.LARGE: Trial(tuple(SPINES), SCENARIOS, 100),
    }
)

_COLUMNS: Final = (
    (Protocol.ANATOMICAL, View.VOLUME),
    (Protocol.ANATOMICAL, View.MID_SAGITTAL),
    (Protocol.PAPER, View.MID_SAGITTAL),
)

Counts = Counter[tuple[Protocol, View, Verdict, bool]]
"""Number of judgements by rule, view, verdict, and whether the level is flagged."""


def judged(
    scenario: Scenario, spine: Callable[[Generator], Anatomy], *, seed: int, cases: int
) -> list[list[Judgement]]:
    """Returns the verdicts on each case of one scenario."""
    return [_judge(scenario, spine, seed=seed, number=number) for number in range(cases)]


def _judge(scenario: Scenario, spine: Callable[[Generator], Anatomy], *, seed: int, number: int) -> list[Judgement]:
    case = draw_scenario(scenario, spine, seed=seed, number=number)
    return judge(
        KnownLevels(
            reference=case.reference,
            prediction=case.prediction,
            reference_levels=case.reference_levels,
            prediction_levels=case.prediction_levels,
            geometry=Geometry(case.reference.shape, case.affine),
        )
    )


def counted(cases: list[list[Judgement]]) -> Counts:
    """Returns how often each rule and view got each verdict, flagged and not."""
    return Counter((one.protocol, one.view, one.verdict, one.is_unsure) for case in cases for one in case)


def share(counts: Counts, protocol: Protocol, view: View, verdict: Verdict) -> float:
    """Returns a verdict's share of all levels that a rule judged in a view."""
    return levels_with(counts, protocol, view, verdict) / sum(
        levels_with(counts, protocol, view, each) for each in Verdict
    )


def levels_with(counts: Counts, protocol: Protocol, view: View, verdict: Verdict) -> int:
    """Returns how many levels of a view got a verdict, flagged or not."""
    return counts[protocol, view, verdict, False] + counts[protocol, view, verdict, True]


def run(size: Size, folder: Path) -> Results:  # noqa: ARG001 - nothing is written
    """Judge all cases on all cores, and return one table for each kind of spine."""
    trial = TRIALS[size]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(cores(), len(trial.scenarios)), mp_context=context) as pool:
        tables = tuple(
            _table(name, trial, list(pool.map(partial(_counts, name, trial.cases), trial.scenarios)))
            for name in trial.spines
        )
    return Results(
        tables,
        (
            "3-D, middle: ours in the volume and in its middle slice; paper: the published rule in that slice.",
            f"Share of levels in %. Target: none silently wrong, {RIGHT_TARGET:.0%} right in 3-D.",
        ),
    )


def _counts(spine: str, cases: int, scenario: Scenario) -> Counts:
    return counted(judged(scenario, SPINES[spine], seed=SEED, cases=cases))


def _table(name: str, trial: Trial, counts: Sequence[Counts]) -> Table:
    total = sum(counts, Counter())
    rows = [Row(scenario.__name__, _shares(one)) for scenario, one in zip(trial.scenarios, counts, strict=True)]
    ways = ("3-D", "middle", "paper")
    columns = [Column(f"{way}: {verdict.replace('_', ' ')}", 1) for way in ways for verdict in Verdict]
    columns.append(Column("right though flagged", 1))
    title = f"{name} spine, seed {SEED}, {trial.cases} cases of each scenario"
    return Table(title, columns, [*rows, Row("all", _shares(total), _is_met(total))])


def _shares(counts: Counts) -> list[float]:
    doubted = counts[Protocol.ANATOMICAL, View.VOLUME, Verdict.RIGHT, True]
    judged_levels = sum(levels_with(counts, Protocol.ANATOMICAL, View.VOLUME, verdict) for verdict in Verdict)
    shares = [share(counts, *column, verdict) for column in _COLUMNS for verdict in Verdict]
    return [100 * value for value in (*shares, doubted / judged_levels)]


def _is_met(total: Counts) -> bool:
    silent = sum(levels_with(total, Protocol.ANATOMICAL, view, Verdict.SILENTLY_WRONG) for view in View)
    return silent == 0 and share(total, Protocol.ANATOMICAL, View.VOLUME, Verdict.RIGHT) >= RIGHT_TARGET
