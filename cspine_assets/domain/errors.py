"""The errors that a person can act on.

Raise one of these wherever the cause lies outside the code: a file, a table, a folder, a setting.
The command line prints the message alone, without a traceback, and ends with a status other than 0.
Programming errors keep Python's own exceptions.
"""


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
