"""Groups of exams: by one attribute, by two crossed, and which of them are large enough for a verdict.

Add here what describing and comparing groups have in common. The attributes come as a table, so that any will do;
those of the study are made in the cohort wing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import pandas as pd

from cspine_assets.domain.evaluation.sets import mixed_set_name, sides, with_set_name, with_worst_case
from cspine_assets.domain.tables.base import TEXT
from cspine_assets.domain.tables.group_names import ALL, NOT_REPORTED

MIN_EXAMS: Final = 10
"""No verdict on a group of fewer exams: one of them would move its median."""

PROVENANCE: Final = "provenance"


@dataclass(frozen=True)
class Grouping:
    """A partition of exams.

    Attributes:
        name: The attribute, or two of them: ``sex``, ``sex x race``.
        values: Group of each exam, by ``exam_id``: ``Female``, ``Female x White``.
    """

    name: str
    values: pd.Series[str]

    def groups_of(self, exams: pd.DataFrame) -> list[Group]:
        """Returns the groups that these rows have, the largest first, those not reported last.

        Args:
            exams: Rows of ``evaluation.exam_metrics``.
        """
        value = exams["exam_id"].map(self.values).fillna(NOT_REPORTED)
        groups = [Group(str(name), rows) for name, rows in exams.groupby(value, sort=True)]
        return sorted(groups, key=lambda group: (not group.is_reported, -group.exam_count, group.value))


@dataclass(frozen=True)
class Group:
    """One group of a grouping.

    Attributes:
        value: Its value.
        exams: Its rows of ``evaluation.exam_metrics``, of all predictors and structures.
    """

    value: str
    exams: pd.DataFrame

    @property
    def is_reported(self) -> bool:
        """Whether every attribute of the group is known; a group without is described and never compared."""
        return NOT_REPORTED not in self.value

    @property
    def exam_count(self) -> int:
        """How many exams it has."""
        return int(self.exams["exam_id"].nunique())


@dataclass(frozen=True)
class ScoredSet:
    """Exams that may stand in one table, and how they are grouped.

    Attributes:
        set_name: Name of the set, with the provenance of its reference masks.
        profile: Profile of the models.
        split_sha256: Split that they were trained by.
        exams: Rows of ``evaluation.exam_metrics``, distances at their worst case where a mask is empty.
        groupings: All that apply.
    """

    set_name: str
    profile: str
    split_sha256: str
    exams: pd.DataFrame
    groupings: tuple[Grouping, ...]

    def names(self) -> dict[str, object]:
        """Returns the columns that name the set."""
        return {"set_name": self.set_name, "profile": self.profile, "split_sha256": self.split_sha256}


def scored_sets(exam_metrics: pd.DataFrame, strata: pd.DataFrame) -> Iterator[ScoredSet]:
    """Yields each set with its groupings: every attribute, and every two of them crossed.

    Masks of experts and of models stand in one set only to be compared with each other: where a set has both, it
    comes once more as ``cv_mixed`` or ``test_mixed``, grouped by provenance alone and crossed.

    Args:
        exam_metrics: Rows of ``evaluation.exam_metrics``.
        strata: A row per exam: ``exam_id``, and a column of text per attribute, missing where it is not known.
    """
    attributes = _attributes(strata, exam_metrics)
    everybody = Grouping(ALL, pd.Series(ALL, index=attributes.index))
    plain = (everybody, *_crossed(attributes.drop(columns=PROVENANCE)))
    by_provenance = tuple(one for one in _crossed(attributes) if PROVENANCE in one.name.split(" x "))
    scored = with_worst_case(with_set_name(exam_metrics))
    for (name, profile, split), exams in scored.groupby(["set_name", "profile", "split_sha256"], sort=True):
        yield ScoredSet(str(name), str(profile), str(split), exams, plain)
    by_side = scored.assign(side=sides(scored["set"]))
    for (name, profile, split), exams in by_side.groupby(["side", "profile", "split_sha256"], sort=True):
        if len(set(exams["annotation_provenance"])) > 1:
            yield ScoredSet(mixed_set_name(str(name)), str(profile), str(split), exams, by_provenance)


def _attributes(strata: pd.DataFrame, exam_metrics: pd.DataFrame) -> pd.DataFrame:
    """Returns the attributes of every scored exam, provenance first."""
    provenance = exam_metrics.drop_duplicates("exam_id").set_index("exam_id")["annotation_provenance"]
    known = strata.set_index("exam_id").reindex(provenance.index)
    return known.assign(**{PROVENANCE: provenance})[[PROVENANCE, *known.columns]].astype(TEXT).fillna(NOT_REPORTED)


def _crossed(attributes: pd.DataFrame) -> Iterator[Grouping]:
    """Yields a grouping per attribute, then one per two of them."""
    for name in attributes.columns:
        yield Grouping(name, attributes[name])
    for one, other in combinations(attributes.columns, 2):
        yield Grouping(f"{one} x {other}", attributes[one] + " x " + attributes[other])
