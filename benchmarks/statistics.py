"""Statistics against the published way on the same synthetic scores, and what a whole study's tables cost.

Change a target only with its reason. The published way is scipy's bootstrap with a statistic that is called once per
draw, and one call per test.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from benchmarks.runner import measure, print_costs
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
REPEATS = 3
TESTED_AGAIN = 50
"""How often all pairs of levels are tested in one measurement: once takes a few milliseconds."""


@dataclass(frozen=True)
class Ratio:
    """The same work twice, in processor seconds."""

    name: str
    published_s: float
    ours_s: float
    target: float


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


def groups() -> list[list[Values]]:
    """Returns 12 groups of 10 to 98 exams, with four metrics each."""
    return [scores(4, exams=10 + 8 * number, seed=number) for number in range(12)]


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


def compare(name: str, published: Callable, ours: Callable, data: list, target: float) -> Ratio:
    """Runs both in turns and takes the best of each; the outcomes must be equal to the last bit."""
    theirs_s, ours_s = [], []
    for _ in range(REPEATS):
        seconds, expected = timed(published, data)
        theirs_s.append(seconds)
        seconds, found = timed(ours, data)
        ours_s.append(seconds)
        if found != expected:
            raise RuntimeError(f"{name}: expected the published numbers to the last bit, got {found} for {expected}")
    return Ratio(name, min(theirs_s), min(ours_s), target)


def exam_rows(exams: int = 391, *, scored_set: str = "cv") -> pd.DataFrame:
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


def study_rows() -> pd.DataFrame:
    """Draws the published study's 391 + 100 exams."""
    return pd.concat([exam_rows(), exam_rows(100, scored_set="test")], ignore_index=True)


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


def level_rows() -> pd.DataFrame:
    """Draws rows of ``evaluation.level_metrics`` of three predictors, a twentieth of them excluded."""
    rng = np.random.default_rng(7)
    named = {"anatomical": ("3d", "mid_sagittal"), "paper": ("mid_sagittal",)}
    frames = []
    for exam in study_rows().query(f"structure == '{Structure.INTERVERTEBRAL_DISC}'").itertuples():
        for structure, levels in ((Structure.VERTEBRAL_BODY, VERTEBRAE), (Structure.INTERVERTEBRAL_DISC, DISC_LEVELS)):
            for naming, views in named.items():
                for view in views:
                    frames += [
                        (exam.exam_id, exam.set, exam.predictor, structure.value, level, view, naming)
                        for level in levels
                    ]
    columns = ["exam_id", "set", "predictor", "structure", "level", "view", "protocol"]
    rows = pd.DataFrame(frames, columns=columns).assign(
        profile="full", split_sha256="s", annotation_provenance="expert", severity="none"
    )
    dice = rng.beta(12, 1, len(rows))
    return rows.assign(dice=np.where(rng.random(len(rows)) < 0.05, np.nan, dice))


def summarise_study() -> None:
    """Makes both summaries and the comparison of models."""
    rows = study_rows()
    fold_summary(rows)
    test_summary(rows)
    model_comparison(rows)


def describe_study_groups() -> None:
    """Describes every group."""
    rows = study_rows()
    group_metrics(rows, study_strata(rows))


def compare_study_groups() -> None:
    """Compares every group."""
    rows = study_rows()
    group_comparison(rows, study_strata(rows))


def compare_study_levels() -> None:
    """Compares every pair of levels."""
    level_comparison(level_rows())


def main() -> None:
    """Prints the ratios, and what the tables of a whole study cost."""
    print(f"{'processor seconds':<52}{'theirs':>10}{'ours':>10}{'ratio':>8}{'of':>8}")
    for ratio in (
        compare(
            "four bootstraps, 9,999 draws of 100 exams", bootstrap_as_published, bootstrap_ours, published_pairs(), 15
        ),
        compare("medians of 12 groups, four metrics, 9,999 draws", medians_as_published, medians_ours, groups(), 62),
        compare(f"21 pairs of levels, {TESTED_AGAIN} times", levels_as_published, levels_ours, level_pairs(), 12),
    ):
        found = ratio.published_s / ratio.ours_s
        under = "  UNDER" if found < ratio.target else ""
        print(
            f"{ratio.name:<52}{ratio.published_s:>10.3f}{ratio.ours_s:>10.3f}{found:>8.1f}{ratio.target:>8.0f}{under}"
        )
    print("All intervals and tests equal the published way's to the last bit.\n")
    print_costs(
        [
            measure("summaries and comparisons, 491 exams x 3 predictors", summarise_study),
            measure("  describe their groups", describe_study_groups),
            measure("  compare their groups", compare_study_groups),
            measure("  compare their levels", compare_study_levels),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
