"""p-values corrected for the number of questions asked of the same exams.

Add a correction here. What belongs to one family is decided, and described, where the family is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from scipy import stats

ALPHA: Final = 0.05


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Returns p-values after Holm's step-down correction (1979); a missing one is no member of the family."""
    present = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    running = 0.0
    for rank, (p, place) in enumerate(present):
        running = max(running, min(1.0, (len(present) - rank) * p))
        corrected[place] = running
    return corrected


def benjamini_hochberg(p_values: Sequence[float | None]) -> list[float | None]:
    """Returns p-values after the correction of Benjamini and Hochberg (1995); a missing one is no member."""
    places = [place for place, p in enumerate(p_values) if p is not None]
    corrected: list[float | None] = [None] * len(p_values)
    if places:
        found = stats.false_discovery_control(np.array([p_values[place] for place in places], dtype=np.float64))
        for place, p in zip(places, found.tolist(), strict=True):
            corrected[place] = p
    return corrected


def is_significant(p_value: float | None) -> bool | None:
    """Returns whether a (corrected) p-value is below 0.05; None where there is none."""
    return None if p_value is None else p_value < ALPHA
