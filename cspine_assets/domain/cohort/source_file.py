"""One file of a download, wherever it lies: on disk, in an archive, or a folder that stands for one.

Ways to read a file live here. Which files there are, and which is which, is found in ``source``; nothing here
ever writes into the download.
"""

from __future__ import annotations

import io
import lzma
import os
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Final

from cspine_assets.domain.errors import SourceError
from cspine_assets.domain.files import written_aside

DAMAGE: Final = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, UnicodeDecodeError, NotImplementedError)
"""What a damaged member raises while it is read; to open it looks at its archive's directory alone."""

_BLOCK_BYTES: Final = 1 << 20


@dataclass(frozen=True)
class SourceFile:
    """A readable file of the download.

    Attributes:
        path: File on disk, the archive that holds it, or a folder of extracted instances.
        member: Name inside the archive, or None for a file of its own.
        size: Bytes; of a folder, the sum over its files.
    """

    path: Path
    member: str | None
    size: int

    @property
    def name(self) -> str:
        """File name without folders; a folder of instances is named as the archive it stands for."""
        if self.member is None and self.path.suffix != ".zip" and self.path.is_dir():
            return f"{self.path.name}.zip"
        return (self.member or self.path.as_posix()).rsplit("/", maxsplit=1)[-1]

    @property
    def description(self) -> str:
        """Where the file lies, for people."""
        return f"{self.path} ({self.member})" if self.member else str(self.path)

    @property
    def location(self) -> str:
        """Folders and name as one path with forward slashes, through the archive."""
        return f"{self.path.as_posix()}/{self.member}" if self.member else self.path.as_posix()

    @property
    def changed_ns(self) -> int:
        """When it was last changed, in ns; of a member the time of its archive, of a folder that of its newest file."""
        inside = (p for p in self.path.rglob("*") if p.is_file()) if self.path.is_dir() else (self.path,)
        return max((p.stat().st_mtime_ns for p in inside), default=0)

    def open(self) -> IO[bytes]:
        """Opens the file for reading; the caller closes it.

        Raises:
            SourceError: It is gone, cannot be read, or its archive is damaged.
        """
        try:
            if self.member is not None:
                return _open_member(self.path, self.member)
            return _zip_folder(self.path) if self.path.is_dir() else self.path.open("rb")
        except (OSError, zipfile.BadZipFile, KeyError, NotImplementedError, RuntimeError) as error:
            raise self._unreadable(error) from error

    def copy_to(self, path: Path) -> Path:
        """Writes a copy, whole or not at all, and returns its path.

        Raises:
            SourceError: As ``open``, or the archive's checksum does not hold.
        """
        with self.open() as stream, written_aside(path) as aside, aside.open("wb") as copy:
            copy.writelines(self._blocks(stream))
        return path

    def materialize(self, folder: Path) -> Path:
        """Returns a real path: the file (or folder of instances) itself, or a copy of a member."""
        return self.path if self.member is None else self.copy_to(folder / self.name)

    def _blocks(self, stream: IO[bytes]) -> Iterator[bytes]:
        """Yields the content; what goes wrong where it is written is not the file's fault, and not caught here."""
        try:
            while block := stream.read(_BLOCK_BYTES):
                yield block
        except (OSError, *DAMAGE) as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> SourceError:
        return SourceError(
            f"{self.description}: expected a readable file of {self.size} bytes, got {type(error).__name__} "
            f"({error}). Download or extract it again."
        )


def _open_member(path: Path, member: str) -> IO[bytes]:
    """Opens one member of an archive."""
    status = path.stat()
    archive = _opened_archive(path, (status.st_size, status.st_mtime_ns, status.st_ino), os.getpid())
    return archive.open(member)


@lru_cache(maxsize=8)
def _opened_archive(path: Path, _state: tuple[int, ...], _process: int) -> zipfile.ZipFile:
    """Opens an archive and keeps it open, for each of its states: the parts of a download are four.

    To open one is to read the names of all its members: for each of ten thousand that would be a hundred million. The
    place in an open file is shared with a forked process, which therefore opens it anew.
    """
    return zipfile.ZipFile(path)


def _zip_folder(folder: Path) -> IO[bytes]:
    """Returns a folder of instances as an archive, uncompressed, in memory (a series is ~15 MB)."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            # a fixed date: the same folder gives the same bytes, and dates before 1980 do not fail
            archive.writestr(zipfile.ZipInfo(path.relative_to(folder).as_posix()), path.read_bytes())
    buffer.seek(0)
    return buffer
