"""The SQL that builds a database from descriptions: tables with keys, views, and comments on all of them.

Add a statement when a publication must carry something new. When and where they are run is ``publish``'s.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cspine_assets.domain.tables.base import Table, arrow_schema, column_comment
from cspine_assets.domain.warehouse.keys import ForeignKey
from cspine_assets.domain.warehouse.views import View

SQL_TYPES = {"string": "VARCHAR", "int64": "BIGINT", "double": "DOUBLE", "bool": "BOOLEAN"}


def create_schema(table: type[Table]) -> str:
    """Returns the statement that makes sure of a table's schema."""
    return f"CREATE SCHEMA IF NOT EXISTS {quoted(table.schema_name())}"


def create_table(table: type[Table], foreign_keys: Sequence[ForeignKey], *, own_key: bool) -> str:
    """Returns the statement that creates a table with the keys that it points into, and its own where that is asked."""
    schema = arrow_schema(table)
    parts = [
        f"{quoted(field.name)} {SQL_TYPES[str(field.type)]}{'' if field.nullable else ' NOT NULL'}" for field in schema
    ]
    own = table.key_columns()
    if own and own_key:
        # a primary key holds no missing values; where a part of the key may be missing, unique is what can be promised
        kind = "UNIQUE" if any(schema.field(name).nullable for name in own) else "PRIMARY KEY"
        parts.append(f"{kind} ({', '.join(map(quoted, own))})")
    for key in foreign_keys:
        # DuckDB knows no key into another schema; the comment names it
        if key.parent.schema_name() != table.schema_name():
            continue
        there = f"{quoted_name(key.parent)} ({quoted(key.parent.key_columns()[0])})"
        parts.append(f"FOREIGN KEY ({quoted(key.column)}) REFERENCES {there}")
    return f"CREATE TABLE {quoted_name(table)} ({', '.join(parts)})"


def count_orphans(rows: str, foreign_keys: Sequence[ForeignKey]) -> str:
    """Returns the statement that counts, for each foreign key, the rows whose parent is not there; none names none."""
    known = [f"FROM {quoted_name(key.parent)} SELECT {quoted(key.parent.key_columns()[0])}" for key in foreign_keys]
    pairs = zip(foreign_keys, known, strict=True)
    counts = [f"count(*) FILTER ({quoted(key.column)} NOT IN ({parents}))" for key, parents in pairs]
    return f"SELECT {', '.join(counts)} FROM {rows}"  # noqa: S608 - names are our own


def count_repeated_keys(table: type[Table]) -> str:
    """Returns the statement that counts the values of a table's key that stand for more than one row."""
    own = ", ".join(map(quoted, table.key_columns()))
    return f"SELECT count(*) FROM (SELECT 1 FROM {quoted_name(table)} GROUP BY {own} HAVING count(*) > 1)"  # noqa: S608


def create_view(view: View) -> str:
    """Returns the statement that creates a view."""
    return f"CREATE VIEW {quoted_name(view.description)} AS {view.select}"


def comments(table: type[Table], kind: str = "TABLE", foreign_keys: Sequence[ForeignKey] = ()) -> Iterator[str]:
    """Yields the statements that say what a row is, what each column says, and whose key it is."""
    name = quoted_name(table)
    parents = {key.column: f"; key of {key.parent.full_name()}" for key in foreign_keys}
    own = f" Key: {', '.join(table.key_columns())}." if kind == "TABLE" and table.key_columns() else ""
    yield f"COMMENT ON {kind} {name} IS {text(table.comment() + own)}"
    for field in arrow_schema(table):
        comment = column_comment(field) + parents.get(field.name, "")
        yield f"COMMENT ON COLUMN {name}.{quoted(field.name)} IS {text(comment)}"


def quoted_name(table: type[Table]) -> str:
    """Returns ``"schema"."table"``."""
    return quoted_path(table.full_name())


def quoted_path(name: str) -> str:
    """Returns the name of a table or view, ``schema.table`` or ``view``, each of its parts quoted."""
    return ".".join(map(quoted, name.split(".")))


def quoted(identifier: str) -> str:
    """Returns an identifier that may be any word."""
    return '"' + identifier.replace('"', '""') + '"'


def text(value: str) -> str:
    """Returns a text literal."""
    return "'" + value.replace("'", "''") + "'"
