"""Tables of schema ``warehouse``: what the published database was built from.

Add a column when a publication needs to say more of itself. Building and reading it stand in the warehouse wing.
"""

from __future__ import annotations

from cspine_assets.domain.tables.base import Integer, Table, Text, Truth, column

KINDS = ("table", "view")


class Database(Table):
    """One row per table and view of the published database: what it was built from."""

    table_name: Text = column("Table as schema.table, or view by its name alone")
    kind: Text = column("table, or view: a question asked so often that it has a name", isin=KINDS)
    rows: Integer = column("Rows published", ge=0)
    fingerprint: Text = column("SHA-256 of the table's content as published; of a view, of its SQL")
    foreign_keys: Text = column(
        "Columns that name a row of another table, as column -> schema.table, joined by a comma; all hold here",
        nullable=True,
    )
    broken_keys: Text = column(
        "Columns that should name a row of another table and do not always, with their number of rows; "
        "they are published all the same",
        nullable=True,
    )
    path: Text = column("Database file, relative to the home")
    published_at: Text = column("Time of the publication, UTC, as ISO 8601; the same in all rows")
    software: Text = column("Versions of cspine-assets and DuckDB that built it; the same in all rows")

    class Config:
        """Name and key."""

        name = "warehouse.database"
        unique = ["table_name"]


class Report(Table):
    """One row per section of the study's report, which holds summaries alone and may be passed on."""

    section: Text = column("Section, and its anchor in the page")
    title: Text = column("Heading")
    rows: Integer = column("Rows of its table", ge=0)
    has_picture: Truth = column("Whether it has a picture")
    content_sha256: Text = column("SHA-256 of what it shows")

    class Config:
        """Name and key."""

        name = "warehouse.report"
        unique = ["section"]
