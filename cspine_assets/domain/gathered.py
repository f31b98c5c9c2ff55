"""Many small Parquet files kept together as one more, so that a thousand need not be opened to read a table.

What is kept is a copy that may go at any time: it is made anew from the parts, and says of each in which state its file
was read. Change this when a copy must notice another kind of change; which files are a table is the lake's.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from cspine_assets.domain.files import written_aside

Read = Callable[[Sequence[Path]], list[pa.Table]]

_PARTS: Final = b"cspine.parts"
_SETTLED_NS: Final = 2_000_000_000
"""A file changed within the coarsest clock's tick before it was read may have changed again without a trace: FAT's."""


@dataclass(frozen=True)
class Part:
    """A file as it was when its rows were copied, and how many they are.

    Attributes:
        name: File name.
        state: Size, times of change in nanoseconds and inode; a file that is written anew has another one. None where
            the file was too young to be told from its successor.
        rows: Number of rows.
    """

    name: str
    state: tuple[int, ...] | None
    rows: int


@dataclass(frozen=True)
class _Copy:
    """Rows of all parts, one after the other."""

    parts: tuple[Part, ...]
    rows: pa.Table


def read_gathered(kept: Path, paths: Sequence[Path], schema: pa.Schema, read: Read) -> pa.Table:
    """Returns the rows of many files, in their order; only those are opened that have changed since the last call.

    Args:
        kept: Where the copy stands or will stand; a missing, damaged or outdated one costs time and nothing else, and
            so does a place that cannot be written to.
        paths: The files; each is only ever replaced as a whole.
        schema: What their rows are.
        read: Reads files, each to a table of its own.
    """
    states = [file_state(path) for path in paths]  # before reading: a file replaced meanwhile is read again next time
    copy = _load(kept, schema)
    slots = _slots(copy.parts if copy else (), paths, states)
    if copy is not None and slots == list(range(len(copy.parts))):
        return copy.rows
    new = iter(read([path for path, slot in zip(paths, slots, strict=True) if slot is None]))
    pieces = _pieces(copy) if copy else []
    tables = [next(new) if slot is None else pieces[slot] for slot in slots]
    rows = pa.concat_tables(tables).combine_chunks()
    _keep(kept, _Copy(tuple(map(_part, paths, states, tables)), rows))
    return rows


def file_state(path: Path) -> tuple[int, ...] | None:
    """Returns what tells a file from one that takes its place; None where the next one might look the same.

    Raises:
        FileNotFoundError: There is no such file.
    """
    found = path.stat()
    if time.time_ns() - max(found.st_mtime_ns, found.st_ctime_ns) < _SETTLED_NS:
        return None
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def _slots(parts: Sequence[Part], paths: Sequence[Path], states: Sequence[tuple[int, ...] | None]) -> list[int | None]:
    """Returns for each file which part of the copy it still is, or None."""
    known = {(part.name, part.state): slot for slot, part in enumerate(parts)}
    return [known.get((path.name, state)) if state else None for path, state in zip(paths, states, strict=True)]


def _part(path: Path, state: tuple[int, ...] | None, rows: pa.Table) -> Part:
    return Part(path.name, state, rows.num_rows)


def _pieces(copy: _Copy) -> list[pa.Table]:
    """Returns the rows of each part; nothing is copied."""
    start, pieces = 0, []
    for part in copy.parts:
        pieces.append(copy.rows.slice(start, part.rows))
        start += part.rows
    return pieces


def _load(kept: Path, schema: pa.Schema) -> _Copy | None:
    """Returns the copy that stands, or None where there is none that can be used."""
    try:
        with pq.ParquetFile(kept, page_checksum_verification=True) as file:
            described = (file.metadata.metadata or {}).get(_PARTS, b"[]")
            parts = tuple(Part(name, state and tuple(state), rows) for name, state, rows in json.loads(described))
            rows = file.read()
    except (OSError, pa.ArrowException, ValueError, TypeError):
        return None
    whole = rows.schema.equals(schema) and rows.num_rows == sum(part.rows for part in parts)
    return _Copy(parts, rows.replace_schema_metadata(schema.metadata)) if whole else None


def _keep(kept: Path, copy: _Copy) -> None:
    """Writes a copy, whole or not at all; without room or leave to write there is none."""
    described = json.dumps([[part.name, part.state, part.rows] for part in copy.parts]).encode()
    schema = copy.rows.schema
    with suppress(OSError), written_aside(kept) as aside:
        marked = copy.rows.replace_schema_metadata({**(schema.metadata or {}), _PARTS: described})
        pq.write_table(marked, aside, write_page_checksum=True)
