"""Assets of group ``warehouse``: what is published from the lake.

Add an asset when something new is published. What a table holds is decided where it is made.
"""

from collections.abc import Iterator, Mapping

import dagster as dg
import pandas as pd
import pyarrow as pa

from cspine_assets.defs.io import Made, asset_key, table_asset
from cspine_assets.defs.resources import Study, StudyResource
from cspine_assets.defs.row_files import names_files
from cspine_assets.defs.shown import markdown_table
from cspine_assets.domain.named_files import NamedFile, name_file
from cspine_assets.domain.report.page import write_report
from cspine_assets.domain.tables.base import Table, rows_of
from cspine_assets.domain.tables.catalog import all_tables
from cspine_assets.domain.tables.warehouse import Database, Report
from cspine_assets.domain.warehouse.publish import publish_database

EARLIER_KEPT = 5
"""Publications that stay beside the newest: a few weeks of weekly re-evaluations, some megabytes each."""

PUBLISHED = tuple(table for table in all_tables() if table not in (Database, Report))


class TablesOf(Mapping[type[Table], pa.Table]):
    """All tables of a study that are published, each read when it is asked for: never two of them in memory."""

    def __init__(self, study: Study) -> None:
        self._study = study

    def __getitem__(self, table: type[Table]) -> pa.Table:
        """Reads a table."""
        return self._study.read_arrow(table)

    def __contains__(self, table: object) -> bool:
        """Tells whether a table is published, without reading it."""
        return table in PUBLISHED

    def __iter__(self) -> Iterator[type[Table]]:
        """Yields the tables."""
        return iter(PUBLISHED)

    def __len__(self) -> int:
        """Returns how many there are."""
        return len(PUBLISHED)


@table_asset(Database, deps=PUBLISHED, version="3", kinds=("duckdb",))
def database(_context: dg.AssetExecutionContext, study: Study) -> Made:
    """All tables in one DuckDB file, built aside, checked and renamed: no reader waits, none sees half a table."""
    manifest = publish_database(TablesOf(study), study.home.database, keep=EARLIER_KEPT)
    return Made(
        manifest,
        {
            "profile": study.settings.profile,
            "tables": int((manifest["kind"] == "table").sum()),
            "views": int((manifest["kind"] == "view").sum()),
            "foreign_keys": sum(len(keys.split(", ")) for keys in manifest["foreign_keys"].dropna()),
            "broken_keys": "; ".join(
                f"{row.table_name}.{row.broken_keys}" for row in rows_of(manifest.dropna(subset="broken_keys"))
            )
            or "none",
            "path": study.home.relative(study.home.database),
            "size_bytes": study.home.database.stat().st_size,
        },
    )


@dg.asset_check(
    asset=asset_key(Database),
    description="Every column that names a row of another table finds it there; see broken_keys in the manifest.",
)
def keys_hold(study: StudyResource) -> dg.AssetCheckResult:
    """Warns of rows that point to nothing; they are published all the same, with the key not enforced."""
    broken = study.open().read(Database).dropna(subset="broken_keys")
    return dg.AssetCheckResult(
        passed=broken.empty,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(f"{row.table_name}: {row.broken_keys}" for row in rows_of(broken))
        or "All keys are found.",
        metadata={"tables_with_broken_keys": len(broken)},
    )


@names_files(Report)
def _file_of_report(study: Study, _frame: pd.DataFrame) -> Iterator[NamedFile]:
    """Yields the page."""
    yield name_file(study.home.root, study.home.report / "study.html")


@table_asset(Report, deps=[Database], version="7", kinds=("html", "matplotlib"))
def report(_context: dg.AssetExecutionContext, study: Study) -> Made:
    """The study in one HTML file that stands by itself: `report/study.html` in the home."""
    page = study.home.report / "study.html"
    frame = write_report(study.home.database, page, profile=study.settings.profile)
    shown = {
        "profile": study.settings.profile,
        "path": study.home.relative(page),
        "size_bytes": page.stat().st_size,
        "sections": markdown_table(frame[["title", "rows", "has_picture"]]),
    }
    return Made(frame, shown)
