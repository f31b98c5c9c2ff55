"""Damage in stored tables: files that cannot be read, and files whose rows are not those that were written.

Add a look here when a file can be damaged in another way. Reading and writing tables is the matter of ``lake``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from cspine_assets.domain.errors import TableError
from cspine_assets.domain.lake import Lake, described_columns, fingerprint_content
from cspine_assets.domain.tables.base import Table


def damaged_files(lake: Lake, table: type[Table]) -> Iterator[tuple[Path, str]]:
    """Yields the damaged files of a table, each with what is wrong with it.

    Each file's footer is read, then all of its rows, whose fingerprint is held against the one in the footer. Rows of
    other columns than are described now, as of an earlier release, are read and not compared.
    """
    keys: list[str | None] = [*lake.partitions(table)]
    if lake.path(table).exists():
        keys.append(None)
    for key in keys:
        path = lake.path(table, key)
        try:
            stamp = lake.stamp(table, key)
            if stamp is None or not stamp.fingerprint:
                yield path, "it has no stamp"
                continue
            rows = lake.read(table, [key]) if key else lake.read_whole(table)
        except (TableError, pa.ArrowException, OSError, ValueError) as error:
            yield path, f"it cannot be read ({type(error).__name__})"
            continue
        is_described = stamp.columns == described_columns(table)
        if is_described and fingerprint_content(rows, lake.notes(table, key)) != stamp.fingerprint:
            yield path, "its rows are not those that were written"
