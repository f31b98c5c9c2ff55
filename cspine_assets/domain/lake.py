"""The lake: one Parquet file per table and partition, each written aside and then renamed.

What every table needs to be stored, read back and compared by content lives here. What a column means stands in
``tables``; the published database is the warehouse's.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pandas.api.extensions import ExtensionDtype
from pyarrow.dataset import dataset

from cspine_assets.domain.errors import TableError
from cspine_assets.domain.files import written_aside
from cspine_assets.domain.gathered import file_state, read_gathered
from cspine_assets.domain.named_files import NamedFile, as_text, from_text
from cspine_assets.domain.tables.base import TEXT, Table, arrow_schema, empty_frame, validate

WHOLE = "all"
"""File name of a table that has no partitions."""

_FINGERPRINT = b"cspine.fingerprint"
_INPUTS = b"cspine.inputs"
_COMPLETE = b"cspine.complete"
_NOTES = b"cspine.notes"
_FILES = b"cspine.files"
_ROWS_PER_GROUP = 100_000
"""Rows that are held twice, as pandas' and as Arrow's, while a table is written."""

_COPIES = ".gathered"
"""Folder of the lake for copies of tables of many files; it may go at any time."""

_MANY = 32
"""Files from which a copy of them all is worth its writing."""

_SMALL_BYTES = 1_000_000
"""Size below which a file is read at once."""

_PANDAS_TYPES: dict[pa.DataType, ExtensionDtype] = {
    pa.string(): TEXT,
    pa.int64(): pd.Int64Dtype(),
    pa.float64(): pd.Float64Dtype(),
    pa.bool_(): pd.BooleanDtype(),
}


@dataclass(frozen=True)
class Stamp:
    """What a stored table or partition is, and what it was made from.

    Attributes:
        fingerprint: SHA-256 of the content, row order included; equal content has an equal fingerprint.
        inputs: Fingerprint of all that went in, as its writer stated it.
        rows: Number of rows.
        complete: Whether everything that should be there is; a partition with a failed exam is not complete.
        columns: Fingerprint of the stored columns: names, types and whether a value may be missing, in any order.
        files: Files that the rows name, as they were when the rows were written; None where that was not kept. No part
            of the fingerprint.
    """

    fingerprint: str
    inputs: str
    rows: int
    complete: bool
    columns: str
    files: tuple[NamedFile, ...] | None = None


@dataclass(frozen=True)
class Lake:
    """Tables by their name, ``schema.table``, under one root."""

    root: Path

    def folder(self, table: type[Table]) -> Path:
        """Returns the folder of a table."""
        schema, name = table.full_name().split(".")
        return self.root / schema / name

    def path(self, table: type[Table], partition: str | None = None) -> Path:
        """Returns the file of a table, or of one of its partitions."""
        return self.folder(table) / f"{partition or WHOLE}.parquet"

    def partitions(self, table: type[Table]) -> list[str]:
        """Returns the stored partitions of a table, sorted; a table without partitions has none."""
        return sorted(path.stem for path in self._files(table) if path.stem != WHOLE)

    def _files(self, table: type[Table]) -> list[Path]:
        """Returns the files of a table, sorted by name; what is being written is not among them."""
        folder = self.folder(table)
        try:
            names = os.listdir(folder)  # noqa: PTH208 - to sort a thousand paths takes ten times as long as their names
        except FileNotFoundError:
            return []
        return [folder / name for name in sorted(names) if name.endswith(".parquet") and name[0] != "."]

    def write(
        self,
        table: type[Table],
        frame: pd.DataFrame,
        *,
        partition: str | None = None,
        inputs: str = "",
        complete: bool = True,
        notes: str = "",
        files: Iterable[NamedFile] | None = None,
    ) -> Stamp:
        """Validates a table and writes it, whole or not at all.

        Args:
            table: The description that the frame must fit.
            frame: Rows; columns in any order.
            partition: Partition key, or None for a table without partitions.
            inputs: Fingerprint of all that went into these rows.
            complete: False where something is missing and the rows say why.
            notes: What else to keep beside the rows, such as what was left out; a part of the fingerprint.
            files: Files that the rows name, where there are any.

        Raises:
            TableError: The frame does not fit the description.
        """
        checked = validate(table, frame)
        content = fingerprint_content(checked, notes)
        named = None if files is None else tuple(files)
        stamp = Stamp(content, inputs, len(checked), complete, described_columns(table), named)
        schema = stored_schema(table, stamp)
        if notes:
            schema = schema.with_metadata({**(schema.metadata or {}), _NOTES: notes.encode()})
        path = self.path(table, partition)
        with written_aside(path) as aside, pq.ParquetWriter(aside, schema) as writer:
            for start in range(0, max(len(checked), 1), _ROWS_PER_GROUP):
                piece = checked.iloc[start : start + _ROWS_PER_GROUP]
                writer.write_table(pa.Table.from_pandas(piece, schema=schema, preserve_index=False))
        return stamp

    def append(self, table: type[Table], frame: pd.DataFrame, *, inputs: str = "") -> Stamp:
        """Validates rows and adds them to a table that is never rewritten, as a file of their own.

        Args:
            table: The description that the frame must fit.
            frame: The new rows; none are a note that these inputs have been looked at.
            inputs: Fingerprint of all that went into these rows.

        Raises:
            TableError: The frame does not fit the description.
        """
        # named by the moment: in order, and no two writers take the same name
        moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
        return self.write(table, frame, partition=moment, inputs=inputs)

    def read(
        self, table: type[Table], partitions: Iterable[str] | None = None, *, columns: Sequence[str] | None = None
    ) -> pd.DataFrame:
        """Returns the rows of a table, or of some of its partitions, as pandas holds them; see ``read_arrow``."""
        return to_frame(self.read_arrow(table, partitions, columns=columns))

    def read_arrow(
        self, table: type[Table], partitions: Iterable[str] | None = None, *, columns: Sequence[str] | None = None
    ) -> pa.Table:
        """Returns the rows of a table, or of some of its partitions.

        A table or partition that nobody has written yet has no rows; the columns are always those of the description,
        or those of them that are asked for: of a million rows each costs memory. Of a table of many partitions a copy
        is kept in the lake, so that the next reader opens those files alone that have changed since.
        """
        schema = arrow_schema(table)
        wanted = None if columns is None else list(columns)
        if partitions is None:
            paths = self._files(table)
        else:
            paths = [path for path in (self.path(table, key) for key in partitions) if path.exists()]
        if not paths:
            rows = schema.empty_table()
        elif len(paths) == 1:
            return _read_file(paths[0], schema, wanted)
        elif partitions is not None or len(paths) < _MANY:
            rows = pa.concat_tables(_read_files(paths, schema)).combine_chunks()
        else:
            kept = self.root / _COPIES / self.folder(table).relative_to(self.root).with_suffix(".parquet")
            rows = read_gathered(kept, paths, schema, lambda changed: _read_files(changed, schema))
        return rows if wanted is None else rows.select(wanted)

    def read_whole(self, table: type[Table]) -> pd.DataFrame:
        """Returns the rows of the file of a table without partitions."""
        return to_frame(_read_file(self.path(table), arrow_schema(table)))

    def read_column(self, table: type[Table], name: str, partition: str | None = None) -> pd.Series[Any]:
        """Returns one column of a stored table or partition, the rest unread; empty where nothing is stored."""
        path = self.path(table, partition)
        if not path.exists():
            return empty_frame(table)[name]
        rows = _read_file(path, arrow_schema(table), [name])
        column: pd.Series[Any] = to_frame(rows)[name]
        return column

    def stamp(self, table: type[Table], partition: str | None = None) -> Stamp | None:
        """Returns what is stored, from the file's footer alone, or None where nothing is stored."""
        path = self.path(table, partition)
        try:
            # before reading: what is remembered of a file replaced meanwhile is never asked for
            state = file_state(path)
            return _remembered_stamp(path, state) if state else _read_stamp(path)
        except FileNotFoundError:
            return None
        except (pa.ArrowException, OSError) as error:
            raise _damaged(path, error) from error

    def notes(self, table: type[Table], partition: str | None = None) -> str:
        """Returns what is kept beside the rows of a stored table or partition; empty where there is nothing."""
        path = self.path(table, partition)
        metadata = pq.read_metadata(path).metadata or {} if path.exists() else {}
        return str(metadata.get(_NOTES, b"").decode())

    def count(self, table: type[Table]) -> int:
        """Returns the number of rows that are stored of a table, by the footers of its files."""
        keys: list[str | None] = [*self.partitions(table)] or [None]
        return sum(stamp.rows for stamp in (self.stamp(table, key) for key in keys) if stamp is not None)

    def remove(self, table: type[Table], partition: str | None = None) -> None:
        """Removes a stored table or partition; nothing happens where there is none."""
        self.path(table, partition).unlink(missing_ok=True)


