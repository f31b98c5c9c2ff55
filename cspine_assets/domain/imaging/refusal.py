"""Why a series or a mask is refused: a cause to group by, beside the sentence for people.

Add a cause when a reason is met that none of these names; it goes into the tables' description too. What a reason
says stands where it is found.
"""

from __future__ import annotations

from enum import StrEnum

from cspine_assets.domain.errors import ConversionError


class Cause(StrEnum):
    """Kinds of failure; the value is the table's."""

    MISSING = "missing"
    DAMAGED = "damaged"
    UNSAFE_ARCHIVE = "unsafe_archive"
    WRONG_IDENTITY = "wrong_identity"
    MIXED_SERIES = "mixed_series"
    OTHER_KIND = "other_kind"
    SLICE_COUNT = "slice_count"
    REPEATED_SLICES = "repeated_slices"
    UNEVEN_SLICES = "uneven_slices"
    CONVERTER = "converter"
    DIFFERS_FROM_HEADERS = "differs_from_headers"
    DIFFERS_FROM_PIXELS = "differs_from_pixels"
    NOT_A_VOLUME = "not_a_volume"
    UNPLACED = "unplaced"
    NO_PICTURE = "no_picture"
    WORKER_DIED = "worker_died"
    UNEXPECTED = "unexpected"
    INTERPOLATED = "interpolated"
    STRANGE_LABELS = "strange_labels"
    OTHER_GRID = "other_grid"
    STRUCTURE_MISSING = "structure_missing"
    WRONG_CHECKSUM = "wrong_checksum"


class Refusal(ConversionError):
    """A series or mask that cannot be used, with its cause."""

    def __init__(self, cause: Cause, message: str) -> None:
        super().__init__(message)
        self.cause = cause

    def __reduce__(self) -> tuple[type[Refusal], tuple[Cause, str]]:
        """Lets it cross from a worker process."""
        return type(self), (self.cause, str(self))


def cause_of(error: ConversionError) -> Cause:
    """Returns the cause of an error; where it names none, the converter could not be run."""
    return error.cause if isinstance(error, Refusal) else Cause.CONVERTER
