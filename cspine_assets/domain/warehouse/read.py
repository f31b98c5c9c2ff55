"""Asking the published database: read only, with nothing else of the machine in reach, and within limits.

Add a way of asking here. What the tables hold is decided by ``publish``.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import duckdb
import pandas as pd
import pyarrow as pa
from pandas.api.extensions import ExtensionDtype

from cspine_assets.domain.errors import CSpineError, HomeError
from cspine_assets.domain.warehouse.statements import quoted, text

Connection: TypeAlias = duckdb.DuckDBPyConnection

CATALOG: Final = "cspine"
_ROWS_PER_BATCH: Final = 50_000
_READING: Final = {duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN}
_PLAIN_TYPES: Final = {
    *("BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT"),
    *("UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "FLOAT", "DOUBLE", "VARCHAR"),
}
"""Types that Arrow, pandas and the screen hold as they are."""
_CLOSED: Final = {
    "allow_community_extensions": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "python_enable_replacements": "false",  # a variable of the calling program is no table
    "temp_directory": "",  # what does not fit into memory is refused, not written to the disk
}


_DAMAGE: Final = "checksum"
"""In what DuckDB says of a block that is not the one that was written."""


class StatementRefusedError(CSpineError):
    """A statement that a reader may not run, that is no SQL, or that went beyond a limit."""


@dataclass(frozen=True)
class Limits:
    """What one statement may take.

    Attributes:
        seconds: Time until it is stopped.
        memory_mb: Memory of the database engine, and again as much for the answer.
    """

    seconds: float = 60.0
    memory_mb: int = 1000


DEFAULT_LIMITS: Final = Limits()


def connect_read_only(
    database: Path, limits: Limits = DEFAULT_LIMITS, *, answer_file: Path | None = None
) -> Connection:
    """Opens the published database for reading; SQL reaches no other file, no network, and no setting.

    Args:
        database: The published database.
        limits: Of its memory.
        answer_file: The one file that an answer may be written to.

    The connection keeps the publication that it opened, also when a newer one takes its place. Two connections of one
    process are strangers: each sees what was published when it was opened.

    Raises:
        HomeError: Nothing has been published, or the file is no DuckDB database.
    """
    if not database.exists():
        raise HomeError(
            f"{database}: expected the published database, there is none yet. "
            "Materialize the asset warehouse/database first (`cspine demo` or `cspine materialize`)."
        )
    try:
        # attached, not opened: DuckDB would hand a second opener of the same path the instance of the first, old file
        connection = duckdb.connect(":memory:", config={**_CLOSED, "memory_limit": f"{limits.memory_mb}MB"})
        connection.execute(f"ATTACH {text(str(database))} AS {CATALOG} (READ_ONLY)")
        connection.execute(f"USE {CATALOG}")
        if answer_file is not None:
            connection.execute(f"SET allowed_paths = [{text(str(answer_file))}]")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
    except duckdb.Error as error:
        raise HomeError(
            f"{database}: expected a DuckDB database, it cannot be opened ({one_line(error)}). "
            "Materialize the asset warehouse/database again."
        ) from error
    return connection


def statements_of(connection: Connection, sql: str) -> list[str]:
    """Returns the statements of a text, each of them one that reads.

    Raises:
        StatementRefusedError: It is no SQL, holds no statement, or holds one that does more than read.
    """
    return [statement.query for statement in _parsed(connection, sql)]


def only_statement(connection: Connection, sql: str) -> duckdb.Statement:
    """Returns the one statement of a text, which reads.

    Raises:
        StatementRefusedError: As ``statements_of``, or there are several.
    """
    statements = _parsed(connection, sql)
    if len(statements) > 1:
        raise StatementRefusedError(f"expected one statement, got {len(statements)}.")
    return statements[0]


def _parsed(connection: Connection, sql: str) -> list[duckdb.Statement]:
    try:
        found = connection.extract_statements(sql)
    except duckdb.Error as error:
        raise StatementRefusedError(f"this is no SQL: {one_line(error)}") from error
    for statement in found:
        if statement.type not in _READING:
            raise StatementRefusedError(
                f"refused {statement.type.name}: expected a statement that reads "
                "(SELECT, FROM, WITH, DESCRIBE, SHOW, SUMMARIZE, EXPLAIN; PIVOT with its values named by IN)."
            )
    if not found:
        raise StatementRefusedError("expected an SQL statement, got none.")
    return found


def ask(connection: Connection, statement: str, limits: Limits = DEFAULT_LIMITS, *, readable: bool = False) -> pa.Table:
    """Returns the answer to exactly one statement that reads.

    Args:
        connection: To ask.
        statement: The question.
        limits: Of the statement.
        readable: Whether all but numbers and truth values come as DuckDB's own text, for people to read; Python and
            Arrow have no type for some of DuckDB's, such as an interval or the date infinity.

    Raises:
        StatementRefusedError: The statement is not valid, does more than read, is more than one, or took more than it
            may.
    """
    asked = only_statement(connection, statement).query
    with refusals(connection, limits):
        relation = connection.sql(asked)
        return _fetch(_readable(relation) if readable else relation, limits)


@contextmanager
def refusals(connection: Connection, limits: Limits) -> Iterator[None]:
    """Stops what a connection does after its time, and turns what the engine raises into a refusal.

    Raises:
        StatementRefusedError: Whatever the engine raised.
    """
    with _stopped_after(connection, limits.seconds) as stopped:
        try:
            yield
        except (duckdb.Error, pa.ArrowException, MemoryError, OSError) as error:
            if stopped.is_set():
                raise StatementRefusedError(
                    f"stopped after {limits.seconds:g} s. Ask for less, or allow more time."
                ) from error
            if isinstance(error, duckdb.OutOfMemoryException | MemoryError | pa.ArrowException | OSError):
                raise _too_large(limits, one_line(error)) from error
            raise _damaged_or_refused(error) from error


def _damaged(what: str, error: Exception) -> HomeError:
    return HomeError(
        f"{what}: expected the database that was published, a part of it is damaged ({one_line(error)}). "
        "Publish it again: `cspine materialize --only warehouse --force`."
    )


def _damaged_or_refused(error: Exception) -> CSpineError:
    """Returns what to tell of a statement that failed: the database is damaged, or the statement is wrong."""
    if _DAMAGE in str(error):
        return _damaged("this statement", error)
    return StatementRefusedError(f"the database refused the statement: {one_line(error)}")


def _readable(relation: duckdb.DuckDBPyRelation) -> duckdb.DuckDBPyRelation:
    """Returns a relation whose columns are numbers, truth values and text, each name once."""
    if all(_is_plain(str(kind)) for kind in relation.types) and len(set(relation.columns)) == len(relation.columns):
        return relation
    parts, used = [], set()
    for number, (name, kind) in enumerate(zip(relation.columns, relation.types, strict=True), start=1):
        own, count = name, 0
        while own in used:
            count += 1
            own = f"{name}_{count}"
        used.add(own)
        parts.append(f"#{number}{'' if _is_plain(str(kind)) else '::VARCHAR'} AS {quoted(own)}")
    return relation.project(", ".join(parts))


def _is_plain(kind: str) -> bool:
    return kind in _PLAIN_TYPES or kind.startswith("DECIMAL")


def query(database: Path, statement: str, limits: Limits = DEFAULT_LIMITS) -> pd.DataFrame:
    """Returns the answer to one statement, its columns of pandas' nullable types.

    Raises:
        HomeError: As ``connect_read_only``.
        StatementRefusedError: As ``ask``.
    """
    with connect_read_only(database, limits) as connection:
        return to_frame(ask(connection, statement, limits))


def to_frame(answer: pa.Table) -> pd.DataFrame:
    """Returns an answer as pandas holds it: integers stay integers where values are missing, decimals are floats."""
    columns = [_plain(answer.column(i)) for i in range(answer.num_columns)]
    plain = pa.table(columns, names=answer.column_names) if columns else answer
    frame: pd.DataFrame = plain.to_pandas(types_mapper=_pandas_type)
    return frame


def one_line(error: Exception) -> str:
    """Returns an error's message without the quotation of the statement that follows it."""
    return " ".join(str(error).split("\nLINE ", maxsplit=1)[0].split())


