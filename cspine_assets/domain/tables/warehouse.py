"""Tables of schema ``warehouse``: what the published database was built from.

Add a column when a publication needs to say more of itself. Building and reading it stand in the warehouse wing.
"""

from __future__ import annotations

from cspine_assets.domain.tables.base import Integer, Table, Text, Truth, column


class Database(Table):
    """One row per table of the published database: what it was built from."""

    table_name: Text = column("Table, as schema.table")
    rows: Integer = column("Rows published", ge=0)
    fingerprint: Text = column("SHA-256 of the table's content in the lake")

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
