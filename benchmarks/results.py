"""What a benchmark returns: tables of numbers with their targets, as data.

Add a kind of table when several benchmarks need it. Nothing is printed or written here: ``page`` does that.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.runner import Cost

Value = float | str | None
"""A number, a text, or nothing."""


@dataclass(frozen=True)
class Column:
    """One column of numbers.

    Attributes:
        name: With its unit.
        digits: After the decimal point.
    """

    name: str
    digits: int = 2


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes:
        what: What was measured.
        values: One for each column.
        met: Whether the row meets its target; None where it has none.
    """

    what: str
    values: Sequence[Value]
    met: bool | None = None


@dataclass(frozen=True)
class Table:
    """Rows under the same columns.

    Attributes:
        title: What all rows have in common.
        columns: Beside the first one, which names the row.
        rows: At least one.
    """

    title: str
    columns: Sequence[Column]
    rows: Sequence[Row]

    def texts(self, *, judged: bool) -> list[list[str]]:
        """Return the heads and all rows as texts, with a last column of verdicts where any row has a target.

        Args:
            judged: Whether targets hold at this size.
        """
        has_targets = any(row.met is not None for row in self.rows)
        heads = ["what", *(column.name for column in self.columns), *(["verdict"] if has_targets else [])]
        return [heads, *(self._row_texts(row, judged=judged, has_targets=has_targets) for row in self.rows)]

    def _row_texts(self, row: Row, *, judged: bool, has_targets: bool) -> list[str]:
        values = [_text(value, column) for value, column in zip(row.values, self.columns, strict=True)]
        verdict = "" if row.met is None else "not judged" if not judged else "met" if row.met else "MISSED"
        return [row.what, *values, *([verdict] if has_targets else [])]


def _text(value: Value, column: Column) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else f"{value:,.{column.digits}f}"


@dataclass(frozen=True)
class Results:
    """What a benchmark measured.

    Attributes:
        tables: In the order in which they are read.
        notes: Sentences below them.
    """

    tables: tuple[Table, ...]
    notes: tuple[str, ...] = ()

    def missed(self) -> list[str]:
        """Return the names of all rows that miss their target."""
        return [row.what for table in self.tables for row in table.rows if row.met is False]


def comparison(what: str, published: float, ours: float, target: float | None = None) -> Row:
    """Return a row of :func:`comparison_table`: the same work in the published way and in ours.

    Args:
        what: What both do.
        published: What the published way costs.
        ours: What ours costs, in the same unit.
        target: So many times less is asked of ours.
    """
    ratio = published / ours
    return Row(what, (published, ours, ratio, target), None if target is None else ratio >= target)


def comparison_table(title: str, unit: str, rows: Sequence[Row]) -> Table:
    """Return rows made by :func:`comparison` as a table."""
    columns = (Column(f"published way, {unit}", 3), Column(f"ours, {unit}", 3), Column("ratio", 1), Column("target", 1))
    return Table(title, columns, rows)


def cost_table(title: str, costs: Iterable[Cost]) -> Table:
    """Return what pieces of work cost, beside their budgets of time and memory."""
    columns = (
        Column("wall s"),
        Column("CPU s"),
        Column("budget, wall s", 0),
        Column("peak MB", 0),
        Column("budget, MB", 0),
    )
    return Table(title, columns, [_cost_row(cost) for cost in costs])


def _cost_row(cost: Cost) -> Row:
    values = (cost.seconds, cost.cpu_seconds, cost.budget_s, cost.peak_mb, cost.budget_mb)
    spent = ((cost.seconds, cost.budget_s), (cost.peak_mb, cost.budget_mb))
    kept = [used <= budget for used, budget in spent if budget is not None]
    return Row(cost.name, values, all(kept) if kept else None)
