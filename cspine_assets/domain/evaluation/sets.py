"""Which exams may stand in one number: the name of a set carries who drew its reference masks.

Add here what every statistic over exams has in common. The statistics themselves stand in their own modules.
"""

from __future__ import annotations

from typing import Final

import pandas as pd

SUMMARY_METRICS: Final = ("dice_volumetric", "dice_slice_mean", "iou")
"""Columns of ``evaluation.exam_metrics`` that are summed up and compared."""

MACRO: Final = "macro"
"""Structure of a row over both structures."""


def set_name(scored_set: str, annotation_provenance: str) -> str:
    """Returns the name under which a number is published: the plain set only where experts drew the reference.

    Args:
        scored_set: ``cv`` or ``test``.
        annotation_provenance: ``expert``, ``model`` or ``unknown``.
    """
    return scored_set if annotation_provenance == "expert" else f"{scored_set}_{annotation_provenance}"


def with_set_name(exam_metrics: pd.DataFrame) -> pd.DataFrame:
    """Returns the rows with the column ``set_name`` beside their set."""
    pairs = zip(exam_metrics["set"], exam_metrics["annotation_provenance"], strict=True)
    return exam_metrics.assign(set_name=[set_name(one, provenance) for one, provenance in pairs])
