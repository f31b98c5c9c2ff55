"""The lake: one Parquet file per table and partition, each written aside and then renamed.

What every table needs to be stored, read back and compared by content lives here. What a column means stands in
``tables``; the published database is the warehouse's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pandas.api.extensions import ExtensionDtype
from pyarrow.dataset import dataset

from cspine_assets.domain.errors import TableError
from cspine_assets.domain.files import written_aside
from cspine_assets.domain.tables.base import Table, arrow_schema, empty_frame, validate

WHOLE = "all"
"""File name of a table that has no partitions."""

_FINGERPRINT = b"cspine.fingerprint"
_INPUTS = b"cspine.inputs"
_COMPLETE = b"cspine.complete"
_ROWS_PER_GROUP = 100_000
"""Rows that are held twice, as pandas' and as Arrow's, while a table is written."""

_PANDAS_TYPES: dict[pa.DataType, ExtensionDtype] = {
    pa.string(): pd.StringDtype("python"),
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
    """

    fingerprint: str
    inputs: str
    rows: int
    complete: bool


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
        names = (path.stem for path in self.folder(table).glob("*.parquet") if not path.name.startswith("."))
        return sorted(name for name in names if name != WHOLE)

    def write(
        self,
        table: type[Table],
        frame: pd.DataFrame,
        *,
        partition: str | None = None,
        inputs: str = "",
        complete: bool = True,
    ) -> Stamp:
        """Validates a table and writes it, whole or not at all.

        Args:
            table: The description that the frame must fit.
            frame: Rows; columns in any order.
            partition: Partition key, or None for a table without partitions.
            inputs: Fingerprint of all that went into these rows.
            complete: False where something is missing and the rows say why.

        Raises:
            TableError: The frame does not fit the description.
        """
        checked = validate(table, frame)
        fingerprint = fingerprint_frame(checked)
        schema = arrow_schema(table)
        metadata = {
            **(schema.metadata or {}),
            _FINGERPRINT: fingerprint.encode(),
            _INPUTS: inputs.encode(),
            _COMPLETE: str(complete).encode(),
        }
        path = self.path(table, partition)
        with written_aside(path) as aside, pq.ParquetWriter(aside, schema.with_metadata(metadata)) as writer:
            for start in range(0, max(len(checked), 1), _ROWS_PER_GROUP):
                piece = checked.iloc[start : start + _ROWS_PER_GROUP]
                writer.write_table(pa.Table.from_pandas(piece, schema=schema, preserve_index=False))
        return Stamp(fingerprint, inputs, len(checked), complete)

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
        """Returns the rows of a table, or of some of its partitions.

        A table or partition that nobody has written yet has no rows; the columns are always those of the description,
        or those of them that are asked for: of a million rows each costs memory.
        """
        wanted = None if columns is None else list(columns)
        if partitions is None:
            paths = sorted(path for path in self.folder(table).glob("*.parquet") if path.name[0] != ".")
        else:
            paths = [path for path in (self.path(table, key) for key in partitions) if path.exists()]
        if not paths:
            empty = empty_frame(table)
            return empty if wanted is None else empty[wanted]
        rows = (
            _many(paths, arrow_schema(table), wanted) if len(paths) > 1 else _one(paths[0], arrow_schema(table), wanted)
        )
        # what was written had been validated, and the file's schema is checked in reading: types are enough here
        frame: pd.DataFrame = rows.to_pandas(types_mapper=_PANDAS_TYPES.get)
        return frame

    def read_column(self, table: type[Table], name: str, partition: str | None = None) -> pd.Series[Any]:
        """Returns one column of a stored table or partition, the rest unread; empty where nothing is stored."""
        path = self.path(table, partition)
        if not path.exists():
            return empty_frame(table)[name]
        schema = arrow_schema(table)
        rows = _small(path, [name], pa.schema([schema.field(name)]))
        rows = _one(path, schema, [name]) if rows is None else rows
        column: pd.Series[Any] = rows.to_pandas(types_mapper=_PANDAS_TYPES.get)[name]
        return column

    def stamp(self, table: type[Table], partition: str | None = None) -> Stamp | None:
        """Returns what is stored, from the file's footer alone, or None where nothing is stored."""
        path = self.path(table, partition)
        try:
            footer = pq.read_metadata(path)
        except FileNotFoundError:
            return None
        except pa.ArrowInvalid as error:
            raise TableError(
                f"{path}: expected a Parquet file of table {table.full_name()}, got something unreadable "
                f"({error}). Delete the file and materialize the asset again."
            ) from error
        metadata = footer.metadata or {}
        return Stamp(
            fingerprint=metadata.get(_FINGERPRINT, b"").decode(),
            inputs=metadata.get(_INPUTS, b"").decode(),
            rows=footer.num_rows,
            complete=metadata.get(_COMPLETE) == b"True",
        )

    def remove(self, table: type[Table], partition: str | None = None) -> None:
        """Removes a stored table or partition; nothing happens where there is none."""
        self.path(table, partition).unlink(missing_ok=True)


def _one(path: Path, schema: pa.Schema, columns: list[str] | None) -> pa.Table:
    """Reads a file as described: one from before a column was added has that column empty, as a newer would have."""
    return dataset([str(path)], schema=schema, format="parquet").to_table(columns=columns)


def _many(paths: Sequence[Path], schema: pa.Schema, columns: list[str] | None) -> pa.Table:
    """Reads files of some kilobytes each, one by one: one dataset over a thousand of them takes twice as long."""
    wanted = schema if columns is None else pa.schema([schema.field(name) for name in columns])
    pieces = [_small(path, columns, wanted) for path in paths]
    known = zip(pieces, paths, strict=True)
    whole = [_one(path, schema, columns) if rows is None else rows for rows, path in known]
    return pa.concat_tables(whole).combine_chunks()


def _small(path: Path, columns: list[str] | None, wanted: pa.Schema) -> pa.Table | None:
    """Reads a small file at once, in this thread: to hand it to another takes longer than to read it.

    Returns:
        Its rows, or None where it is not as described or cannot be read; who reads it as a dataset is told why.
    """
    try:
        file = pq.ParquetFile(pa.BufferReader(path.read_bytes()), pre_buffer=False)
        rows = file.read(columns=columns, use_threads=False)
    except (pa.ArrowInvalid, OSError):
        return None
    if columns is not None and rows.num_columns == len(columns):
        rows = rows.select(columns)  # they come in the file's order
    return rows if rows.schema == wanted else None


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
