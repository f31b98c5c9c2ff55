"""Publishing: all tables of the lake as one DuckDB file, built aside, checked, and renamed.

Add here what happens to a publication as a whole. Which statements build it stands in ``statements``, which
publications are kept in ``publications``; asking questions is ``read``'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa

from cspine_assets.domain.errors import TableError
from cspine_assets.domain.files import fingerprint_text, folder_aside
from cspine_assets.domain.lake import fingerprint_rows
from cspine_assets.domain.tables.base import Table, arrow_schema, column_names
from cspine_assets.domain.tables.warehouse import Database
from cspine_assets.domain.warehouse import statements
from cspine_assets.domain.warehouse.keys import ForeignKey, foreign_keys, parents_first
from cspine_assets.domain.warehouse.publications import keep_standing
from cspine_assets.domain.warehouse.views import VIEWS, View

_INCOMING = "rows_to_publish"
"""Name of the rows on their way into the database."""

Tables = Mapping[type[Table], pd.DataFrame | pa.Table]
"""Rows by their table; each is asked for once, so that they may be read one after the other."""

INDEXED_ROWS = 50_000
"""Rows up to which a table is published with its key. The index behind a key of many columns is ten times as large as
the table, and who sums up never uses it: of a larger table the key is checked, and named in its comment."""


def publish_database(tables: Tables, destination: Path, *, keep: int = 0) -> pd.DataFrame:
    """Builds the database aside, checks it, and renames it over the published one, which is kept as an earlier one.

    A reader keeps the file it has open; the next connection sees the new one. After an error the published file is
    as it was.

    Args:
        tables: Rows of every table to publish; a table without rows is published empty.
        destination: The database file; it lies in a folder of the home.
        keep: How many earlier publications stay beside it.

    Returns:
        ``warehouse.database``: one row per published table and view, itself not among them.

    Raises:
        TableError: What was built does not hold what it should; names the table or view.
    """
    views = [view for view in VIEWS if set(view.needs) <= set(tables)]
    # a folder, so that the write-ahead log beside the file goes with it when this process is killed
    with folder_aside(destination) as folder:
        aside = folder / destination.name
        with duckdb.connect(str(aside)) as connection:
            connection.begin()  # one commit: hundreds of comments, each with its own, would take most of the time
            manifest = _build(connection, tables, views, destination)
            connection.commit()
        check_publication(aside, manifest, views)
        keep_standing(destination, keep=keep)
        aside.replace(destination)
    return manifest


def _build(connection: duckdb.DuckDBPyConnection, tables: Tables, views: list[View], destination: Path) -> pd.DataFrame:
    """Fills an empty database and returns its manifest, which it holds as well."""
    rows = [_publish_table(connection, table, tables) for table in parents_first(tables)]
    rows += [_publish_view(connection, view) for view in views]
    # the study's own order, not that in which tables had to be made
    order = {table.full_name(): place for place, table in enumerate(tables)}
    rows.sort(key=lambda row: order.get(str(row["table_name"]), len(order)))
    manifest = pd.DataFrame(rows).assign(
        path=destination.relative_to(destination.parents[1]).as_posix(),
        published_at=datetime.now(UTC).isoformat(timespec="seconds"),
        software=f"cspine-assets {version('cspine-assets')}, duckdb {duckdb.__version__}",
    )
    _publish_table(connection, Database, {Database: manifest})
    return manifest


def _publish_table(connection: duckdb.DuckDBPyConnection, table: type[Table], tables: Tables) -> dict[str, object]:
    """Creates one table with its keys and comments, fills it, and returns its row of the manifest."""
    rows = _as_arrow(table, tables[table])
    connection.register(_INCOMING, rows)
    broken = _orphans(connection, [key for key in foreign_keys(table) if key.parent in tables])
    holding = [key for key, count in broken.items() if not count]
    indexed = rows.num_rows <= INDEXED_ROWS
    connection.execute(statements.create_schema(table))
    connection.execute(statements.create_table(table, holding, own_key=indexed))
    connection.execute(f"INSERT INTO {statements.quoted_name(table)} FROM {_INCOMING}")
    connection.unregister(_INCOMING)
    if table.key_columns() and not indexed:
        _check_key(connection, table)
    connection.execute("; ".join(statements.comments(table, foreign_keys=holding)))
    return {
        "table_name": table.full_name(),
        "kind": "table",
        "rows": rows.num_rows,
        "fingerprint": fingerprint_rows(rows),
        "foreign_keys": ", ".join(map(str, holding)) or None,
        "broken_keys": ", ".join(f"{key} ({count} rows)" for key, count in broken.items() if count) or None,
    }


def _as_arrow(table: type[Table], rows: pd.DataFrame | pa.Table) -> pa.Table:
    if isinstance(rows, pa.Table):
        return rows.select(column_names(table))
    return pa.Table.from_pandas(rows[column_names(table)], schema=arrow_schema(table), preserve_index=False)


def _orphans(connection: duckdb.DuckDBPyConnection, keys: list[ForeignKey]) -> dict[ForeignKey, int]:
    """Returns for each foreign key how many of the incoming rows name a parent that is not published."""
    if not keys:
        return {}
    (counts,) = connection.execute(statements.count_orphans(_INCOMING, keys)).fetchall()
    return dict(zip(keys, counts, strict=True))


def _check_key(connection: duckdb.DuckDBPyConnection, table: type[Table]) -> None:
    """Makes sure that a table's key tells its rows apart.

    Raises:
        TableError: It does not.
    """
    twice = _single(connection, statements.count_repeated_keys(table))
    if twice:
        raise TableError(
            f"{table.full_name()}: expected {', '.join(table.key_columns())} to tell its rows apart, {twice} of them "
            "stand for several rows. The published database stands as it was; materialize the table again."
        )


def _publish_view(connection: duckdb.DuckDBPyConnection, view: View) -> dict[str, object]:
    """Creates a view with its comments, and returns its row of the manifest."""
    connection.execute(statements.create_view(view))
    connection.execute("; ".join(statements.comments(view.description, "VIEW")))
    return {
        "table_name": view.name,
        "kind": "view",
        "rows": _single(connection, f"SELECT count(*) FROM {statements.quoted_name(view.description)}"),  # noqa: S608
        "fingerprint": fingerprint_text(view.select),
        "foreign_keys": None,
        "broken_keys": None,
    }


def check_publication(path: Path, manifest: pd.DataFrame, views: list[View]) -> None:
    """Opens a database anew and holds it against what it should be: every row there, every view as described.

    Raises:
        TableError: A table has another number of rows, or a view other columns.
    """
    wanted = dict(zip(manifest["table_name"], manifest["rows"], strict=True))
    wanted = {name: rows for name, rows in wanted.items() if name not in {view.name for view in views}}
    with duckdb.connect(str(path), read_only=True) as connection:
        for name, rows in {**wanted, Database.full_name(): len(manifest)}.items():
            found = _single(connection, f"SELECT count(*) FROM {statements.quoted_path(name)}")  # noqa: S608
            if found != rows:
                raise TableError(
                    f"{name}: {rows} rows were to be published, the new database has {found}. "
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
    ((number,),) = connection.execute(statement).fetchall()
    return int(number)
