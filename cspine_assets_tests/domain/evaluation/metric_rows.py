"""Rows of ``evaluation.exam_metrics`` from a few Dice values, for tests of what is made over exams."""

from collections.abc import Mapping, Sequence

import pandas as pd

from cspine_assets.domain.anatomy import Structure


def metric_rows(dice: Mapping[str, Sequence[float]], *, scored_set: str = "test", split: str = "s") -> pd.DataFrame:
    """One row per predictor, exam (``e00``, ``e01``, ...) and structure; both structures have the same Dice."""
    rows = [
        {
            "exam_id": f"e{number:02d}",
            "patient_id": f"p{number:02d}",
            "set": scored_set,
            "predictor": predictor,
            "structure": structure.value,
            "profile": "demo",
            "split_sha256": split,
            "model_sha256": "m",
            "annotation_provenance": "expert",
            "status": "ok" if value else "missed",
            "dice_volumetric": value,
            "dice_slice_mean": value,
            "iou": value / (2 - value),
            "diagonal_mm": 300.0,
            "hd95_mm": 10 * (1 - value) if value else float("inf"),
            "assd_mm": 1 - value if value else float("inf"),
            "nsd_1mm": value,
            "nsd_2mm": value,
            "volume_difference_relative": 0.0,
        }
        for predictor, values in dice.items()
        for number, value in enumerate(values)
        for structure in Structure
    ]
    return pd.DataFrame(rows)