@contextmanager
def _stopped_after(connection: Connection, seconds: float) -> Iterator[threading.Event]:
    """Interrupts what a connection does after some time; the event tells that it did."""
    stopped = threading.Event()

    def stop() -> None:
        stopped.set()
        connection.interrupt()

    timer = threading.Timer(seconds, stop)
    timer.daemon = True
    timer.start()
    try:
        yield stopped
    finally:
        timer.cancel()


def _fetch(relation: duckdb.DuckDBPyRelation, limits: Limits) -> pa.Table:
    """Fetches an answer piece by piece: the engine's own limit does not count what it has handed out."""
    batches, size = [], 0
    with relation.to_arrow_reader(_ROWS_PER_BATCH) as reader:  # left open, it would block the connection
        for batch in reader:
            size += batch.nbytes
            if size > limits.memory_mb * 1e6:
                raise _too_large(limits, "the answer is larger than that")
            batches.append(batch)
        return pa.Table.from_batches(batches, schema=reader.schema)


def _too_large(limits: Limits, why: str) -> StatementRefusedError:
    return StatementRefusedError(f"stopped at {limits.memory_mb} MB of memory ({why}). Ask for less, or allow more.")


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Returns decimals (a sum of integers is one) as integers where they fit, else as floats."""
    if not pa.types.is_decimal(column.type):
        return column
    try:
        return column.cast(pa.int64())
    except pa.ArrowInvalid:
        return column.cast(pa.float64())


def _pandas_type(dtype: pa.DataType) -> ExtensionDtype | None:
    if pa.types.is_integer(dtype):
        return pd.Int64Dtype() if dtype != pa.uint64() else pd.UInt64Dtype()
    if pa.types.is_floating(dtype):
        return pd.Float64Dtype()
    if pa.types.is_boolean(dtype):
        return pd.BooleanDtype()
    return pd.StringDtype("python") if pa.types.is_string(dtype) else None
