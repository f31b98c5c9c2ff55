"""The errors that a person can act on.

Raise one of these wherever the cause lies outside the code: a file, a table, a folder, a setting.
The command line prints the message alone, without a traceback, and ends with a status other than 0.
Programming errors keep Python's own exceptions; where one exam must not stop the others, they become its reason.
"""

import os
import traceback
from pathlib import Path


class CSpineError(Exception):
    """One clear message: what was expected, what came, in which file or exam, and what to do."""


class SourceError(CSpineError):
    """The MIDRC download is missing, incomplete, or not what it should be."""


class TableError(CSpineError):
    """A table does not fit its description: a column, a type, a key or a value."""


class ConversionError(CSpineError):
    """A DICOM series cannot become one trustworthy 3-D volume."""


class GeometryError(CSpineError):
    """Two images that should share a voxel grid do not."""


class ModelError(CSpineError):
    """A model is missing, unreadable, or its child process failed."""


class HomeError(CSpineError):
    """The working folder cannot be used: not writable, or it belongs to another study."""


def unexpected_reason(subject: str, error: Exception) -> str:
    """Returns the reason for an error that nobody foresaw; its message is left out, as it may quote a header or a name.

    Args:
        subject: What it happened to, such as an exam.
        error: The error as it was caught; what the system says of a file (no space, no leave) is repeated.
    """
    place = traceback.extract_tb(error.__traceback__)[-1]
    where = f"in {Path(place.filename).name}:{place.lineno}"
    if isinstance(error, OSError) and error.errno:
        return (
            f"{subject}: expected to read and write files, got '{os.strerror(error.errno)}' ({where}). "
            "Look at the disk and its rights, and call again."
        )
    return f"{subject}: unexpected {type(error).__name__} {where}. Please report it with a description of the exam."
