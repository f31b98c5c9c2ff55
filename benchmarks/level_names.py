"""Names of levels on masks as experts draw them, on three populations, the published rule beside ours; and their cost.

Change nothing here to make a row look better: what a verdict is stands in ``level_trial``, what a mask is in
``drawn_scenarios``. Nothing was tuned on this seed; whoever tunes on it takes another one.
"""

from __future__ import annotations

import multiprocessing
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np

from benchmarks.catalog import Size
from benchmarks.results import Column, Results, Row, Table
from benchmarks.runner import cores
from cspine_assets.domain.evaluation.level_naming import name_pair, name_reference
from cspine_assets.domain.evaluation.level_score import Protocol
from cspine_assets.domain.evaluation.level_trial import Judgement, KnownLevels, Verdict, judge
from cspine_assets.domain.evaluation.levels import score_all_levels
from cspine_assets.domain.evaluation.morphometry import measure_named
from cspine_assets.domain.phantom.drawn_scenarios import (
    DECIDED,
    DRAWN_SCENARIOS,
    KINDS,
    DrawnScenario,
    draw_drawn_scenario,
)
from cspine_assets.domain.phantom.grid import VoxelGrid
from cspine_assets.domain.phantom.level_case import draw_case, observe
from cspine_assets.domain.volume import Geometry

SEED: Final = 90210
SURE_TARGET: Final = 0.95
"""Of exams whose field of view decides, so many have every level named right and without doubt in both views."""

CPU_MS_TARGET: Final = 60.0
"""Levels and morphometry of one prediction of an exam of 448 x 448 x 15 voxels."""

CASES: Final[Mapping[Size, int]] = MappingProxyType({Size.SMALLEST: 1, Size.USUAL: 20, Size.LARGE: 70})
"""Of each scenario and population."""


@dataclass(frozen=True)
class Tally:
    """Verdicts on the cases of one scenario.

    Attributes:
        verdicts: How often each rule gave each verdict, unsure and not, over levels and views.
        exams: Number of cases.
        sure: Those with every level of both views right and without doubt.
    """

    verdicts: Counter[tuple[Protocol, Verdict, bool]]
    exams: int
    sure: int

    def __add__(self, other: Tally) -> Tally:
        """Returns both together."""
        return Tally(self.verdicts + other.verdicts, self.exams + other.exams, self.sure + other.sure)

    def share(self, protocol: Protocol, verdict: Verdict, *unsure: bool) -> float:
        """Returns the share of a verdict in percent of all levels that a rule judged."""
        total = sum(n for (rule, _, _), n in self.verdicts.items() if rule is protocol)
        return 100 * sum(self.verdicts[protocol, verdict, one] for one in unsure) / total

    def silent(self, protocol: Protocol) -> int:
        """Returns how many levels a rule named wrong without a word."""
        return sum(self.verdicts[protocol, Verdict.SILENTLY_WRONG, one] for one in (False, True))

    @property
    def judged(self) -> int:
        """Levels that were judged by our rule, over both views."""
        return sum(n for (rule, _, _), n in self.verdicts.items() if rule is Protocol.ANATOMICAL)


NOTHING: Final = Tally(Counter(), 0, 0)


def judged(scenario: DrawnScenario, kind: str, *, seed: int, number: int) -> list[Judgement]:
    """Returns the verdicts on one case."""
    case = draw_drawn_scenario(scenario, KINDS[kind], seed=seed, number=number)
    return judge(
        KnownLevels(
            reference=case.reference,
            prediction=case.prediction,
            reference_levels=case.reference_levels,
            prediction_levels=case.prediction_levels,
            geometry=Geometry(case.reference.shape, case.affine),
        )
    )


def tally(scenario: DrawnScenario, kind: str, *, seed: int, cases: int) -> Tally:
    """Returns the verdicts on all cases of one scenario and population."""
    found = NOTHING
    for number in range(cases):
        judgements = judged(scenario, kind, seed=seed, number=number)
        ours = [one for one in judgements if one.protocol is Protocol.ANATOMICAL]
        sure = all(one.verdict is Verdict.RIGHT and not one.is_unsure for one in ours)
        found += Tally(Counter((one.protocol, one.verdict, one.is_unsure) for one in judgements), 1, int(sure))
    return found


