"""Checksums of a DuckDB file, block by block: a damaged block is found also where no statement happens to read it.

Change it when DuckDB's storage does. What the database holds, and how it is asked, is no matter of this module.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cspine_assets.domain.errors import HomeError

_MAGIC: Final = b"DUCK"
_HEADERS: Final = 3
_HEADER_BYTES: Final = 4096
_BLOCK_BYTES: Final = 262_144
_BLOCKS_AT_A_TIME: Final = 64

# DuckDB: src/common/checksum.cpp; every eight bytes times the factor, all of them and the seed joined by exclusive or
_FACTOR: Final = np.uint64(0xBF58476D1CE4E5B9)
_SEED: Final = np.uint64(5381)


def require_intact(database: Path) -> None:
    """Makes sure that a DuckDB file is as it was written: every header and block has its checksum before it.

    The whole file is read, at some gigabytes a second.

    Raises:
        HomeError: The file is missing, cut short, no DuckDB database, or a block of it is damaged.
    """
    try:
        with database.open("rb") as stream:
            headers = stream.read(_HEADERS * _HEADER_BYTES)
            if len(headers) < _HEADERS * _HEADER_BYTES or headers[8:12] != _MAGIC:
                raise _damaged(database, "it is no DuckDB database")
            if not _hold(headers, _HEADER_BYTES).all():
                raise _damaged(database, "a header is not the one that was written")
            read = 0
            while part := stream.read(_BLOCKS_AT_A_TIME * _BLOCK_BYTES):
                if len(part) % _BLOCK_BYTES:
                    raise _damaged(database, "its end is missing")
                holding = _hold(part, _BLOCK_BYTES)
                if not holding.all():
                    raise _damaged(database, f"block {read + int(np.argmin(holding))} is not the one that was written")
                read += len(holding)
    except OSError as error:
        raise _damaged(database, f"it cannot be read, {error.strerror}") from error


def _hold(content: bytes, size: int) -> NDArray[np.bool_]:
    """Returns of each piece of some bytes whether it has the checksum that stands before it."""
    words = np.frombuffer(content, "<u8").reshape(-1, size // 8)
    found: NDArray[np.bool_] = (np.bitwise_xor.reduce(words[:, 1:] * _FACTOR, axis=1) ^ _SEED) == words[:, 0]
    return found


def _damaged(database: Path, what: str) -> HomeError:
    return HomeError(
        f"{database}: expected the database that was published, {what}. "
        "Publish it again: `cspine materialize --only warehouse --force`."
    )
