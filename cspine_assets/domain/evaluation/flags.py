"""What can be said about a level beside its score, and how much weight it has.

Add a flag when a new finding bears on a level. Finding it is the work of the modules that look at the masks.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Final


class Severity(StrEnum):
    """Weight of a level's flags."""

    NONE = "none"
    NOTE = "note"
    NAME_UNSURE = "name_unsure"


class Flag(StrEnum):
    """A finding that bears on a level; the value is what the table holds."""

    TOP_NOT_C2 = "top_body_not_like_c2"
    TOP_STATED = "top_body_stated_by_person"
    STATED_CONTRADICTED = "mask_contradicts_stated_top"
    COUNT_SETTLES = "settled_by_count_of_bodies"
    DISC_ABOVE_TOP = "disc_above_top_body"
    SPINE_ACROSS = "spine_not_superior_inferior"
    BODIES_FUSED = "bodies_fused"
    BODY_MISSING = "body_missing"
    BODIES_TOO_FEW = "fewer_bodies_than_c2_to_t1"
    BODIES_TOO_MANY = "more_bodies_than_c2_to_t1"
    BODY_IN_PIECES = "body_in_pieces"
    BODIES_IN_CONTACT = "bodies_in_contact"
    ONE_BODY_OR_TWO = "one_body_or_two"
    BODY_ASIDE = "body_component_beside_spine"
    DISC_ASIDE = "disc_component_beside_spine"
    DISC_IN_PIECES = "disc_in_pieces"
    DISCS_MERGED = "discs_merged"
    PREDICTION_IN_PIECES = "prediction_in_pieces"
    PREDICTION_MERGED = "prediction_merged"
    PREDICTION_AWAY = "prediction_beside_reference"
    PREDICTION_EXTRA = "prediction_extra_component"
    VOXELS_UNSURE = "score_hinges_on_doubtful_voxels"
    SPECKS = "specks_left_out"
    COMPONENTS_EXTRA = "more_than_six_components"


_NAME_UNSURE: Final = frozenset(
    {
        Flag.TOP_NOT_C2,
        Flag.STATED_CONTRADICTED,
        Flag.DISC_ABOVE_TOP,
        Flag.SPINE_ACROSS,
        Flag.BODIES_FUSED,
        Flag.ONE_BODY_OR_TWO,
        Flag.BODY_MISSING,
        Flag.BODIES_TOO_FEW,
        Flag.BODIES_TOO_MANY,
        Flag.VOXELS_UNSURE,
        Flag.COMPONENTS_EXTRA,
    }
)
"""Findings after which the name of a level may be wrong, or that of voxels on which its score hinges; all others leave
both as they are."""


def severity_of(flags: Iterable[Flag]) -> Severity:
    """Returns the weight of a level's flags: that of the heaviest, or none without flags."""
    present = set(flags)
    if present & _NAME_UNSURE:
        return Severity.NAME_UNSURE
    return Severity.NOTE if present else Severity.NONE


def flags_text(flags: Iterable[Flag]) -> str | None:
    """Returns the flags as a table holds them, sorted and joined by a comma; None without flags."""
    return ",".join(sorted(flags)) or None
