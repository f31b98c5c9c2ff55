"""Tables of schema ``warehouse``: what the published database was built from.

Add a column when a publication needs to say more of itself. Building and reading it stand in the warehouse wing.
"""

from __future__ import annotations

from cspine_assets.domain.tables.base import Integer, Table, Text, column


class Database(Table):
    """One row per table of the published database: what it was built from."""

    table_name: Text = column("Table, as schema.table")
    rows: Integer = column("Rows published", ge=0)
    fingerprint: Text = column("SHA-256 of the table's content in the lake")

    class Config:
        """Name and key."""

        name = "warehouse.database"
        unique = ["table_name"]
