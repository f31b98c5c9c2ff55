"""The tables of a cohort that its checks hold against each other.

Add a table when a check needs one more. What is compared stands in ``integrity`` and ``listed_files``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import pandas as pd

from cspine_assets.domain.cohort.rejected_rows import RejectedRow

MANIFEST_COLUMNS: Final = ("row", "instance_uid", "series_uid", "study_uid", "patient_id", "file_name", "md5sum")
"""What the checks look at in ``midrc.image_manifest``, which may have a million rows."""


@dataclass(frozen=True, kw_only=True)
class CohortTables:
    """The tables that are held against each other; the six of the release, its files, and what was made of them.

    Of the image manifest the ``MANIFEST_COLUMNS`` are enough. ``rejected`` are the rows of the release's tables that
    could not be used.
    """

    cases: pd.DataFrame
    studies: pd.DataFrame
    series: pd.DataFrame
    annotation_files: pd.DataFrame
    image_manifest: pd.DataFrame
    clinical_manifest: pd.DataFrame
    files: pd.DataFrame
    exams: pd.DataFrame
    provenance: pd.DataFrame
    rejected: tuple[RejectedRow, ...] = ()
