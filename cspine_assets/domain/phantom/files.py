"""Files whose bytes depend on their content alone: gzip and zip without clocks, names or users.

Add here another container that the download ships.
What goes into a container does not belong here.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from isal import igzip

_EPOCH: Final = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can hold
_READABLE: Final = 0o100644 << 16


@dataclass(frozen=True)
class FileFacts:
    """What a table says about a file: its name, size in bytes and MD5."""

    name: str
    size: int
    md5: str


@dataclass(frozen=True)
class Member:
    """A file to put into a zip."""

    name: str
    content: bytes


def file_facts(name: str, content: bytes) -> FileFacts:
    """Returns the facts of a file from its content."""
    return FileFacts(name, len(content), hashlib.md5(content, usedforsecurity=False).hexdigest())


def gzipped(content: bytes) -> bytes:
    """Returns the content as gzip with neither time nor name in its header."""
    packed: bytes = igzip.compress(content, 1, mtime=0)
    return packed


def write_zip(path: Path, members: Iterable[Member], *, compressed: bool) -> None:
    """Writes a zip in the order of its members.

    Args:
        path: New file; its folder must exist.
        members: Read one after the other, so a generator keeps the memory small.
        compressed: Pass False for members that are compressed already.
    """
    method = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", method) as archive:
        for member in members:
            entry = zipfile.ZipInfo(member.name, _EPOCH)
            entry.create_system, entry.external_attr, entry.compress_type = 3, _READABLE, method
            archive.writestr(entry, member.content, compresslevel=1 if compressed else None)
