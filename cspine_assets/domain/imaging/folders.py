"""Folders that hold the instances of a series and nothing else, so that they can be converted as they lie.

Add here what makes such a folder. Whatever is not as plain as this is laid out file by file by ``archive``, and what
the headers say is no matter of this module.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

DICOM_MARK: Final = b"DICM"
MARK_OFFSET: Final = 128

TELLS_NOTHING: Final = re.compile(r"(\d+(\.\d+){3,}|[a-z]{0,3}0*\d{1,4})(\.dcm|\.ima)?", re.I)
"""Names that say nothing about a person: UIDs, and the running numbers of scanners and viewers. Any other might be
repeated by the converter."""

_DEEPEST: Final = 3
"""Folders within the folder: dcm2niix looks five deep, and the series lies in one of many."""


def instances_alone(folder: Path, *, at_most: int) -> tuple[Path, ...] | None:
    """Returns the instances of a folder in the order of their names; None where it holds anything else, or too many.

    Args:
        folder: Without a link in its own path.
        at_most: So many files are looked at.

    Raises:
        OSError: A folder in it cannot be listed: slices in there would be missing without a word.
    """
    files: list[str] = []
    for where, folders, names in os.walk(folder, onerror=refuse_unseen):
        depth = len(Path(where).parts) - len(folder.parts)
        if folders and (depth >= _DEEPEST or any(Path(where, name).is_symlink() for name in folders)):
            return None
        if len(files) + len(names) > at_most or not all(map(TELLS_NOTHING.fullmatch, (*folders, *names))):
            return None
        files += [f"{where}{os.sep}{name}" for name in names]
    found = tuple(map(Path, sorted(files)))
    return found if found and all(map(_is_instance, found)) else None


def refuse_unseen(error: OSError) -> None:
    """Ends a walk at a folder that cannot be listed; it would be passed over otherwise."""
    raise error


def _is_instance(file: Path) -> bool:
    if not file.is_file():
        return False
    with file.open("rb", buffering=0) as stream:
        return stream.read(MARK_OFFSET + len(DICOM_MARK))[MARK_OFFSET:] == DICOM_MARK
