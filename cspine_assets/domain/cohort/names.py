"""How the release names its shipped files: after their exam, with an ending that tells a scan from its mask.

Add a rule when a release or a person's list names files in another way. What a name is looked up for, and whether the
exam is there, belongs to whoever asks.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import pandas as pd

IMAGE_ENDING: Final = ".nii.gz"
MASK_ENDING: Final = "_SEG.nii.gz"


def file_names(paths: pd.Series[str]) -> pd.Series[str]:
    """Returns names without the folders that a table may put before them."""
    return paths.str.rsplit("/", n=1).str[-1]


def exam_ids(names: pd.Series[str]) -> pd.Series[str]:
    """Returns the exams that shipped files are named after; another name stays as it is."""
    return names.str.replace(r"(_SEG)?\.nii\.gz$", "", regex=True)


def exam_key(name: str) -> str:
    """Returns the exam of a file name in a person's list, or the text itself where it is an exam or a series id."""
    return re.sub(r"(_SEG)?\.nii(\.gz)?$", "", name.strip().rsplit("/", maxsplit=1)[-1])
