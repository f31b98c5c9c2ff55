"""Assets of group ``warehouse``: what is published from the lake.

Add an asset when something new is published. What a table holds is decided where it is made.
"""

import dagster as dg

from cspine_assets.defs.io import Made, table_asset
from cspine_assets.defs.resources import Study
from cspine_assets.domain.report.page import write_report
from cspine_assets.domain.tables.catalog import all_tables
from cspine_assets.domain.tables.warehouse import Database, Report
from cspine_assets.domain.warehouse.publish import publish_database

PUBLISHED = tuple(table for table in all_tables() if table not in (Database, Report))


@table_asset(Database, deps=PUBLISHED, version="1", kinds=("duckdb",))
def database(_context: dg.AssetExecutionContext, study: Study) -> Made:
    """All tables in one DuckDB file, built aside and renamed: no reader waits, and none sees half a table."""
    manifest = publish_database({table: study.read(table) for table in PUBLISHED}, study.home.database)
    return Made(
        manifest,
        {
            "profile": study.settings.profile,
            "tables": len(manifest),
            "path": study.home.relative(study.home.database),
            "size_bytes": study.home.database.stat().st_size,
        },
    )


@table_asset(Report, deps=[Database], version="1", kinds=("html", "matplotlib"))
def report(_context: dg.AssetExecutionContext, study: Study) -> Made:
    """The study in one HTML file that stands by itself: `report/study.html` in the home."""
    page = study.home.report / "study.html"
    frame = write_report(study.home.database, page, profile=study.settings.profile)
    shown = {
        "profile": study.settings.profile,
        "path": study.home.relative(page),
        "size_bytes": page.stat().st_size,
        "sections": dg.MetadataValue.md(frame[["title", "rows", "has_picture"]].to_markdown(index=False)),
    }
    return Made(frame, shown)
