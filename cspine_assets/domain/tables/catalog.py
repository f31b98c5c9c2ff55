"""The catalog: every described table of the platform.

Add a table here when it is described; checks, the published database and the documentation start from this list.
Nothing else belongs here.
"""

from __future__ import annotations

from cspine_assets.domain.tables import benchmark, cohort, evaluation, imaging, midrc, nnunet, prediction, warehouse
from cspine_assets.domain.tables.base import Table

_SCHEMAS = (midrc, cohort, imaging, nnunet, prediction, evaluation, benchmark, warehouse)


def all_tables() -> tuple[type[Table], ...]:
    """Returns every described table, schema by schema in the order of the study."""
    return tuple(
        value
        for module in _SCHEMAS
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Table) and value.__module__ == module.__name__
    )
