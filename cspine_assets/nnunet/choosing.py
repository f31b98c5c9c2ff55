"""The choice of postprocessing by cross-validation: what each option scores, and the rule.

Change this file when the rule changes; the published numbers then change with it.
The options themselves stand in ``postprocessing``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cspine_assets.domain.anatomy import LABELS, Structure
from cspine_assets.domain.evaluation.overlap import measure_overlap
from cspine_assets.domain.evaluation.pair import read_mask_pair
from cspine_assets.domain.evaluation.sets import MACRO
from cspine_assets.nnunet.postprocessing import Postprocessing, keep_largest
from cspine_assets.nnunet.prediction import Predictor

DICE = "dice_volumetric"


@dataclass(frozen=True)
class OptionScore:
    """What one option makes of one structure of one exam.

    Attributes:
        exam_id: Exam.
        option: What was done to the prediction.
        structure: What was measured.
        dice_volumetric: Against the reference; None where both are empty.
        changed: Whether the option changed any voxel of the exam's mask.
    """

    exam_id: str
    option: Postprocessing
    structure: Structure
    dice_volumetric: float | None
    changed: bool


def score_options(exam_id: str, reference: Path, prediction: Path) -> list[OptionScore]:
    """Returns what every option scores on one exam.

    Args:
        exam_id: Name of the exam.
        reference: Its reference mask.
        prediction: Its prediction without any postprocessing, by a model that has not seen the patient.

    Raises:
        GeometryError: The grids differ.
    """
    pair = read_mask_pair(reference, prediction, labels=LABELS)
    cleaned = keep_largest(pair.prediction)
    changed = not np.array_equal(cleaned, pair.prediction)
    masks = {Postprocessing.NONE: pair.prediction, Postprocessing.KEEP_LARGEST: cleaned}
    return [
        OptionScore(exam_id, option, structure, overlap.dice_volumetric, changed and option is not Postprocessing.NONE)
        for option, mask in masks.items()
        for structure, overlap in measure_overlap(
            pair.reference,
            mask,
            slice_axis=pair.geometry.slice_axis,
            voxel_volume_mm3=pair.geometry.voxel_volume_mm3,
        ).items()
    ]


def choose(scores: Iterable[OptionScore]) -> pd.DataFrame:
    """Returns what the options score on cross-validation, and which of them is chosen.

    Keep-largest is chosen where the mean Dice over exams, averaged over the structures, becomes greater, and the
    mean of neither structure smaller: nnU-Net's own rule for its first step (``determine_postprocessing``). It is
    careful on one side: what is cut away cannot come back, and a spine whose upper bodies are seen apart loses them.

    Returns:
        One row per option and structure, ``macro`` being the mean of both: ``option``, ``structure``, ``n``,
        ``mean_dice``, ``exams_changed``, ``exams_better``, ``exams_worse``, ``chosen``, ``reason``. Empty without
        scores.
    """
    frame = pd.DataFrame([vars(score) for score in scores])
    if frame.empty:
        return frame
    frame = frame.astype({DICE: float}).sort_values(["exam_id", "structure"])
    tables = {
        option: frame[frame["option"] == option].pivot_table(
            index="exam_id", columns="structure", values=DICE, dropna=False
        )
        for option in Postprocessing
    }
    before, after = (tables[option].mean() for option in Postprocessing)
    chosen, reason = _decide(before, after, int(frame["changed"].sum()) // len(Structure))
    rows = []
    for option in Postprocessing:
        own, plain = tables[option], tables[Postprocessing.NONE]
        changed = int(frame.loc[frame["option"] == option, "changed"].sum()) // len(Structure)
        own, plain = (table.assign(**{MACRO: table.mean(axis=1, skipna=False)}) for table in (own, plain))
        means = own.mean()
        means[MACRO] = means[list(Structure)].mean()
        for structure in (*Structure, MACRO):
            rows.append(
                {
                    "option": option.value,
                    "structure": str(structure),
                    "n": int(own[structure].count()),
                    "mean_dice": float(means[structure]),
                    "exams_changed": changed,
                    "exams_better": int((own[structure] > plain[structure]).sum()),
                    "exams_worse": int((own[structure] < plain[structure]).sum()),
                    "chosen": option is chosen,
                    "reason": reason,
                }
            )
    return pd.DataFrame(rows)


def chosen_options(table: pd.DataFrame) -> dict[Predictor, Postprocessing]:
    """Returns what is done to each predictor's masks, from the rows of ``nnunet.postprocessing``."""
    chosen = table.loc[table["chosen"].astype(bool), ["predictor", "option"]].drop_duplicates()
    pairs = zip(chosen["predictor"], chosen["option"], strict=True)
    return {Predictor(predictor): Postprocessing(option) for predictor, option in pairs}


def _decide(before: pd.Series[Any], after: pd.Series[Any], changed: int) -> tuple[Postprocessing, str]:
    """Returns the choice between two tables of mean Dice by structure, and its reason in a sentence."""
    told = f"mean Dice {before.mean():.5f} -> {after.mean():.5f} with keep_largest"
    if not changed:
        return Postprocessing.NONE, "keep_largest changes no mask"
    if not after.mean() > before.mean():
        return Postprocessing.NONE, f"{told}: no gain"
    losing = [str(structure) for structure in Structure if after[structure] < before[structure]]
    if losing:
        return Postprocessing.NONE, f"{told}, but {' and '.join(losing)} would lose"
    return Postprocessing.KEEP_LARGEST, f"{told}, and neither structure loses"
