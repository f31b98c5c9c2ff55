"""Foreign keys of the published database: which column names a row of which other table.

Add a key when a column begins to name rows of another table under a name of its own. What a publication does with
a key that does not hold is decided by ``publish``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import Final

from cspine_assets.domain.tables.base import Table, column_names
from cspine_assets.domain.tables.cohort import Exams, Findings, Integrity, Patients
from cspine_assets.domain.tables.midrc import Cases, ImagingStudies, MrSeries

BY_NAME: Final[Mapping[str, type[Table]]] = {"exam_id": Exams, "patient_id": Patients}
"""A column of this name names a row of this table, wherever it stands."""

BY_TABLE: Final[Mapping[type[Table], Mapping[str, type[Table]]]] = {
    ImagingStudies: {"case_ids": Cases},
    MrSeries: {"case_ids": Cases, "imaging_studies_submitter_id": ImagingStudies},
    Findings: {"check_name": Integrity},
}
"""Columns that have another name than the key they point to."""

NO_KEY: Final[frozenset[tuple[type[Table], str]]] = frozenset({(Findings, "exam_id")})
"""Exams that are blocked stand among the findings, and for that very reason not in cohort.exams."""


@dataclass(frozen=True)
class ForeignKey:
    """A column whose values are keys of another table.

    Attributes:
        column: The column.
        parent: The table it points into; the column there is its only key.
    """

    column: str
    parent: type[Table]

    def __str__(self) -> str:
        """Returns ``column -> schema.table``."""
        return f"{self.column} -> {self.parent.full_name()}"


def foreign_keys(table: type[Table]) -> list[ForeignKey]:
    """Returns the columns of a table that name a row of another table, in their order."""
    own = BY_TABLE.get(table, {})
    found = []
    for name in column_names(table):
        parent = own.get(name) or BY_NAME.get(name)
        if parent is not None and parent is not table and (table, name) not in NO_KEY:
            found.append(ForeignKey(name, parent))
    # MIDRC's tables spell patients in a way of their own; what refers to the cohort begins with the cohort
    return [key for key in found if not (table.full_name().startswith("midrc.") and key.column in BY_NAME)]


def parents_first(tables: Mapping[type[Table], object]) -> list[type[Table]]:
    """Returns tables in an order in which each comes after those it points into; otherwise in the order given."""
    graph = {table: [key.parent for key in foreign_keys(table) if key.parent in tables] for table in tables}
    return list(TopologicalSorter(graph).static_order())