@lru_cache(maxsize=100_000)
def _remembered_stamp(path: Path, _state: tuple[int, ...]) -> Stamp:
    """Reads the stamp of a file once for each of its states: a patient's stand in the way of every table below."""
    return _read_stamp(path)


def _read_stamp(path: Path) -> Stamp:
    footer = pq.read_metadata(path)
    metadata = footer.metadata or {}
    return Stamp(
        fingerprint=metadata.get(_FINGERPRINT, b"").decode(),
        inputs=metadata.get(_INPUTS, b"").decode(),
        rows=footer.num_rows,
        complete=metadata.get(_COMPLETE) == b"True",
        columns=_fingerprint_columns(footer.schema),
        files=from_text(metadata[_FILES].decode()) if _FILES in metadata else None,
    )


@cache
def described_columns(table: type[Table]) -> str:
    """Returns the ``Stamp.columns`` that a table has when it is written as it is described now."""
    empty = pa.BufferOutputStream()
    pq.write_table(arrow_schema(table).empty_table(), empty)
    return _fingerprint_columns(pq.read_metadata(pa.BufferReader(empty.getvalue())).schema)


def _fingerprint_columns(schema: pq.ParquetSchema) -> str:
    # one line a column, with its type: to ask each column for them takes eight times as long, and files are many
    columns = sorted(line.strip() for line in str(schema).splitlines() if line.endswith(";"))
    return hashlib.sha256("\n".join(columns).encode()).hexdigest()