def run(size: Size, folder: Path) -> Results:  # noqa: ARG001 - nothing is written
    """Judge all cases on all cores; return a table for each population, one of all, and the cost."""
    scenarios = DRAWN_SCENARIOS[::6] if size is Size.SMALLEST else DRAWN_SCENARIOS
    kinds = list(KINDS)[: 1 if size is Size.SMALLEST else None]
    context = multiprocessing.get_context("spawn")
    tables, together = [], dict.fromkeys(scenarios, NOTHING)
    with ProcessPoolExecutor(min(cores(), len(scenarios)), mp_context=context) as pool:
        for kind in kinds:
            found = dict(
                zip(
                    scenarios, pool.map(partial(tally, kind=kind, seed=SEED, cases=CASES[size]), scenarios), strict=True
                )
            )
            tables.append(_table(f"{kind}: seed {SEED}, {CASES[size]} cases of each scenario", found))
            together = {scenario: together[scenario] + found[scenario] for scenario in scenarios}
    if len(kinds) > 1:
        tables.append(_table("all populations", together))
    tables.append(_cost(repeats=2 if size is Size.SMALLEST else 6))
    return Results(
        tuple(tables),
        (
            "Share of levels in %, both views together; exams sure: every level of both views right and without doubt.",
            "decided: the field of view goes on above C2 by more than a body and a disc, and the numbers fit.",
            f"Target: {SURE_TARGET:.0%} of decided exams sure, no level silently wrong. paper: the published rule, "
            "discs of the middle slice.",
        ),
    )


def _table(title: str, found: Mapping[DrawnScenario, Tally]) -> Table:
    names = ("right and sure", "right but unsure", "wrong but flagged", "silently wrong", "levels judged")
    columns = [Column("exams sure", 1), *(Column(name, 0 if "judged" in name else 2) for name in names)]
    columns += [Column(f"paper: {verdict.replace('_', ' ')}", 1) for verdict in Verdict]
    rows = [Row(scenario.__name__, _values(one)) for scenario, one in found.items()]
    for name, chosen in (("all decided", DECIDED), ("all", DRAWN_SCENARIOS)):
        both = sum((one for scenario, one in found.items() if scenario in chosen), NOTHING)
        silent_free = both.silent(Protocol.ANATOMICAL) == 0
        met = silent_free and (name == "all" or both.sure >= SURE_TARGET * both.exams)
        rows.append(Row(name, _values(both), met))
    return Table(title, columns, rows)


def _values(one: Tally) -> Sequence[float]:
    ours = Protocol.ANATOMICAL
    return (
        100 * one.sure / one.exams,
        one.share(ours, Verdict.RIGHT, False),
        one.share(ours, Verdict.RIGHT, True),
        one.share(ours, Verdict.FLAGGED, False, True),
        one.share(ours, Verdict.SILENTLY_WRONG, False, True),
        one.judged,
        *(one.share(Protocol.PAPER, verdict, False, True) for verdict in Verdict),
    )


def _cost(*, repeats: int) -> Table:
    """Returns the CPU time of levels and morphometry on an exam of the release's usual size."""
    pairs = [_full_size(number) for number in range(repeats)]
    for predictors in (1, 3):
        _measure(pairs[0], predictors)
    rows = []
    for predictors in (1, 3):
        spent = min(sum(_measure(pair, predictors) for pair in pairs) / len(pairs) for _ in range(3))
        each = 1000 * spent / predictors
        what = "one prediction" if predictors == 1 else f"each of {predictors} predictions of an exam"
        rows.append(Row(what, (each,), each <= CPU_MS_TARGET))
    return Table("levels and morphometry at 448 x 448 x 15", [Column("CPU ms", 1)], rows)


def _full_size(number: int) -> tuple[np.ndarray, np.ndarray, Geometry]:
    """Returns a reference, a prediction and their grid of half a millimetre, laid as masks are read from files."""
    rng = np.random.default_rng([SEED, number])
    drawn = KINDS["adult"](rng)
    scene = observe(rng, replace(drawn.anatomy, pixel_mm=0.5, roughness_mm=0.0))
    shape, affine = (448, 448, 15), scene.grid.affine.copy()
    middle = affine[:3, :3] @ ((np.array(scene.grid.shape) - 1) / 2) + affine[:3, 3]
    affine[:3, 3] = middle - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    case = draw_case(replace(scene, grid=VoxelGrid(affine, shape)))
    return np.asfortranarray(case.reference), np.asfortranarray(case.prediction), Geometry(shape, affine)


def _measure(pair: tuple[np.ndarray, np.ndarray, Geometry], predictors: int) -> float:
    """Returns the CPU seconds of some predictions of one exam, which share its named reference."""
    reference, prediction, geometry = pair
    start = time.process_time()
    named = name_reference(reference, geometry)
    for _ in range(predictors):
        both = name_pair(named, prediction)
        score_all_levels(both, reference, prediction, slice_axis=geometry.slice_axis)
        measure_named(both, reference, prediction)
    return time.process_time() - start
