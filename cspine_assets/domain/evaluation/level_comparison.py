"""How much the levels of the spine differ in how well they are segmented: every pair of levels.

Add here what is particular to comparing levels. How a level gets its name and its score stands in ``levels``, the
protocols in ``protocols``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Final

import numpy as np
import pandas as pd

from cspine_assets.domain.anatomy import DISC_LEVELS, VERTEBRAE
from cspine_assets.domain.evaluation.bootstrap import median_difference_interval
from cspine_assets.domain.evaluation.flags import Severity
from cspine_assets.domain.evaluation.level_score import Protocol
from cspine_assets.domain.evaluation.protocols import Verdict, judge_as_published, judge_paired
from cspine_assets.domain.evaluation.rank_tests import Sample
from cspine_assets.domain.evaluation.sets import typed, value_array, with_set_name
from cspine_assets.domain.tables.evaluation import LevelComparison

_ORDER: Final = (*VERTEBRAE, *DISC_LEVELS)
_SUBJECT: Final = ("set_name", "profile", "split_sha256", "predictor", "structure", "view", "naming")


def level_comparison(level_metrics: pd.DataFrame) -> pd.DataFrame:
    """Returns ``evaluation.level_comparison``: all pairs of levels of each structure, by both protocols.

    The levels of one exam are paired: an exam that is hard is hard at all of them. A level whose name may be wrong
    (severity ``name_unsure``) is not compared and is counted; so is an exam that has no Dice at one of the two. By the
    published naming every exam that its rule scores is compared, as in the published study, whose rule doubts no name.
    Holm's correction takes the pairs of one set, predictor, structure, view and naming as one family. The published
    study drew no bootstrap of levels; the unpaired interval is that of groups, from draws that pairs share.

    Args:
        level_metrics: Rows of ``evaluation.level_metrics``.
    """
    named = with_set_name(level_metrics).rename(columns={"protocol": "naming"})
    rows: list[dict[str, object]] = []
    for key, levels in named.groupby(list(_SUBJECT), sort=True):
        subject = dict(zip(_SUBJECT, key, strict=True))
        rows += [{**subject, **row} for row in _compare(levels)]
    return typed(LevelComparison, rows)


@dataclass(frozen=True)
class _Counts:
    """Where the exams of a pair went: compared on the same exams, unsure and without make all of them."""

    n_exams: int
    n_a: int
    n_b: int
    n_unsure: int
    n_without: int


@dataclass(frozen=True)
class _Pair:
    """Two levels: their Dice on the exams that have both, and on all exams that have either."""

    level_a: str
    level_b: str
    same_exams: Sample
    all_exams: Sample
    n_exams: int
    n_scored: int

    def counts(self, compared: Sample) -> _Counts:
        """Returns the counts of a row that compares these values."""
        return _Counts(
            n_exams=self.n_exams,
            n_a=len(compared.first),
            n_b=len(compared.second),
            n_unsure=self.n_scored - len(self.same_exams.first),
            n_without=self.n_exams - self.n_scored,
        )


def _compare(levels: pd.DataFrame) -> list[dict[str, object]]:
    """Returns the rows of one family: all pairs by the paired protocol, then all by the published one."""
    pairs = _pairs_of(levels)
    paired, published = [pair.same_exams for pair in pairs], [pair.all_exams for pair in pairs]
    return [
        _row(pair, compared, verdict)
        for samples, verdicts in (
            (paired, judge_paired(paired)),
            (published, judge_as_published(published, interval=median_difference_interval)),
        )
        for pair, compared, verdict in zip(pairs, samples, verdicts, strict=True)
    ]


def _pairs_of(levels: pd.DataFrame) -> Sequence[_Pair]:
    """Returns all pairs of levels in the order of the spine."""
    scored = _dice(levels, levels)
    is_compared = (levels["severity"] != Severity.NAME_UNSURE) | (levels["naming"] == Protocol.PAPER)
    dice = _dice(levels[is_compared], levels)
    pairs = []
    for a, b in combinations(scored.columns, 2):
        both = dice[[a, b]].dropna()
        pairs.append(
            _Pair(
                level_a=a,
                level_b=b,
                same_exams=Sample(value_array(both[a]), value_array(both[b])),
                all_exams=Sample(value_array(dice[a].dropna()), value_array(dice[b].dropna())),
                n_exams=len(scored),
                n_scored=len(scored[[a, b]].dropna()),
            )
        )
    return pairs


def _dice(shown: pd.DataFrame, levels: pd.DataFrame) -> pd.DataFrame:
    """Returns the Dice of the shown rows, with a row for every exam and a column for every level there is."""
    return shown.pivot_table(index="exam_id", columns="level", values="dice", aggfunc="first").reindex(
        index=sorted(levels["exam_id"].unique()), columns=sorted(levels["level"].unique(), key=_ORDER.index)
    )


def _row(pair: _Pair, compared: Sample, verdict: Verdict) -> dict[str, object]:
    """Returns one row of the table."""
    found = verdict.as_columns()
    # the counts say more than one number would
    del found["n"]
    medians = {
        name: float(np.median(values)) if len(values) else None
        for name, values in (("median_a", compared.first), ("median_b", compared.second))
    }
    return {
        "level_a": pair.level_a,
        "level_b": pair.level_b,
        **asdict(pair.counts(compared)),
        **medians,
        **found,
    }