def _read_files(paths: Sequence[Path], schema: pa.Schema) -> list[pa.Table]:
    """Reads files one by one: one dataset over a thousand of them takes twice as long, and so do threads."""
    return [_read_file(path, schema) for path in paths]


def _read_file(path: Path, schema: pa.Schema, columns: list[str] | None = None) -> pa.Table:
    """Reads a file as described: one from before a column was added has that column empty, as a newer would have.

    Raises:
        TableError: It is damaged.
    """
    try:
        return _read_rows(path, schema, columns)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> TableError:
    """Returns what to tell of a damaged file.

    Raises:
        OSError: It is not damaged, and the system says why it cannot be read, such as of a disk that fails.
    """
    if isinstance(error, OSError) and error.errno:
        raise error
    return TableError(
        f"{path}: expected a Parquet file, got something unreadable ({type(error).__name__}). "
        "Delete the file and call `cspine materialize`, which makes it again."
    )


def _read_rows(path: Path, schema: pa.Schema, columns: list[str] | None) -> pa.Table:
    wanted = schema if columns is None else pa.schema([schema.field(name) for name in columns])
    small = _read_small(path, columns)
    if small is not None and set(wanted.names) <= set(small.column_names):
        small = small if columns is None else small.select(columns)  # they come in the file's order
        if small.schema.equals(wanted):
            return small
    return dataset([str(path)], schema=schema, format="parquet").to_table(columns=columns)


