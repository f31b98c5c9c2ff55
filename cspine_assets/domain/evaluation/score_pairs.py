"""Two files of scores of the same cases, paired by name and compared structure by structure.

Add here what a comparison of files needs and the platform's own tables do not. The tests stand in ``protocols``;
nothing of the platform is loaded here.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cspine_assets.domain.errors import CSpineError
from cspine_assets.domain.evaluation.protocols import Verdict, judge_as_published, judge_paired
from cspine_assets.domain.evaluation.rank_tests import Sample, difference_of
from cspine_assets.domain.evaluation.score_reading import STRUCTURE, read_scores


@dataclass(frozen=True)
class StructureComparison:
    """What is found of one structure.

    Attributes:
        structure: Its name, ``all`` where the files have no such column.
        only_in_a: Cases that only file a has.
        only_in_b: Cases that only file b has.
        without_value: Cases of both that lack a value in one: scored as empty in both masks, or failed.
        n: Cases compared.
        mean_a: Mean of a over them.
        mean_b: Mean of b over them.
        median_a: Median of a over them.
        median_b: Median of b over them.
        higher_in_a: Cases where a is higher.
        higher_in_b: Cases where b is higher.
        equal: Cases where both are equal.
        paired: Wilcoxon signed-rank, rank-biserial effect and paired bootstrap, Holm over the structures.
        paper: The published study's Mann-Whitney U and unpaired bootstrap.
        case_order: Order in which the bootstraps draw cases: ``natural`` (case_2 before case_10) where both files have
            them so, else ``text``.
    """

    structure: str
    only_in_a: list[str]
    only_in_b: list[str]
    without_value: list[str]
    n: int
    mean_a: float | None
    mean_b: float | None
    median_a: float | None
    median_b: float | None
    higher_in_a: int
    higher_in_b: int
    equal: int
    paired: Verdict
    paper: Verdict
    case_order: str


@dataclass(frozen=True)
class FileComparison:
    """Two files compared on one metric."""

    a: Path
    b: Path
    metric: str
    key: str
    structures: list[StructureComparison]

    def as_json(self) -> str:
        """Returns everything that was found as JSON; a number that is not finite is null."""
        return json.dumps(
            {
                "a": str(self.a),
                "b": str(self.b),
                "metric": self.metric,
                "key": self.key,
                "structures": [_as_record(one) for one in self.structures],
            },
            indent=2,
            allow_nan=False,
        )


def compare_files(a: Path, b: Path, *, metric: str, key: str) -> FileComparison:
    """Returns the comparison of two files of scores: CSV, Parquet or JSON, by their endings.

    An infinite distance counts with the volume's diagonal where the file has ``diagonal_mm``; without it the tests go
    by rank, and a mean, median or interval that is not finite is None.

    Args:
        a: Scores of one predictor, a row per case, or per case and ``structure``.
        b: Scores of the other.
        metric: Column of both that is compared.
        key: Column of both that names the case.

    Raises:
        CSpineError: A file cannot be read, lacks a column, names a case twice or has a value that is no number; one
            has structures and the other has not; or no case is in both.
    """
    first, second = (read_scores(path, metric=metric, key=key) for path in (a, b))
    if first.has_structures != second.has_structures:
        with_column, without = (a, b) if first.has_structures else (b, a)
        raise CSpineError(
            f"{with_column} has a column {STRUCTURE} and {without} has none: expected both or neither. "
            "Add the column, or keep the rows of one structure and remove it."
        )
    names = sorted(first.structures | second.structures)
    pairs = [_pair(name, first.of(name), second.of(name)) for name in names]
    if not any(len(pair.scores.first) for pair in pairs):
        raise CSpineError(
            f"{a} and {b}: expected cases that both have a {metric} for, got none. "
            f"They are paired by {key}: compare its spelling, or name another column with --key."
        )
    samples = [pair.scores for pair in pairs]
    verdicts = zip(pairs, judge_paired(samples), judge_as_published(samples), strict=True)
    return FileComparison(a, b, metric, key, [_found(pair, paired, paper) for pair, paired, paper in verdicts])


@dataclass(frozen=True)
class _Pair:
    """One structure of both files: what is compared, and what is not."""

    structure: str
    only_in_a: list[str]
    only_in_b: list[str]
    without_value: list[str]
    scores: Sample
    case_order: str


def _pair(structure: str, first: pd.Series[float], second: pd.Series[float]) -> _Pair:
    """Returns the values of the cases that both files have."""
    common, case_order = _ordered(first.index, second.index)
    one, other = (np.asarray(scores.loc[common], dtype=np.float64) for scores in (first, second))
    present = ~(np.isnan(one) | np.isnan(other))
    return _Pair(
        structure=structure,
        only_in_a=sorted(first.index.difference(second.index)),
        only_in_b=sorted(second.index.difference(first.index)),
        without_value=list(common[~present]),
        scores=Sample(one[present], other[present]),
        case_order=case_order,
    )


def _ordered(first: pd.Index[str], second: pd.Index[str]) -> tuple[pd.Index[str], str]:
    """Returns the cases of both files in the order in which they are drawn, and what it is called.

    A bootstrap draws positions, so the order is part of its result: the published scores stand in natural order, and
    their interval comes out to the last digit in that order alone.
    """
    common = first.intersection(second, sort=False)
    natural, shared = sorted(common, key=_natural), set(common)
    if all([name for name in index if name in shared] == natural for index in (first, second)):
        return pd.Index(natural, dtype=first.dtype), "natural"
    return common.sort_values(), "text"


def _natural(name: str) -> list[tuple[int, str]]:
    """Returns a key by which numbers inside of names count as numbers."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _found(pair: _Pair, paired: Verdict, paper: Verdict) -> StructureComparison:
    """Returns all that is said of one structure."""
    first, second = pair.scores.first, pair.scores.second
    difference = difference_of(first, second)
    return StructureComparison(
        structure=pair.structure,
        only_in_a=pair.only_in_a,
        only_in_b=pair.only_in_b,
        without_value=pair.without_value,
        n=len(first),
        mean_a=_finite(np.mean(first)) if first.size else None,
        mean_b=_finite(np.mean(second)) if first.size else None,
        median_a=_finite(np.median(first)) if first.size else None,
        median_b=_finite(np.median(second)) if first.size else None,
        higher_in_a=int((difference > 0).sum()),
        higher_in_b=int((difference < 0).sum()),
        equal=int((difference == 0).sum()),
        paired=paired,
        paper=paper,
        case_order=pair.case_order,
    )


def _finite(value: np.floating) -> float | None:
    """Returns a number, or None for one that JSON cannot hold."""
    return float(value) if np.isfinite(value) else None


def _as_record(found: StructureComparison) -> dict[str, object]:
    """Returns one structure as JSON holds it, the tests as a list."""
    said = {name: value for name, value in asdict(found).items() if name not in ("paired", "paper")}
    return {**said, "tests": [found.paired.as_columns(), found.paper.as_columns()]}
