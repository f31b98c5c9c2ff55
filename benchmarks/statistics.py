"""Statistics against the published way on the same synthetic scores, and what a whole study's tables cost.

Change a target only with its reason. The published way is scipy's bootstrap with a statistic that is called once per
draw, and one call per test.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from benchmarks.catalog import Size
from benchmarks.results import Results, Row, comparison, comparison_table, cost_table
from benchmarks.runner import least_in_turns, measure
from cspine_assets.domain.anatomy import DISC_LEVELS, VERTEBRAE, Structure
from cspine_assets.domain.evaluation.bootstrap import median_intervals, unpaired_interval
from cspine_assets.domain.evaluation.comparison import model_comparison
from cspine_assets.domain.evaluation.group_comparison import group_comparison
from cspine_assets.domain.evaluation.group_metrics import group_metrics
from cspine_assets.domain.evaluation.level_comparison import level_comparison
from cspine_assets.domain.evaluation.rank_tests import Sample, mann_whitney_each
from cspine_assets.domain.evaluation.summaries import fold_summary, test_summary

Values = NDArray[np.float64]
Outcome = list[tuple[float | None, float | None]]

EXAMS = 100
TESTED_AGAIN = 50
"""How often all pairs of levels are tested in one measurement: once takes a few milliseconds."""


@dataclass(frozen=True)
class Work:
    """How much is done.

    Attributes:
        repeats: Turns of each comparison.
        pairs: Comparisons of models, of the four that the published study makes.
        groups: Groups of patients.
        cv_exams: Of the whole study's tables.
        test_exams: The same.
    """

    repeats: int
    pairs: int
    groups: int
    cv_exams: int
    test_exams: int


WORK: Final[Mapping[Size, Work]] = MappingProxyType(
    {
        Size.SMALLEST: Work(repeats=1, pairs=1, groups=1, cv_exams=5, test_exams=5),
        Size.USUAL: Work(repeats=3, pairs=4, groups=12, cv_exams=391, test_exams=100),
        Size.LARGE: Work(repeats=7, pairs=4, groups=12, cv_exams=1_564, test_exams=400),
    }
)
"""The study has 391 exams in cross-validation and 100 in the test set."""


def difference_of_medians(first: Values, second: Values) -> np.floating:
    """The published statistic, for one draw at a time."""
    return np.median(first) - np.median(second)


def scores(predictors: int, exams: int = EXAMS, seed: int = 0) -> list[Values]:
    """Draws scores of several predictors on the same exams."""
    rng = np.random.default_rng(seed)
    hard = rng.beta(12, 1, exams)
    return [np.clip(hard + rng.normal(0, 0.02, exams), 0, 1) for _ in range(predictors)]


def published_pairs() -> list[tuple[Values, Values]]:
    """Returns the four comparisons of the published study: 2d and 3d against their ensemble, bodies and discs."""
    found = []
    for seed in (1, 2):
        two, three, ensemble = scores(3, seed=seed)
        found += [(two, ensemble), (three, ensemble)]
    return found


def bootstrap_as_published(pairs: list[tuple[Values, Values]]) -> Outcome:
    """Resamples each pair by scipy, a call of the statistic per draw."""
    return [
        tuple(
            stats.bootstrap(
                pair, difference_of_medians, n_resamples=9_999, method="percentile", vectorized=False, random_state=42
            ).confidence_interval
        )
        for pair in pairs
    ]


def bootstrap_ours(pairs: list[tuple[Values, Values]]) -> Outcome:
    """Resamples each pair as the comparison of models does."""
    return [(found.low, found.high) for found in (unpaired_interval(*pair) for pair in pairs)]


def groups(count: int) -> list[list[Values]]:
    """Returns groups of 10 exams and more, with four metrics each."""
    return [scores(4, exams=10 + 8 * number, seed=number) for number in range(count)]


def medians_as_published(members: list[list[Values]]) -> Outcome:
    """Resamples each metric of each group by scipy, a call of the statistic per draw; sorted, as ours are."""
    return [
        tuple(
            stats.bootstrap(
                (np.sort(column),), np.median, n_resamples=9_999, method="percentile", vectorized=False, random_state=42
            ).confidence_interval
        )
        for group in members
        for column in group
    ]


def medians_ours(members: list[list[Values]]) -> Outcome:
    """Resamples each group as the tables of groups do."""
    found = [interval for group in members for interval in median_intervals(np.column_stack(group))]
    return [(one.low, one.high) for one in found]


def level_pairs() -> list[tuple[Values, Values]]:
    """Returns the 21 pairs of seven levels in the 87 exams that the published study compared."""
    return list(combinations(scores(7, exams=87), 2))


def levels_as_published(pairs: list[tuple[Values, Values]]) -> Outcome:
    """Tests one pair after the other."""
    for _ in range(TESTED_AGAIN):
        found = [stats.mannwhitneyu(*pair) for pair in pairs]
    return [(one.statistic, one.pvalue) for one in found]


def levels_ours(pairs: list[tuple[Values, Values]]) -> Outcome:
    """Tests all pairs in one call."""
    for _ in range(TESTED_AGAIN):
        found = mann_whitney_each([Sample(*pair) for pair in pairs])
    return [(one.statistic, one.p_value) for one in found if one]


def timed(work: Callable, data: list) -> tuple[float, Outcome]:
    """Returns processor seconds, nothing of an earlier call remembered, and what came of it."""
    from cspine_assets.domain.evaluation import bootstrap  # noqa: PLC0415 - to forget the draws that it keeps

    for remembered in (bootstrap._draws, bootstrap._middle_positions, bootstrap._draw_counts):
        remembered.cache_clear()
    start = time.process_time()
    found = work(data)
    return time.process_time() - start, found


def compare(name: str, published: Callable, ours: Callable, data: list, target: float, *, repeats: int) -> Row:
    """Run both in turns and take the least of each; the outcomes must be equal to the last bit."""
    outcomes: dict[Callable, Outcome] = {}

    def seconds_of(way: Callable) -> float:
        seconds, outcomes[way] = timed(way, data)
        return seconds

    theirs_s, ours_s = least_in_turns(repeats, partial(seconds_of, published), partial(seconds_of, ours))
    if outcomes[ours] != outcomes[published]:
        raise RuntimeError(
            f"{name}: expected the published numbers to the last bit, {outcomes[published]}, got {outcomes[ours]}"
        )
    return comparison(name, theirs_s, ours_s, target)


def exam_rows(exams: int, *, scored_set: str = "cv") -> pd.DataFrame:
    """Draws rows of ``evaluation.exam_metrics`` of three predictors."""
    rng = np.random.default_rng(5)
    frames = []
    for predictor in ("2d", "3d_fullres", "ensemble"):
        for structure in Structure:
            dice = rng.beta(12, 1, exams)
            frames.append(
                pd.DataFrame(
                    {
                        "exam_id": [f"{scored_set}{number:05d}" for number in range(exams)],
                        "patient_id": [f"{scored_set}{number:05d}" for number in range(exams)],
                        "set": scored_set,
                        "fold": pd.array(
                            [number % 5 if scored_set == "cv" else None for number in range(exams)], "Int64"
                        ),
                        "predictor": predictor,
                        "structure": structure.value,
                        "profile": "full",
                        "split_sha256": "s",
                        "model_sha256": "m",
                        "annotation_provenance": "expert",
                        "status": "ok",
                        "dice_volumetric": dice,
                        "dice_slice_mean": dice,
                        "iou": dice / (2 - dice),
                        "volume_reference_mm3": rng.normal(9_000, 1_200, exams),
                        "volume_prediction_mm3": 9_000.0,
                        "volume_difference_relative": rng.normal(0, 0.05, exams),
                        "hd95_mm": rng.gamma(2, 1, exams),
                        "assd_mm": rng.gamma(2, 0.2, exams),
                        "nsd_1mm": dice,
                        "nsd_2mm": dice,
                        "diagonal_mm": 400.0,
                    }
                )
            )
    return pd.concat(frames, ignore_index=True)


def study_rows(work: Work) -> pd.DataFrame:
    """Draws the exams of both sets."""
    return pd.concat([exam_rows(work.cv_exams), exam_rows(work.test_exams, scored_set="test")], ignore_index=True)


def study_strata(rows: pd.DataFrame) -> pd.DataFrame:
    """Draws the attributes of every exam in about the shares of the release."""
    rng = np.random.default_rng(6)
    exams = sorted(set(rows["exam_id"]))
    shares = {
        "sex": {"Female": 0.55, "Male": 0.45},
        "age_band": {"under 40": 0.2, "40-49": 0.2, "50-59": 0.2, "60-69": 0.2, "70 and over": 0.2},
        "race": {"White": 0.65, "Black or African American": 0.28, "Other": 0.03, "Asian": 0.02, "Not Reported": 0.02},
        "manufacturer": {"GE": 0.5, "Siemens": 0.5},
        "field_strength": {"1.5 T": 0.5, "3 T": 0.5},
    }
    drawn = {name: rng.choice(list(parts), len(exams), p=list(parts.values())) for name, parts in shares.items()}
    return pd.DataFrame({"exam_id": exams, **drawn}).astype("string")


def level_rows(work: Work) -> pd.DataFrame:
    """Draws rows of ``evaluation.level_metrics`` of three predictors, a twentieth of them excluded."""
    rng = np.random.default_rng(7)
    named = {"anatomical": ("3d", "mid_sagittal"), "paper": ("mid_sagittal",)}
    frames = []
    for exam in study_rows(work).query(f"structure == '{Structure.INTERVERTEBRAL_DISC}'").itertuples():
        for structure, levels in ((Structure.VERTEBRAL_BODY, VERTEBRAE), (Structure.INTERVERTEBRAL_DISC, DISC_LEVELS)):
            for naming, views in named.items():
                for view in views:
                    frames += [
                        (exam.exam_id, exam.set, exam.predictor, structure.value, level, view, naming)
                        for level in levels
                    ]
    columns = ["exam_id", "set", "predictor", "structure", "level", "view", "protocol"]
    rows = pd.DataFrame(frames, columns=columns).assign(
        profile="full", split_sha256="s", model_sha256="m", annotation_provenance="expert", severity="none"
    )
    dice = rng.beta(12, 1, len(rows))
    return rows.assign(dice=np.where(rng.random(len(rows)) < 0.05, np.nan, dice))


def summarise_study(work: Work) -> None:
    """Makes both summaries and the comparison of models."""
    rows = study_rows(work)
    fold_summary(rows)
    test_summary(rows)
    model_comparison(rows)


def describe_study_groups(work: Work) -> None:
    """Describes every group."""
    rows = study_rows(work)
    group_metrics(rows, study_strata(rows))


def compare_study_groups(work: Work) -> None:
    """Compares every group."""
    rows = study_rows(work)
    group_comparison(rows, study_strata(rows))


def compare_study_levels(work: Work) -> None:
    """Compares every pair of levels."""
    level_comparison(level_rows(work))


def run(size: Size, folder: Path) -> Results:  # noqa: ARG001 - nothing is written
    """Compare with the published way, and measure what the tables of a whole study cost."""
    work = WORK[size]
    against = partial(compare, repeats=work.repeats)
    pairs, members = published_pairs()[: work.pairs], groups(work.groups)
    medians = f"medians of {len(members)} groups, four metrics, 9,999 draws"
    levels = f"21 pairs of levels, {TESTED_AGAIN} times"
    rows = [
        against(
            f"{len(pairs)} bootstraps, 9,999 draws of 100 exams", bootstrap_as_published, bootstrap_ours, pairs, 15
        ),
        against(medians, medians_as_published, medians_ours, members, 62),
        against(levels, levels_as_published, levels_ours, level_pairs(), 12),
    ]
    cost_of = partial(measure, apart=size is not Size.SMALLEST)
    costs = [
        cost_of("summaries and comparison of models", summarise_study, work),
        cost_of("description of groups", describe_study_groups, work),
        cost_of("comparison of groups", compare_study_groups, work),
        cost_of("comparison of levels", compare_study_levels, work),
    ]
    tables = (
        comparison_table("Statistics within one process", "CPU s", rows),
        cost_table(f"Tables of {work.cv_exams + work.test_exams} exams and three predictors", costs),
    )
    return Results(tables, ("All intervals and tests equal the published way's to the last bit.",))