def _read_small(path: Path, columns: list[str] | None) -> pa.Table | None:
    """Reads a file of some kilobytes at once, in this thread: to hand it to another takes longer than to read it.

    Returns:
        Its rows, or None where it is large or cannot be read; who reads it as a dataset is told why.
    """
    with suppress(pa.ArrowInvalid, OSError):
        if path.stat().st_size < _SMALL_BYTES:
            file = pq.ParquetFile(pa.BufferReader(path.read_bytes()), pre_buffer=False)
            return file.read(columns=columns, use_threads=False)
    return None


def to_frame(rows: pa.Table) -> pd.DataFrame:
    """Returns stored rows as pandas holds them.

    What was written had been validated, and the file's schema is checked in reading: types are enough here.
    """
    frame: pd.DataFrame = rows.to_pandas(types_mapper=_PANDAS_TYPES.get)
    return frame


def stored_schema(table: type[Table], stamp: Stamp) -> pa.Schema:
    """Returns the schema of a stored file: the table's own, with the stamp beside it."""
    schema = arrow_schema(table)
    stamped = {
        _FINGERPRINT: stamp.fingerprint.encode(),
        _INPUTS: stamp.inputs.encode(),
        _COMPLETE: str(stamp.complete).encode(),
        **({} if stamp.files is None else {_FILES: as_text(stamp.files).encode()}),
    }
    return schema.with_metadata({**(schema.metadata or {}), **stamped})


def fingerprint_content(frame: pd.DataFrame, notes: str = "") -> str:
    """Returns ``Stamp.fingerprint`` of rows and of the notes beside them."""
    rows = fingerprint_frame(frame)
    return hashlib.sha256(f"{rows}|{notes}".encode()).hexdigest() if notes else rows


def fingerprint_frame(frame: pd.DataFrame) -> str:
    """Returns a SHA-256 over a frame's columns, types and values in their order."""
    return _fingerprint(frame, _row_hashes(frame))


def fingerprint_groups(frame: pd.DataFrame, by: str) -> dict[str, str]:
    """Returns ``fingerprint_frame`` of the rows of each value of a column, all rows hashed at once."""
    hashes = _row_hashes(frame)
    places = frame.groupby(by).indices
    return {str(name): _fingerprint(frame, hashes[rows]) for name, rows in places.items()}


def _row_hashes(frame: pd.DataFrame) -> NDArray[np.integer[Any]]:
    return pd.util.hash_pandas_object(frame, index=False, categorize=False).to_numpy()


def _fingerprint(frame: pd.DataFrame, row_hashes: NDArray[np.integer[Any]]) -> str:
    described = [f"{name}:{dtype}" for name, dtype in frame.dtypes.items()]
    return hashlib.sha256("|".join(described).encode() + row_hashes.tobytes()).hexdigest()


def fingerprint_rows(rows: pa.Table) -> str:
    """Returns a SHA-256 over a table's columns, types and values in their order, however Arrow holds them.

    It is to rows what ``fingerprint_frame`` is to a frame, in a twentieth of the time; the two are never equal.
    """
    digest = hashlib.sha256()
    for field, column in zip(rows.schema, rows.columns, strict=True):
        digest.update(f"|{field.name}:{field.type}:{len(column)}|".encode())
        digest.update(np.packbits(column.is_valid().to_numpy()).tobytes())
        for part in _plain(column):
            digest.update(part)
    return digest.hexdigest()


def _plain(column: pa.ChunkedArray) -> Iterator[Any]:
    """Yields a column's values as bytes: of texts their lengths and then themselves; what is missing is zero."""
    if not len(column):
        return
    if not pa.types.is_string(column.type):
        yield pc.fill_null(column, pa.scalar(0).cast(column.type)).to_numpy()
        return
    texts = pa.concat_arrays(pc.fill_null(column, "").chunks)
    yield pc.binary_length(texts).to_numpy()
    _, offsets, values = texts.buffers()
    first, last = np.frombuffer(offsets, np.int32)[[texts.offset, texts.offset + len(texts)]]
    yield memoryview(values or b"")[first:last]
