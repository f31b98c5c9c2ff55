"""How far groups of patients differ in how well they are segmented, also at equal volumes.

Add here what compares groups. What a group is stands in ``groupings``, the tests in ``rank_tests``, success rates in
``success``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cspine_assets.domain.evaluation.bootstrap import median_difference_interval
from cspine_assets.domain.evaluation.groupings import MIN_EXAMS, Group, Grouping, scored_sets
from cspine_assets.domain.evaluation.multiplicity import benjamini_hochberg, is_significant
from cspine_assets.domain.evaluation.rank_tests import (
    AdjustedTest,
    RankTest,
    Sample,
    cliffs_delta,
    epsilon_squared,
    kruskal_wallis,
    mann_whitney_each,
    rank_ancova,
)
from cspine_assets.domain.evaluation.sets import COMPARED_METRICS, failed_array, typed, value_array
from cspine_assets.domain.evaluation.success import CRITERIA, Rate, rate_difference, rate_ratio
from cspine_assets.domain.tables.evaluation import GroupComparison
from cspine_assets.domain.tables.group_names import ALL

Values = NDArray[np.float64]
Row = dict[str, object]


def group_comparison(
    exam_metrics: pd.DataFrame, strata: pd.DataFrame, *, metrics: Sequence[str] = COMPARED_METRICS
) -> pd.DataFrame:
    """Returns ``evaluation.group_comparison``: each group against the largest of its grouping, and all at once.

    Benjamini and Hochberg's correction takes as one family all groupings and both structures of one set, predictor,
    metric and test. A group that is not reported, or has fewer than ten exams, has a row with its reason and no
    verdict.

    Args:
        exam_metrics: Rows of ``evaluation.exam_metrics``.
        strata: A row per exam: ``exam_id``, and a column of text per attribute, missing where it is not known.
        metrics: Columns to compare.
    """
    rows: list[Row] = []
    for scored in scored_sets(exam_metrics, strata):
        of_set = [
            {**scored.names(), "grouping": grouping.name, **row}
            for grouping in scored.groupings
            for row in _compare(grouping, scored.exams, metrics)
        ]
        rows += _corrected(of_set)
    return typed(GroupComparison, rows)


@dataclass(frozen=True)
class _Member:
    """A group's values of one predictor, structure and metric; beside them reference volumes, and what has failed."""

    group: Group
    scores: Values
    volumes: Values
    failed: NDArray[np.bool_]

    @property
    def reason(self) -> str | None:
        """Why the group is not compared, or None."""
        if not self.group.is_reported:
            return "not reported"
        return f"fewer than {MIN_EXAMS} exams" if len(self.scores) < MIN_EXAMS else None


@dataclass(frozen=True)
class _Subject:
    """One predictor, structure and metric, with all groups of a grouping, the reference first."""

    predictor: str
    structure: str
    metric: str
    members: tuple[_Member, ...]

    @property
    def compared(self) -> list[_Member]:
        """Groups large enough for a verdict."""
        return [member for member in self.members if member.reason is None]

    def names(self) -> Row:
        """Returns the columns that name the subject."""
        return {"predictor": self.predictor, "structure": self.structure, "metric": self.metric}


def _compare(grouping: Grouping, exams: pd.DataFrame, metrics: Sequence[str]) -> list[Row]:
    """Returns the rows of one grouping: pairs with the largest group, and all groups at once where they are three."""
    groups = grouping.groups_of(exams)
    if len(groups) < 2:
        return []
    subjects = _subjects(groups, exams, metrics)
    pairs = [(subject, member) for subject in subjects for member in subject.members[1:]]
    tests = iter(
        mann_whitney_each(
            [
                Sample(member.scores, subject.members[0].scores)
                for subject, member in pairs
                if _reason(subject, member) is None
            ]
        )
    )
    rows = [
        {
            **subject.names(),
            **_pair_row(subject, member, next(tests) if _reason(subject, member) is None else None),
        }
        for subject, member in pairs
    ]
    return rows + [{**subject.names(), **_overall_row(subject)} for subject in subjects if len(subject.compared) > 2]


def _subjects(groups: Sequence[Group], exams: pd.DataFrame, metrics: Sequence[str]) -> list[_Subject]:
    """Returns every predictor, structure and metric with its values in each group."""
    keys = ["predictor", "structure"]
    parts = [dict(iter(group.exams.groupby(keys))) for group in groups]
    named = exams[keys].drop_duplicates().sort_values(keys)
    return [
        _Subject(
            predictor,
            structure,
            metric,
            tuple(
                _member(group, part.get((predictor, structure)), metric)
                for group, part in zip(groups, parts, strict=True)
            ),
        )
        for (predictor, structure), metric in product(named.itertuples(index=False, name=None), metrics)
    ]


