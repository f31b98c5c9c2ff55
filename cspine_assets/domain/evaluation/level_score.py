"""What the score of one level is, whatever rule named it.

Add a view, a protocol or a status here. Finding and measuring levels stand in the modules of each protocol.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from cspine_assets.domain.anatomy import LEVELS, Structure
from cspine_assets.domain.evaluation.flags import Flag, Severity, severity_of
from cspine_assets.domain.evaluation.overlap import Status
from cspine_assets.domain.evaluation.top_body import Confidence


class View(StrEnum):
    """What of a level is compared."""

    MID_SAGITTAL = "mid_sagittal"
    VOLUME = "3d"


class Protocol(StrEnum):
    """How levels get their names."""

    ANATOMICAL = "anatomical"
    PAPER = "paper"


class LevelStatus(StrEnum):
    """What became of a level; only the first three have a Dice."""

    OK = "ok"
    MISSED = "missed"
    SPURIOUS = "spurious"
    ABSENT = "absent"
    EXCLUDED = "excluded"


LEVEL_STATUS: Final = {
    Status.OK: LevelStatus.OK,
    Status.MISSED: LevelStatus.MISSED,
    Status.SPURIOUS: LevelStatus.SPURIOUS,
    Status.BOTH_EMPTY: LevelStatus.ABSENT,
}
"""What the status of its voxels says about a level."""


@dataclass(frozen=True)
class LevelScore:
    """One level of one structure in one exam.

    Attributes:
        structure: Bodies or discs.
        level: Such as ``C3`` or ``C2/C3``.
        view: The middle slice, or the volume.
        protocol: How the level got its name.
        status: ``absent`` where neither mask has the level, ``excluded`` where the protocol cannot say.
        dice: 2 TP / (2 TP + FP + FN) of the level's voxels in the view; None where it is absent or excluded.
        flags: Findings that bear on the level.
        reason: Why there is no Dice; None where there is one.
        confidence: How sure the name is; None for a protocol that knows no doubt.
        named_by: By what the levels were named, in words.
    """

    structure: Structure
    level: str
    view: View
    protocol: Protocol
    status: LevelStatus
    dice: float | None
    flags: tuple[Flag, ...]
    reason: str | None
    confidence: Confidence | None = None
    named_by: str | None = None

    @property
    def severity(self) -> Severity:
        """Weight of the flags."""
        return severity_of(self.flags)


def all_excluded(
    structure: Structure,
    view: View,
    protocol: Protocol,
    *,
    reason: str,
    flags: tuple[Flag, ...],
    confidence: Confidence | None = None,
    named_by: str | None = None,
) -> list[LevelScore]:
    """Returns all levels of a structure, which share one reason for having no score."""
    return [
        LevelScore(structure, level, view, protocol, LevelStatus.EXCLUDED, None, flags, reason, confidence, named_by)
        for level in LEVELS[structure]
    ]
