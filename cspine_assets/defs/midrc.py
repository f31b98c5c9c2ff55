"""Assets of group ``midrc``: the six tables of the download, typed, and every file of it.

Add an asset when the release has a table more. How a table or a file is read stands in the cohort wing.
"""

from pathlib import Path

import dagster as dg

from cspine_assets.defs.io import Made, table_asset
from cspine_assets.defs.resources import Study
from cspine_assets.domain.cohort.files import ChecksumMemory, file_tree, list_files
from cspine_assets.domain.cohort.midrc_tables import read_midrc_table
from cspine_assets.domain.cohort.rejected_rows import to_notes
from cspine_assets.domain.files import fingerprint_text
from cspine_assets.domain.tables.base import Table
from cspine_assets.domain.tables.midrc import NODES, AnnotationFiles, ClinicalManifest, Files, ImageManifest


def _asset_for(table: type[Table], node: str) -> dg.AssetsDefinition:
    """Returns the asset of one table."""

    def fingerprint(study: Study, _key: str | None) -> str:
        """Fingerprint of the table's file: its place, size and time: a million rows are not read twice."""
        file = study.source.table_files.get(node)
        return "missing" if file is None else fingerprint_text(study.source.state(file))

    def read(context: dg.AssetExecutionContext, study: Study) -> Made:
        made = read_midrc_table(study.source, table)
        for warning in made.warnings:
            context.log.warning(warning)
        if made.rejected:
            context.log.warning(f"{len(made.rejected)} row(s) cannot be used; cohort.findings lists them.")
        return Made(
            made.frame,
            {
                "file": Path(made.file).name,
                "unknown_columns": dg.MetadataValue.json(list(made.drift)),
                "absent_columns": dg.MetadataValue.json(list(made.absent)),
                "warnings": dg.MetadataValue.json(list(made.warnings)),
                "rejected_rows": len(made.rejected),
            },
            notes=to_notes(made.rejected),
        )

    return table_asset(table, version="1", kinds=("tsv", "parquet"), source=fingerprint)(read)


tables = [_asset_for(node.table, node.name) for node in NODES]


_HASHED_FOR: dict[type[Table], tuple[str, ...]] = {
    AnnotationFiles: ("image", "mask"),
    ImageManifest: ("instance",),
    ClinicalManifest: ("table",),
}
"""Which files each table gives checksums of."""


def _listing(study: Study, _key: str | None) -> str:
    """Fingerprint of what lies in the download: places, sizes and times of change."""
    return fingerprint_text(*study.source.states)


@table_asset(Files, deps=list(_HASHED_FOR), version="1", kinds=("files", "parquet"), source=_listing)
def files(context: dg.AssetExecutionContext, study: Study) -> Made:
    """The download's directory tree; a file is hashed once, and again only when its size or time has changed."""
    hashed = {
        kind for table, kinds in _HASHED_FOR.items() if study.read(table)["md5sum"].notna().any() for kind in kinds
    }
    frame = list_files(study.source, hashed=hashed, memory=ChecksumMemory(study.home.checksums))
    for note in study.source.notes:
        context.log.warning(note)
    counts = frame["kind"].value_counts().to_dict()
    return Made(
        frame,
        {
            "tree": dg.MetadataValue.md(f"```\n{file_tree(frame)}\n```"),
            "notes": dg.MetadataValue.json(list(study.source.notes)),
            **{f"{kind}_files": int(count) for kind, count in counts.items()},
        },
    )
