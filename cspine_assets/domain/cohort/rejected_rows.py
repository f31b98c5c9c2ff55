"""Rows of a release's tables that cannot be used: where they stand, what is wrong, and what is left out for them.

Add here what all rejected rows share. Which rows are rejected is decided where tables are read, and which exams they
cost where tables are joined.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Final

from cspine_assets.domain.cohort.findings import Finding

TABLE_ROWS: Final = "table_rows"
"""Name of the check whose findings are about rejected rows."""

_MOST_LISTED: Final = 1000
"""Rejected rows of one table that are listed one by one: a person corrects their kind long before."""

_LONGEST_VALUE: Final = 40
_IDENTIFYING: Final = re.compile(r"(^|_)(ids?|uid|submitter|file|md5sum|zip|age|days|year|record|extra)(_|$)")
_BOUNDS: Final = {
    "greater_than_or_equal_to": "at least",
    "greater_than": "more than",
    "less_than_or_equal_to": "at most",
    "less_than": "less than",
    "isin": "one of",
}


@dataclass(frozen=True)
class RejectedRow:
    """A row that cannot be used.

    Attributes:
        table_name: Table of the release, such as ``midrc.cases``.
        file: Name of its file.
        line: Line in the file; the header is line 1.
        fault: What was expected and what came; values of identifying columns are named and not quoted.
        key: What other tables call the row by, where it has that.
        exam_id: Exam that the row lists a file of, where it does.
    """

    table_name: str
    file: str
    line: int
    fault: str
    key: str | None = None
    exam_id: str | None = None

    @property
    def place(self) -> str:
        """Where to find it."""
        return f"{self.file}, line {self.line}"

    def finding(self) -> Finding:
        """Returns the finding about this row; one of an exam is why that exam is left out."""
        costs = f"exam {self.exam_id} is left out" if self.exam_id else "the row is left out"
        message = f"{self.place}: {self.fault}; {costs}. Correct the table"
        return Finding(TABLE_ROWS, "blocks", self.table_name, self.place, message, self.exam_id)


def value_fault(column: str, check: str, value: object) -> str:
    """Returns what is wrong with one value, for people.

    Args:
        column: Column of the table.
        check: What was expected, as pandera names a check or in words.
        value: What came; it is not quoted where the column may identify a person.
    """
    got = repr(value)
    if len(got) > _LONGEST_VALUE:
        got = got[: _LONGEST_VALUE - 3] + "...'"
    if _IDENTIFYING.search(column):
        got = "another value, which is not shown since the column may identify a person"
    if check == "not_nullable":
        return f"expected a value in column {column}, got none"
    name, _, arguments = check.partition("(")
    expected = f"{_BOUNDS[name]} {arguments.rstrip(')').strip('([])')}" if name in _BOUNDS else check
    return f"expected {expected} in column {column}, got {got}"


def to_notes(rejected: Sequence[RejectedRow]) -> str:
    """Returns rejected rows as text, to be stored beside the rows that are used; empty where there are none."""
    return json.dumps([asdict(row) for row in rejected[:_MOST_LISTED]], ensure_ascii=False) if rejected else ""


def from_notes(notes: str) -> list[RejectedRow]:
    """Returns the rejected rows that ``to_notes`` wrote."""
    return [RejectedRow(**row) for row in json.loads(notes)] if notes else []


def keys_of(rejected: Iterable[RejectedRow], table_name: str) -> dict[str, RejectedRow]:
    """Returns the rejected rows of a table by their keys."""
    return {row.key: row for row in rejected if row.table_name == table_name and row.key is not None}


def row_findings(rejected: Iterable[RejectedRow]) -> Iterator[Finding]:
    """Yields a finding per rejected row."""
    return (row.finding() for row in rejected)
