"""Publishing: all tables of the lake as one DuckDB file, built aside and renamed.

Add here what a published database must carry (comments, keys, views). Asking questions of it is ``read``'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa

from cspine_assets.domain.files import written_aside
from cspine_assets.domain.lake import fingerprint_frame
from cspine_assets.domain.tables.base import Table, arrow_schema, column_names
from cspine_assets.domain.tables.warehouse import Database

_SQL_TYPES = {"string": "VARCHAR", "int64": "BIGINT", "double": "DOUBLE", "bool": "BOOLEAN"}


def publish_database(frames: Mapping[type[Table], pd.DataFrame], destination: Path) -> pd.DataFrame:
    """Builds the database aside, checks its row counts, and renames it over the published one.

    A reader keeps the file it has open; the next connection sees the new one.

    Args:
        frames: Rows of every table to publish; a table without rows is published empty.
        destination: The database file.

    Returns:
        ``warehouse.database``: one row per published table, itself not among them.
    """
    manifest = pd.DataFrame(
        {
            "table_name": [table.full_name() for table in frames],
            "rows": [len(frame) for frame in frames.values()],
            "fingerprint": [fingerprint_frame(frame) for frame in frames.values()],
        }
    )
    with written_aside(destination) as aside:
        aside.unlink()  # DuckDB wants to create its file itself
        with duckdb.connect(str(aside)) as connection:
            for table, frame in frames.items():
                _publish_table(connection, table, frame)
            _publish_table(connection, Database, manifest)
        # closing has folded the write-ahead log into the file; a leftover would belong to no database
        aside.with_name(aside.name + ".wal").unlink(missing_ok=True)
    return manifest


def _publish_table(connection: duckdb.DuckDBPyConnection, table: type[Table], frame: pd.DataFrame) -> None:
    """Creates one table with its key and comments, and fills it."""
    schema_name, _ = table.full_name().split(".")
    schema = arrow_schema(table)
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {_quoted(schema_name)}")
    columns = [
        f"{_quoted(field.name)} {_SQL_TYPES[str(field.type)]}{'' if field.nullable else ' NOT NULL'}"
        for field in schema
    ]
    if table.key_columns():
        columns.append(f"PRIMARY KEY ({', '.join(_quoted(name) for name in table.key_columns())})")
    name = ".".join(_quoted(part) for part in table.full_name().split("."))
    connection.execute(f"CREATE TABLE {name} ({', '.join(columns)})")
    rows = pa.Table.from_pandas(frame[column_names(table)], schema=schema, preserve_index=False)
    connection.register("rows_to_publish", rows)
    connection.execute(f"INSERT INTO {name} SELECT * FROM rows_to_publish")  # noqa: S608 - names are our own
    connection.unregister("rows_to_publish")
    connection.execute(f"COMMENT ON TABLE {name} IS {_text(table.comment())}")
    for field in schema:
        described = (field.metadata or {}).get(b"description", b"").decode()
        unit = (field.metadata or {}).get(b"unit", b"").decode()
        comment = f"{described} [{unit}]" if unit else described
        connection.execute(f"COMMENT ON COLUMN {name}.{_quoted(field.name)} IS {_text(comment)}")


def _quoted(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
