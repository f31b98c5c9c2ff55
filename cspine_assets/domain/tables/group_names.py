"""Names of groups of exams and patients, as every table and view spells them.

Add a name here when more than one wing tells groups by it. Which group an exam is in is the cohort's, what is found of
groups the evaluation's.
"""

from __future__ import annotations

from typing import Final

ALL: Final = "all"
"""Grouping, and its one group, of all exams."""

NOT_REPORTED: Final = "Not Reported"
"""The release's own word for what is not known; of attributes that it leaves empty too."""

NOMINAL_PER_TESLA: Final = 2
"""Nominal field strengths lie on half teslas: 1.5 T and 3 T are the clinical ones, and 0.5 T and 1 T exist."""

AGE_BANDS: Final = (
    (0, 40, "under 40"),
    (40, 50, "40-49"),
    (50, 60, "50-59"),
    (60, 70, "60-69"),
    (70, 90, "70 and over"),
)
"""Decades around the published mean of 54.5 years (SD 16.4), the sparse ends pooled."""
