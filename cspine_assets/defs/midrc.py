"""Assets of group ``midrc``: the six tables of the download, typed, with what differs from their description.

Add an asset when the release has a table more. How a table is read stands in the cohort wing.
"""

from pathlib import Path

import dagster as dg

from cspine_assets.defs.io import Made, table_asset
from cspine_assets.defs.resources import Study
from cspine_assets.domain.cohort.midrc_tables import read_midrc_table
from cspine_assets.domain.lake import fingerprint_text
from cspine_assets.domain.tables.base import Table
from cspine_assets.domain.tables.midrc import NODES


def _asset_for(table: type[Table], node: str) -> dg.AssetsDefinition:
    """Returns the asset of one table."""

    def fingerprint(study: Study, _key: str | None) -> str:
        """Fingerprint of the table's file: its name, size and time; the content of a million rows is not read twice."""
        file = study.source.table_files.get(node)
        if file is None:
            return "missing"
        status = file.path.stat()
        return fingerprint_text(file.location, str(file.size), str(status.st_mtime_ns))

    def read(context: dg.AssetExecutionContext, study: Study) -> Made:
        made = read_midrc_table(study.source, table)
        for warning in made.warnings:
            context.log.warning(warning)
        return Made(
            made.frame,
            {
                "file": Path(made.file).name,
                "unknown_columns": dg.MetadataValue.json(list(made.drift)),
                "absent_columns": dg.MetadataValue.json(list(made.absent)),
                "warnings": dg.MetadataValue.json(list(made.warnings)),
            },
        )

    return table_asset(table, version="1", kinds=("tsv", "parquet"), source=fingerprint)(read)


tables = [_asset_for(node.table, node.name) for node in NODES]