def _member(group: Group, rows: pd.DataFrame | None, metric: str) -> _Member:
    """Returns the values that are there, with their volumes."""
    if rows is None:
        return _Member(group, np.empty(0), np.empty(0), np.empty(0, np.bool_))
    scores, volumes = value_array(rows[metric]), value_array(rows["volume_reference_mm3"])
    present = ~np.isnan(scores)
    return _Member(group, scores[present], volumes[present], failed_array(rows["status"])[present])


def _reason(subject: _Subject, member: _Member) -> str | None:
    """Returns why a group is not compared with the largest one, or None."""
    reference = subject.members[0].reason
    return member.reason or (f"the reference has {reference}" if reference else None)


def _pair_row(subject: _Subject, member: _Member, test: RankTest | None) -> Row:
    """Returns the row of one group against the reference group."""
    reference = subject.members[0]
    row: Row = {
        "test": "mann_whitney",
        "group_value": member.group.value,
        "reference_value": reference.group.value,
        "n_groups": 2,
        "n": len(member.scores),
        "n_reference": len(reference.scores),
        "reason": _reason(subject, member),
    }
    if row["reason"] is not None:
        return row
    interval = median_difference_interval(member.scores, reference.scores)
    adjusted = rank_ancova([member.scores, reference.scores], [member.volumes, reference.volumes])
    return {
        **row,
        "median_difference": float(np.median(member.scores) - np.median(reference.scores)),
        "ci_low": interval.low,
        "ci_high": interval.high,
        "effect_size": cliffs_delta(member.scores, reference.scores),
        "volume_effect_size": cliffs_delta(member.volumes, reference.volumes),
        **_test_columns(test, adjusted),
        **_success_columns(subject.metric, member, reference),
    }


def _overall_row(subject: _Subject) -> Row:
    """Returns the row of all groups at once."""
    scores, volumes = ([getattr(one, name) for one in subject.compared] for name in ("scores", "volumes"))
    count = sum(len(values) for values in scores)
    test, of_volume = kruskal_wallis(scores), kruskal_wallis(volumes)
    return {
        "test": "kruskal_wallis",
        "group_value": ALL,
        "reference_value": ALL,
        "n_groups": len(scores),
        "n": count,
        "n_reference": None,
        "reason": None,
        "effect_size": epsilon_squared(test.statistic, count) if test else None,
        "volume_effect_size": epsilon_squared(of_volume.statistic, count) if of_volume else None,
        **_test_columns(test, rank_ancova(scores, volumes)),
    }


def _test_columns(test: RankTest | None, adjusted: AdjustedTest | None) -> Row:
    """Returns what a test found, plain and at equal volumes."""
    return {
        "statistic": test.statistic if test else None,
        "p_value": test.p_value if test else None,
        "statistic_at_equal_volume": adjusted.statistic if adjusted else None,
        "p_value_at_equal_volume": adjusted.p_value if adjusted else None,
        "effect_size_at_equal_volume": adjusted.effect_size if adjusted else None,
    }


def _success_columns(metric: str, member: _Member, reference: _Member) -> Row:
    """Returns both success rates, their difference and their ratio; nothing for a metric without a criterion."""
    criterion = CRITERIA.get(metric)
    if criterion is None:
        return {}
    first, second = (
        Rate(criterion.count(one.scores, failed=one.failed), len(one.scores)) for one in (member, reference)
    )
    difference, ratio = rate_difference(first, second), rate_ratio(first, second)
    return {
        "success_rate": first.share,
        "success_rate_reference": second.share,
        "success_difference": difference.value,
        "success_difference_ci_low": difference.interval.low,
        "success_difference_ci_high": difference.interval.high,
        "success_ratio": ratio.value,
        "success_ratio_ci_low": ratio.interval.low,
        "success_ratio_ci_high": ratio.interval.high,
    }


def _corrected(rows: Sequence[Row]) -> list[Row]:
    """Returns a set's rows with both p-values corrected within their families."""
    families: defaultdict[tuple[object, ...], list[Row]] = defaultdict(list)
    for row in rows:
        families[row["predictor"], row["metric"], row["test"]].append(row)
    found = []
    for family in families.values():
        plain, at_equal_volume = (
            benjamini_hochberg([_number(row.get(name)) for row in family])
            for name in ("p_value", "p_value_at_equal_volume")
        )
        for row, p, p_at_equal_volume in zip(family, plain, at_equal_volume, strict=True):
            found.append(
                {
                    **row,
                    "p_value_bh": p,
                    "p_value_bh_at_equal_volume": p_at_equal_volume,
                    "significant": is_significant(p),
                    "significant_at_equal_volume": is_significant(p_at_equal_volume),
                }
            )
    return found


def _number(value: object) -> float | None:
    """Returns a number or None as such: rows hold values of every column."""
    return value if isinstance(value, float) else None
