"""Publishing: all tables of the lake as one DuckDB file, built aside, checked, and renamed.

Add here what happens to a publication as a whole. Which statements build it stands in ``statements``, which
publications are kept in ``publications``; asking questions is ``read``'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa

from cspine_assets.domain.errors import TableError
from cspine_assets.domain.files import fingerprint_text, written_aside
from cspine_assets.domain.lake import fingerprint_frame
from cspine_assets.domain.tables.base import Table, arrow_schema, column_names
from cspine_assets.domain.tables.warehouse import Database
from cspine_assets.domain.warehouse import statements
from cspine_assets.domain.warehouse.keys import ForeignKey, foreign_keys, orphans, parents_first
from cspine_assets.domain.warehouse.publications import keep_standing
from cspine_assets.domain.warehouse.views import VIEWS, View

Frames = Mapping[type[Table], pd.DataFrame]


def publish_database(frames: Frames, destination: Path, *, keep: int = 0) -> pd.DataFrame:
    """Builds the database aside, checks it, and renames it over the published one, which is kept as an earlier one.

    A reader keeps the file it has open; the next connection sees the new one. After an error the published file is
    as it was.

    Args:
        frames: Rows of every table to publish; a table without rows is published empty.
        destination: The database file; it lies in a folder of the home.
        keep: How many earlier publications stay beside it.

    Returns:
        ``warehouse.database``: one row per published table and view, itself not among them.

    Raises:
        TableError: What was built does not hold what it should; names the table or view.
    """
    views = [view for view in VIEWS if set(view.needs) <= set(frames)]
    with written_aside(destination) as aside:
        aside.unlink()  # DuckDB wants to create its file itself
        with duckdb.connect(str(aside)) as connection:
            connection.begin()  # one commit: hundreds of comments, each with its own, would take most of the time
            manifest = _build(connection, frames, views, destination)
            connection.commit()
        # closing has folded the write-ahead log into the file; a leftover would belong to no database
        aside.with_name(aside.name + ".wal").unlink(missing_ok=True)
        check_publication(aside, {**frames, Database: manifest}, views)
        keep_standing(destination, keep=keep)
    return manifest


def _build(connection: duckdb.DuckDBPyConnection, frames: Frames, views: list[View], destination: Path) -> pd.DataFrame:
    """Fills an empty database and returns its manifest, which it holds as well."""
    rows: list[dict[str, object]] = []
    for table in parents_first(frames):
        holding, broken = _sorted_keys(frames, table)
        _create_table(connection, table, frames[table], holding)
        rows.append(
            {
                "table_name": table.full_name(),
                "kind": "table",
                "rows": len(frames[table]),
                "fingerprint": fingerprint_frame(frames[table]),
                "foreign_keys": ", ".join(map(str, holding)) or None,
                "broken_keys": ", ".join(f"{key} ({count} rows)" for key, count in broken.items()) or None,
            }
        )
    for view in views:
        connection.execute(statements.create_view(view))
        _run_all(connection, statements.comments(view.description, "VIEW"))
        counted = f"SELECT count(*) FROM {statements.quoted_name(view.description)}"  # noqa: S608 - names are our own
        rows.append(
            {
                "table_name": view.name,
                "kind": "view",
                "rows": _single(connection, counted),
                "fingerprint": fingerprint_text(view.select),
                "foreign_keys": None,
                "broken_keys": None,
            }
        )
    # the study's own order, not that in which tables had to be made
    order = {table.full_name(): place for place, table in enumerate(frames)}
    rows.sort(key=lambda row: order.get(str(row["table_name"]), len(order)))
    manifest = pd.DataFrame(rows).assign(
        path=destination.relative_to(destination.parents[1]).as_posix(),
        published_at=datetime.now(UTC).isoformat(timespec="seconds"),
        software=f"cspine-assets {version('cspine-assets')}, duckdb {duckdb.__version__}",
    )
    _create_table(connection, Database, manifest, [])
    return manifest


def _sorted_keys(frames: Frames, table: type[Table]) -> tuple[list[ForeignKey], dict[ForeignKey, int]]:
    """Returns a table's foreign keys: those that hold, and those that do not with the rows that break them."""
    counts = {
        key: orphans(frames[table], key, frames[key.parent]) for key in foreign_keys(table) if key.parent in frames
    }
    return [key for key, count in counts.items() if not count], {key: count for key, count in counts.items() if count}


def _create_table(
    connection: duckdb.DuckDBPyConnection, table: type[Table], frame: pd.DataFrame, keys: list[ForeignKey]
) -> None:
    """Creates one table with its keys and comments, and fills it."""
    connection.execute(statements.create_schema(table))
    connection.execute(statements.create_table(table, keys))
    rows = pa.Table.from_pandas(frame[column_names(table)], schema=arrow_schema(table), preserve_index=False)
    connection.register("rows_to_publish", rows)
    connection.execute(f"INSERT INTO {statements.quoted_name(table)} SELECT * FROM rows_to_publish")  # noqa: S608
    connection.unregister("rows_to_publish")
    _run_all(connection, statements.comments(table, foreign_keys=keys))


def check_publication(path: Path, frames: Frames, views: list[View]) -> None:
    """Opens a database anew and holds it against what it should be: every row there, every view as described.

    Raises:
        TableError: A table has another number of rows, or a view other columns.
    """
    with duckdb.connect(str(path), read_only=True) as connection:
        for table, frame in frames.items():
            found = _single(connection, f"SELECT count(*) FROM {statements.quoted_name(table)}")  # noqa: S608
            if found != len(frame):
                raise TableError(
                    f"{table.full_name()}: {len(frame)} rows were to be published, the new database has {found}. "
                    "The published one stands as it was; materialize warehouse/database again."
                )
        for view in views:
            _check_view(connection, view)


def _check_view(connection: duckdb.DuckDBPyConnection, view: View) -> None:
    relation = connection.sql(f"FROM {statements.quoted_name(view.description)}")
    found = dict(zip(relation.columns, map(str, relation.types), strict=True))
    wanted = {field.name: statements.SQL_TYPES[str(field.type)] for field in arrow_schema(view.description)}
    if list(found.items()) != list(wanted.items()):
        raise TableError(
            f"view {view.name}: described are the columns {wanted}, its statement gives {found}. "
            "Make both agree in cspine_assets/domain/warehouse/views.py."
        )


def _single(connection: duckdb.DuckDBPyConnection, statement: str) -> int:
    row = connection.execute(statement).fetchone()
    return int(row[0]) if row else 0


def _run_all(connection: duckdb.DuckDBPyConnection, commands: Iterable[str]) -> None:
    for command in commands:
        connection.execute(command)
