"""Findings: one row per thing that is wrong with a cohort, in the form that every check returns.

Add here what all checks share. The checks themselves stand beside what they check: ``exams``, ``provenance``
and ``integrity``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

import pandas as pd

from cspine_assets.domain.tables.base import empty_frame, validate
from cspine_assets.domain.tables.cohort import Findings


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        check_name: Check that found it.
        severity: ``blocks`` or ``warns``.
        table_name: Table or file where it was found.
        subject: Key or file concerned.
        message: What was expected, what came, and what to do.
        exam_id: Exam concerned, where it is one.
    """

    check_name: str
    severity: str
    table_name: str
    subject: str
    message: str
    exam_id: str | None = None


def findings_frame(findings: Iterable[Finding]) -> pd.DataFrame:
    """Returns findings as rows of ``cohort.findings``; a healthy cohort has none."""
    rows = [asdict(finding) for finding in findings]
    return validate(Findings, pd.DataFrame(rows)) if rows else empty_frame(Findings)


def bare(cells: pd.Series[str]) -> pd.Series[str]:
    """Returns the one value of cells such as ``['593973-000001']``; other text stays as it is."""
    return cells.str.strip("[](){}'\" ")
