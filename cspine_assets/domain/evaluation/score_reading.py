"""Files of scores by any tool, read: CSV, Parquet and JSON with a row per case, or per case and structure.

Add an ending here. What `cspine score` writes stands in ``score_file``, what is made of two files in ``score_pairs``.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cspine_assets.domain.errors import CSpineError

Values = NDArray[np.float64]

STRUCTURE: Final = "structure"
WHOLE: Final = "all"
"""Structure of a file that has no such column."""

_DIAGONAL: Final = "diagonal_mm"
_ENDINGS: Final = (".csv", ".parquet", ".json")


@dataclass(frozen=True)
class ScoreFile:
    """The scores of one predictor.

    Attributes:
        path: Where they come from.
        scores: Value by (structure, case), NaN where a case has none.
        has_structures: Whether the file has a column ``structure``.
    """

    path: Path
    scores: pd.Series[float]
    has_structures: bool

    def of(self, structure: str) -> pd.Series[float]:
        """Returns the scores of one structure by case, in the file's order; none where the file does not have it."""
        level = self.scores.index.get_level_values(STRUCTURE) == structure
        return self.scores[level].droplevel(STRUCTURE)

    @property
    def structures(self) -> set[str]:
        """Structures that the file has rows of."""
        return set(self.scores.index.get_level_values(STRUCTURE))


def read_scores(path: Path, *, metric: str, key: str) -> ScoreFile:
    """Returns the scores in a file.

    Args:
        path: A file ending in .csv, .parquet or .json (a list of objects).
        metric: Column of the values.
        key: Column that names the case.

    Raises:
        CSpineError: It cannot be read, lacks a column, has a case without a name or twice, or a value that is no
            number.
    """
    table = _read_table(path, key)
    _refuse_repeated(table, path, (key, metric, STRUCTURE, _DIAGONAL))
    missing = [name for name in (key, metric) if name not in table.columns]
    if missing:
        raise CSpineError(
            f"{path}: expected the columns {key} and {metric}, got {', '.join(map(str, table.columns)) or 'none'}. "
            "Name those of your files with --key and --metric."
        )
    has_structures = STRUCTURE in table.columns
    case = _names(table[key], path, key)
    structure = _names(table[STRUCTURE], path, STRUCTURE) if has_structures else [WHOLE] * len(table)
    index = pd.MultiIndex.from_arrays([structure, case], names=[STRUCTURE, key])
    twice = np.flatnonzero(index.duplicated())
    if len(twice):
        place = int(twice[0])
        raise CSpineError(
            f"{path}: expected one row per {key}{' and structure' if has_structures else ''}, got several for "
            f"{case[place]}{f' of {structure[place]}' if has_structures else ''} ({len(twice)} row(s) too many). "
            "Keep one set, level, predictor and fold per file, or name another column with --key."
        )
    return ScoreFile(path, pd.Series(_numbers(table, path, metric, case), index=index), has_structures)


def _refuse_repeated(table: pd.DataFrame, path: Path, names: Sequence[str]) -> None:
    """Refuses a file with two columns of one name: which of them is meant, nobody can tell."""
    for name in names:
        count = list(table.columns).count(name)
        if count > 1:
            raise CSpineError(f"{path}: expected one column {name}, got {count}. Rename or remove the others.")


def _read_table(path: Path, key: str) -> pd.DataFrame:
    """Returns a file's rows; names stay text, so that 007 is no 7 and a case may be called NA."""
    if path.suffix.lower() not in _ENDINGS:
        raise CSpineError(f"{path}: expected a file ending in {', '.join(_ENDINGS)}.")
    try:
        if path.suffix.lower() == ".parquet":
            return pd.read_parquet(path)
        if path.suffix.lower() == ".csv":
            _refuse_repeated_header(path)
            return _named(pd.read_csv(path, converters=dict.fromkeys((key, STRUCTURE), _wrapped)), key)
        # pandas' own reader would make numbers of names, and Python's takes the last of two members of one name
        records = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_once)
        if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
            raise CSpineError(
                f"{path}: expected a list of objects, one per case and structure, as cspine score writes."
            )
        return pd.DataFrame(records)
    except CSpineError:
        raise
    except Exception as error:  # what pandas and Arrow raise on foreign bytes is listed nowhere
        found = " ".join(f"{error}".split())
        raise CSpineError(f"{path}: expected a readable file of scores, got: {found}. Write it anew.") from error


def _refuse_repeated_header(path: Path) -> None:
    """Refuses a CSV file that names two columns alike; pandas would call the second ``name.1``."""
    with path.open(encoding="utf-8-sig", newline="") as stream:
        names = next(csv.reader(stream), [])
    twice = [name for name in dict.fromkeys(names) if name and names.count(name) > 1]
    if twice:
        raise CSpineError(
            f"{path}: expected every column once, got {', '.join(twice[:5])} several times. Rename or remove the rest."
        )


def _once(members: list[tuple[str, object]]) -> dict[str, object]:
    """Returns a JSON object whose members have different names."""
    found = dict(members)
    if len(found) < len(members):
        raise ValueError("an object with two members of one name")
    return found


def _wrapped(cell: str) -> tuple[str]:
    """Returns a name in a tuple: in what a converter returns as text, pandas 3 takes NA for a missing value."""
    return (cell,)


def _named(table: pd.DataFrame, key: str) -> pd.DataFrame:
    """Returns rows of a CSV file with their names as text, and nothing in place of each name that is empty."""
    for column in table.columns.intersection([key, STRUCTURE]):
        table[column] = [name or None for (name,) in table[column]]
    return table


def _names(column: pd.Series[str], path: Path, name: str) -> list[str]:
    """Returns the names in a column as text."""
    if column.isna().any():
        row = int(np.flatnonzero(column.isna())[0]) + 1
        raise CSpineError(f"{path}: expected a {name} in every row, row {row} has none ({column.isna().sum()} in all).")
    return [str(value) for value in column]


def _numbers(table: pd.DataFrame, path: Path, metric: str, case: Sequence[str]) -> Values:
    """Returns the values of the metric, infinite ones at the volume's diagonal where the file has it."""
    given = table[metric]
    numbers = pd.to_numeric(given, errors="coerce")
    wrong = np.flatnonzero(numbers.isna() & given.notna())
    if len(wrong):
        place = int(wrong[0])
        raise CSpineError(
            f"{path}: expected numbers in {metric}, got {given.iloc[place]!r} for {case[place]} "
            f"({len(wrong)} such value(s)). Compare a column of numbers."
        )
    values = numbers.to_numpy(dtype=np.float64, na_value=np.nan)
    if _DIAGONAL in table.columns:
        diagonals = pd.to_numeric(table[_DIAGONAL], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
        values = np.where(np.isposinf(values) & ~np.isnan(diagonals), diagonals, values)
    return np.asarray(values, dtype=np.float64)
