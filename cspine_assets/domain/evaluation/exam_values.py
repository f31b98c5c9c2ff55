"""A metric's value of every exam, structure by structure and over both.

Add here what the leaderboard and the history need of single exams. Distributions and tests stand in their own modules.
"""

from __future__ import annotations

import pandas as pd

from cspine_assets.domain.anatomy import Structure
from cspine_assets.domain.evaluation.sets import MACRO

STRUCTURES_AND_MACRO = (*(structure.value for structure in Structure), MACRO)


def exam_values(metrics: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Returns one row per exam, sorted, and one column per structure and for both together; NaN where undefined.

    The value over both is the mean of the two, and undefined where one of them is.

    Args:
        metrics: Rows of ``evaluation.exam_metrics`` of one predictor and set.
        metric: Column to take.
    """
    wide = metrics.pivot_table(index="exam_id", columns="structure", values=metric, aggfunc="first", dropna=False)
    wide = wide.reindex(columns=[structure.value for structure in Structure]).astype("float64").sort_index()
    return wide.assign(**{MACRO: wide.mean(axis=1, skipna=False)})
