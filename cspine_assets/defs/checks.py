"""The blocking schema check that every table has.

Checks of one table's meaning stand beside its asset; only what is the same for all tables belongs here.
"""

import dagster as dg

from cspine_assets.defs.io import asset_key
from cspine_assets.defs.resources import StudyResource
from cspine_assets.domain.errors import TableError
from cspine_assets.domain.tables.base import Table, validate
from cspine_assets.domain.tables.catalog import all_tables


def schema_check(table: type[Table]) -> dg.AssetChecksDefinition:
    """Returns the check that what lies in the lake fits the table's description, key included."""

    @dg.asset_check(
        asset=asset_key(table),
        name="schema",
        blocking=True,
        description="Columns, types, allowed values and the key are as described.",
    )
    def check(study: StudyResource) -> dg.AssetCheckResult:
        try:
            frame = study.open().read(table)
            validate(table, frame)
        except TableError as error:
            return dg.AssetCheckResult(passed=False, description=str(error))
        return dg.AssetCheckResult(passed=True, metadata={"rows": len(frame)})

    return check


schema_checks = [schema_check(table) for table in all_tables()]
