"""Files that stored rows name, as they were when the rows were written: by size and time, and by content.

Add here what tells a file from another one in its place. Which files the rows of a table name is said by its asset.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, cast

from cspine_assets.domain.files import fingerprint_file, fingerprint_stream


@dataclass(frozen=True)
class NamedFile:
    """A file of a home.

    Attributes:
        path: Relative to the home.
        size_bytes: Its size.
        changed_ns: When it was written; while this and the size stay the same, the content is taken to.
        sha256: Of its content.
        inflated: Whether that is of the content as it is inflated: another compression is the same file.
    """

    path: str
    size_bytes: int
    changed_ns: int
    sha256: str
    inflated: bool = False


Remembered = Callable[[NamedFile, Callable[[], str]], str]
"""Gives the SHA-256 of a file in the state that it is in now; the second argument reads it."""


def name_file(root: Path, path: Path, *, sha256: str | None = None, inflated: bool = False) -> NamedFile:
    """Returns a file as it is now.

    Args:
        root: The home.
        path: The file, inside the home.
        sha256: Of its content, where it is known; else it is read.
        inflated: Whether the hash is of the inflated content.

    Raises:
        FileNotFoundError: There is no such file.
    """
    found = path.stat()
    content = sha256 or _content(path, inflated=inflated)
    return NamedFile(path.relative_to(root).as_posix(), found.st_size, found.st_mtime_ns, content, inflated)


def is_unchanged(root: Path, file: NamedFile, remembered: Remembered) -> bool:
    """Whether a file is there and holds what it did; it is read only where its size or time is another.

    Args:
        root: The home.
        file: As it was.
        remembered: Keeps what files held, so that one that was copied or touched is read once.
    """
    path = root / file.path
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    if (found.st_size, found.st_mtime_ns) == (file.size_bytes, file.changed_ns):
        return True
    if found.st_size != file.size_bytes and not file.inflated:
        return False
    now = NamedFile(file.path, found.st_size, found.st_mtime_ns, "", file.inflated)
    return remembered(now, lambda: _content(path, inflated=file.inflated)) == file.sha256


def as_text(files: Iterable[NamedFile]) -> str:
    """Returns files as JSON, to be kept beside the rows that name them."""
    return json.dumps([list(asdict(file).values()) for file in files])


def from_text(text: str) -> tuple[NamedFile, ...]:
    """Returns files from what ``as_text`` gave."""
    return tuple(NamedFile(*values) for values in json.loads(text))


def _content(path: Path, *, inflated: bool) -> str:
    """Returns the SHA-256 of a file; of one that cannot be inflated a text that is none."""
    if not (inflated and path.name.endswith(".gz")):
        return fingerprint_file(path)
    try:
        with gzip.open(path) as stream:
            return fingerprint_stream(cast("IO[bytes]", stream))
    except (EOFError, OSError, zlib.error):
        return "unreadable"
