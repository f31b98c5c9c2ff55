"""The checks that are the same for all tables: that rows fit their description, and that the files they name stand.

Checks of one table's meaning stand beside its asset.
"""

import dagster as dg

from cspine_assets.defs.io import asset_key
from cspine_assets.defs.resources import StudyResource
from cspine_assets.defs.row_files import changed_files
from cspine_assets.defs.shown import told
from cspine_assets.domain.errors import TableError
from cspine_assets.domain.tables.base import Table, column_names, validate
from cspine_assets.domain.tables.catalog import all_tables
from cspine_assets.domain.tables.nnunet import Plans, RawDataset, UnannotatedDataset
from cspine_assets.domain.tables.warehouse import Report


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


_BESIDE = (RawDataset, UnannotatedDataset, Plans, Report)
"""Tables whose rows have no path and yet stand for files."""


def files_check(table: type[Table]) -> dg.AssetChecksDefinition:
    """Returns the check that the files that rows name are there and unchanged since the rows were written."""

    @dg.asset_check(
        asset=asset_key(table),
        name="files_unchanged",
        description="Every file that the rows name is there and holds what it did when they were written.",
    )
    def check(study: StudyResource) -> dg.AssetCheckResult:
        home = study.open().home
        keys: list[str | None] = [*home.lake.partitions(table)] or [None]
        stamps = [home.lake.stamp(table, key) for key in keys]
        kept = [stamp for stamp in stamps if stamp is not None]
        changed = [file.path for stamp in kept for file in changed_files(home, stamp)]
        files = sum(len(stamp.files or ()) for stamp in kept)
        return dg.AssetCheckResult(
            passed=not changed,
            severity=dg.AssetCheckSeverity.WARN,
            description=told(
                len(changed),
                files,
                "files",
                "Their rows are stale, and cspine materialize makes these again.",
            ),
            metadata={"files": files, "gone_or_changed": dg.MetadataValue.json(changed[:20])},
        )

    return check


files_checks = [files_check(table) for table in all_tables() if "path" in column_names(table) or table in _BESIDE]
schema_checks = [schema_check(table) for table in all_tables()]
