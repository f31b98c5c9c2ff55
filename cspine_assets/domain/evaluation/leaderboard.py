"""The leaderboard: every predictor on the same test exams, those without a mask counted as missed.

Add a column here when predictors should be told apart by something more. How masks are scored stands in ``score``,
tests between predictors in ``comparison``.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import pandas as pd

from cspine_assets.domain.anatomy import Structure
from cspine_assets.domain.evaluation.bootstrap import median_interval
from cspine_assets.domain.evaluation.sets import MACRO, by_structure, set_name, sides, typed
from cspine_assets.domain.files import fingerprint_text
from cspine_assets.domain.tables.base import empty_frame
from cspine_assets.domain.tables.benchmark import Leaderboard

METRIC: Final = "dice_volumetric"
BASELINE: Final = "ensemble"


def leaderboard(
    metrics: pd.DataFrame, predictions: pd.DataFrame, references: pd.DataFrame, *, profile: str
) -> pd.DataFrame:
    """Returns ``evaluation.leaderboard``; without a test exam or a predictor it is empty.

    Args:
        metrics: Rows of ``evaluation.exam_metrics`` and ``evaluation.external_metrics``; only those of the test set
            count.
        predictions: ``exam_id``, ``predictor``, ``origin``, ``status``, ``sha256``, ``predictor_provenance`` and
            ``predictor_settings`` of every mask that was asked for.
        references: ``exam_id``, ``annotation_provenance`` and ``split_sha256`` of every test exam with a reference.
        profile: Profile of the study.
    """
    tested = metrics[sides(metrics["set"]) == "test"]
    rows = []
    for key, exams in references.groupby(["annotation_provenance", "split_sha256"], sort=True):
        provenance, split = (str(part) for part in key)
        identity = {
            "set_name": set_name("test", provenance),
            "annotation_provenance": provenance,
            "split_sha256": split,
            "profile": profile,
        }
        rows += _of_set(tested, predictions, sorted(exams["exam_id"]), identity)
    if not rows:
        return empty_frame(Leaderboard)
    means = pd.DataFrame(rows, columns=["set_name", "dice_macro_mean"]).astype({"dice_macro_mean": "float64"})
    ranks = means.groupby("set_name")["dice_macro_mean"].rank(method="min", ascending=False, na_option="bottom")
    made = typed(Leaderboard, [{**row, "rank": rank} for row, rank in zip(rows, ranks, strict=True)])
    return made.sort_values(["set_name", "rank", "predictor"], ignore_index=True)


def _of_set(
    tested: pd.DataFrame, predictions: pd.DataFrame, exams: list[str], identity: dict[str, str]
) -> list[dict[str, object]]:
    """Returns the rows of one test set."""
    asked = predictions[predictions["exam_id"].isin(exams)]
    values = {
        str(name): _dice(tested[tested["predictor"] == name], exams) for name in sorted(asked["predictor"].unique())
    }
    return [
        {**identity, **_row(values[name], values.get(BASELINE), own.sort_values("exam_id"), len(exams))}
        for name, own in ((str(name), own) for name, own in asked.groupby("predictor", sort=True))
    ]


def _dice(metrics: pd.DataFrame, exams: list[str]) -> pd.DataFrame:
    """Returns the Dice of every exam of the set; one that was not scored was missed."""
    scored = metrics[metrics["exam_id"].isin(exams)]
    if scored.empty:
        return pd.DataFrame(0.0, index=exams, columns=[*Structure, MACRO])
    columns = {
        name: (rows if name == MACRO else rows.set_index("exam_id"))[METRIC].astype("float64")
        for name, rows in by_structure(scored, [METRIC])
    }
    return pd.DataFrame(columns).reindex(exams, fill_value=0.0)


def _row(values: pd.DataFrame, baseline: pd.DataFrame | None, own: pd.DataFrame, exams: int) -> dict[str, object]:
    """Returns what one predictor did."""
    first, predicted = own.iloc[0], own[own["status"] == "ok"]
    # a place of its own has no difference to itself
    compared = None if baseline is None or first["predictor"] == BASELINE else baseline
    return {
        "predictor": first["predictor"],
        "origin": first["origin"],
        "exams": exams,
        "exams_predicted": len(predicted),
        "coverage": len(predicted) / exams,
        "dice_macro_mean": _mean(values[MACRO]),
        "dice_macro_median": values[MACRO].median(),
        **{f"dice_{structure}_mean": _mean(values[structure.value]) for structure in Structure},
        **_difference(values[MACRO], None if compared is None else compared[MACRO]),
        "predictions_sha256": fingerprint_text(*predicted["exam_id"], *predicted["sha256"]),
        "predictor_provenance": first["predictor_provenance"],
        "predictor_settings": first["predictor_settings"],
    }


def _mean(values: pd.Series[float]) -> float | None:
    """Returns the mean of the values there are, equal to the last bit in any order of exams: ranks need it."""
    used = values.dropna().tolist()
    return math.fsum(used) / len(used) if used else None


def _difference(values: pd.Series[float], baseline: pd.Series[float] | None) -> dict[str, float | None]:
    """Returns the paired difference with its interval; fewer than two exams have none."""
    nothing: dict[str, float | None] = {"difference_to_ensemble": None, "ci_low": None, "ci_high": None}
    if baseline is None:
        return nothing
    differences = np.asarray((values - baseline).dropna(), dtype=np.float64)
    if len(differences) < 2:
        return nothing
    interval = median_interval(differences)
    return {
        "difference_to_ensemble": float(np.median(differences)),
        "ci_low": interval.low,
        "ci_high": interval.high,
    }
