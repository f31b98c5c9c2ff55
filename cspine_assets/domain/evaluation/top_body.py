"""What the topmost body is called, and by what: the field of view, its shape, the count, or a person's word.

Add another piece of evidence here, for or against. What the bodies are stands in the column, which levels a finding
touches in the frame.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from cspine_assets.domain.anatomy import VERTEBRAE
from cspine_assets.domain.evaluation.flags import Flag, Severity, severity_of


class Confidence(StrEnum):
    """How sure the name of a level is."""

    STATED = "stated"
    HIGH = "high"
    MODERATE = "moderate"
    LOW = "low"


class Source(StrEnum):
    """Where a stated name of the topmost body comes from; the value is what a row says."""

    COHORT = "the cohort's setting"
    EXAM = "the table of exams"


@dataclass(frozen=True)
class StatedTop:
    """What a person says the topmost body is.

    Attributes:
        level: Its name, C2 to T1.
        source: Where it was said.
    """

    level: str
    source: Source

    @property
    def index(self) -> int:
        """Index of the body, 0 is C2."""
        return VERTEBRAE.index(self.level)


@dataclass(frozen=True)
class TopEvidence:
    """What bears on the name of the topmost body.

    Attributes:
        room_above_mm: How far the field of view goes on above it along the spine, with no body annotated there.
        is_open_above: Whether that is more than a body and a disc, so that a body above would be seen.
        is_annotated_above: Whether a component as large as a body was left out above it.
        has_dens: Whether it shows the dens.
        is_counted: Whether the bodies are exactly C2 to T1, and another one below would be seen.
        stated: What a person says, or None.
    """

    room_above_mm: float
    is_open_above: bool
    is_annotated_above: bool
    has_dens: bool
    is_counted: bool
    stated: StatedTop | None = None

    @property
    def is_named(self) -> bool:
        """Whether the topmost body has its name for sure, unless something else contradicts it.

        No body lies above C2, for C1 has none: where the field of view goes on and nothing is annotated there, the
        topmost body is C2 whatever its shape. Where it does not, the dens tells.
        """
        return self.stated is not None or self.has_dens or (self.is_open_above and not self.is_annotated_above)

    @property
    def flags(self) -> set[Flag]:
        """What is to be noted about all levels."""
        found = set() if self.is_named else {Flag.TOP_NOT_C2}
        if self.stated is not None:
            found.add(Flag.TOP_STATED)
            if self.stated.index > 0 and self.has_dens:
                found.add(Flag.STATED_CONTRADICTED)
        return found

    @property
    def confidence(self) -> Confidence:
        """How sure the name is as far as this goes: high where two pieces of evidence agree."""
        if self.stated is not None:
            return Confidence.STATED
        if not self.is_named:
            return Confidence.LOW
        reasons = (self.has_dens, self.is_open_above and not self.is_annotated_above, self.is_counted)
        return Confidence.HIGH if sum(reasons) > 1 else Confidence.MODERATE

    def words(self) -> str:
        """Returns in words by what the levels were named."""
        if self.stated is not None:
            return f"{self.stated.source} says that the topmost body is {self.stated.level}"
        said = []
        if self.is_open_above and not self.is_annotated_above:
            said.append(f"field of view goes on {self.room_above_mm:.0f} mm above the topmost body")
        if self.has_dens:
            said.append("topmost body shows the dens")
        if self.is_counted:
            said.append(f"{len(VERTEBRAE)} bodies, and room for one more below")
        if said:
            return "; ".join(said)
        if self.is_annotated_above:
            return "nothing: something is annotated above the topmost body"
        return f"nothing: field of view ends {self.room_above_mm:.0f} mm above the topmost body, and no dens is drawn"


def confidence_of(flags: Iterable[Flag], top: TopEvidence | None) -> Confidence:
    """Returns how sure the name of one level is.

    Args:
        flags: What was found about the level.
        top: What the topmost body's name stands on; None without any body.
    """
    if top is None or severity_of(flags) is Severity.NAME_UNSURE:
        return Confidence.LOW
    return top.confidence


UNKNOWN: Final = "nothing: the reference has no vertebral body"
"""In words, where there is no topmost body."""
