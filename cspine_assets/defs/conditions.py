"""When an asset asks for itself, and when the page calls it old.

Add a condition where it can say in one place what a sensor would have to find out. What a run then really makes is
decided by fingerprints: a request too many costs a look.
"""

from datetime import timedelta
from typing import Any

import dagster as dg

from cspine_assets.domain.tables.base import Table

Condition = dg.AutomationCondition[Any]

_FOLLOWS = ("evaluation", "warehouse")

WARN_DAYS, FAIL_DAYS = 8, 15
"""A weekly re-evaluation has been left out once, or twice; one that finds nothing to do confirms what stands."""

_WATCHED = ("evaluation.exam_metrics", "evaluation.level_metrics", "warehouse.database")


def condition_of(table: type[Table], partitions_def: dg.PartitionsDefinition | None) -> Condition | None:
    """Returns when a table asks for itself: those of evaluation and warehouse follow what they are made from.

    No other does. A conversion follows the download, which lies outside of Dagster, and is asked for by a sensor;
    predictions follow ten models that must all be there, which no condition on one of them can say; and a training is
    days of a GPU that a person decides on.
    """
    if table.schema_name() not in _FOLLOWS:
        return None
    return follows_all() if partitions_def is None else follows_its_own()


def follows_all() -> Condition:
    """A whole table is asked for once after something that it is made from was made, when no more of that is under way.

    It replaces a sensor that would watch the materializations of every parent. It does not wait for parents that are
    missing, as ``eager`` would: a patient who fails stays missing, and the tables over all patients go on without.
    Nor does it ask for what has never been made: the first time is a person's.
    """
    changed = dg.AutomationCondition.any_deps_updated().since_last_handled()
    return (changed & _quiet()).with_label("follows what it is made from")


def follows_its_own() -> Condition:
    """A patient, or an external predictor, is asked for once after what it is made from was made, when that is whole.

    It replaces a sensor with a cursor per patient. One whose parents are missing is not asked for, and one that failed
    is not asked for again until a parent changes: ``since_last_handled`` counts the request, not its success.
    """
    changed = dg.AutomationCondition.any_deps_updated().since_last_handled()
    whole = ~dg.AutomationCondition.any_deps_missing()
    return (changed & whole & _quiet()).with_label("follows its own parents")


def _quiet() -> Condition:
    """Neither the asset nor what it is made from is being made."""
    return ~dg.AutomationCondition.any_deps_in_progress() & ~dg.AutomationCondition.in_progress()


def freshness_of(table: type[Table]) -> dg.FreshnessPolicy | None:
    """Returns how old a table may become: metrics and database, by when they were made or confirmed last."""
    if table.full_name() not in _WATCHED:
        return None
    return dg.FreshnessPolicy.time_window(warn_window=timedelta(days=WARN_DAYS), fail_window=timedelta(days=FAIL_DAYS))


def is_watched(table: type[Table]) -> bool:
    """Whether the table has a freshness policy, and is to be confirmed when it was found up to date."""
    return table.full_name() in _WATCHED
