"""Every file of a download as a table and as a tree, with the checksums that the release can be held to.

Add here what is true of a file by itself. Which files there should be is said by the release's tables, and compared
with them in ``integrity``; reading a file for its content happens elsewhere.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pandas as pd

from cspine_assets.domain.cohort.source import Listed, Source
from cspine_assets.domain.cohort.source_file import DAMAGE, SourceFile
from cspine_assets.domain.errors import SourceError
from cspine_assets.domain.files import fingerprint_stream, written_aside
from cspine_assets.domain.machine import usable_cores
from cspine_assets.domain.tables.base import validate
from cspine_assets.domain.tables.midrc import Files

_MOST_THREADS: Final = 8
"""Hashing and inflating leave the interpreter's lock; more threads than this wait for the disk."""

_MOST_FOLDERS: Final = 4
"""Folders drawn of one parent; of more, the first are drawn and the others counted."""


@dataclass(frozen=True)
class Content:
    """What reading a file gave: itself, or one instance of a series.

    Attributes:
        member: Name of an instance inside its archive; empty for the file itself.
        size_bytes: Its size.
        md5: MD5, or None where nobody asked for it.
        problem: Why it could not be read, or None.
    """

    member: str
    size_bytes: int
    md5: str | None = None
    problem: str | None = None


@dataclass(frozen=True)
class ChecksumMemory:
    """Checksums of files that have not changed since: the same place, size and time of change.

    Attributes:
        path: Parquet file that keeps them.
    """

    path: Path

    def read(self) -> dict[tuple[str, int, int], list[Content]]:
        """Returns contents by place, size and time of change; an unreadable memory is an empty one."""
        try:
            frame = pd.read_parquet(self.path)
        except (OSError, ValueError):
            return {}
        known: dict[tuple[str, int, int], list[Content]] = {}
        for row in frame.itertuples(index=False):
            key = (str(row.location), int(row.total_bytes), int(row.changed_ns))  # type: ignore[arg-type]
            content = Content(str(row.member), int(row.size_bytes), row.md5 or None)  # type: ignore[arg-type]
            known.setdefault(key, []).append(content)
        return known

    def write(self, known: Mapping[tuple[str, int, int], list[Content]]) -> None:
        """Keeps contents, whole or not at all; what could not be read is forgotten, to be tried again."""
        rows = [
            (*key, content.member, content.size_bytes, content.md5 or "")
            for key, contents in known.items()
            if not any(content.problem for content in contents)
            for content in contents
        ]
        columns = ["location", "total_bytes", "changed_ns", "member", "size_bytes", "md5"]
        with written_aside(self.path) as aside:
            pd.DataFrame(rows, columns=columns).to_parquet(aside, index=False)


def list_files(source: Source, *, hashed: Collection[str], memory: ChecksumMemory) -> pd.DataFrame:
    """Returns rows of ``midrc.files``, sorted by place.

    Args:
        source: The download.
        hashed: Kinds whose content is hashed, since a table of the release gives checksums to compare with.
        memory: Where checksums are remembered; a file that has not changed is not read again.
    """
    known = memory.read()
    read_anew: dict[tuple[str, int, int], list[Content]] = {}
    wanted = [(listed, _memory_key(source, listed.file)) for listed in source.listing]
    todo = [(listed, key) for listed, key in wanted if not _remembered(known.get(key), listed.kind, hashed)]
    with ThreadPoolExecutor(min(_MOST_THREADS, usable_cores())) as pool:
        contents = pool.map(lambda item: _read(item[0], hashed), todo)
        read_anew.update(zip((key for _, key in todo), contents, strict=True))
    standing = {key: read_anew.get(key) or known[key] for _, key in wanted}
    if read_anew or set(standing) != set(known):
        memory.write(standing)
    rows = [row for listed, key in wanted for row in _rows(source, listed, standing[key])]
    frame = pd.DataFrame(
        rows, columns=["location", "folder", "name", "kind", "series_uid", "size_bytes", "md5", "problem"]
    )
    # a name that stands twice in one archive is one place: the first is what readers of zips do not see
    return validate(Files, frame.drop_duplicates("location", keep="last").sort_values("location"))


def file_tree(files: pd.DataFrame) -> str:
    """Returns a download's folders as a tree, each with the number and size of all files below it.

    Args:
        files: Rows of ``midrc.files``; instances are not drawn.
    """
    root = _Folder()
    shown = files[files["kind"] != "instance"]
    for folder, kind, size in zip(shown["folder"], shown["kind"], shown["size_bytes"], strict=True):
        root.add([] if folder == "." else str(folder).split("/"), str(kind), int(size))
    return "\n".join([f".  {root.summary()}", *root.lines("")])


class _Folder:
    """A folder of the tree: what lies below it, by kind, and its folders."""

    def __init__(self) -> None:
        self.folders: dict[str, _Folder] = {}
        self.counts: dict[str, int] = {}
        self.size_bytes = 0

    def add(self, parts: list[str], kind: str, size: int) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + 1
        self.size_bytes += size
        if parts:
            self.folders.setdefault(parts[0], _Folder()).add(parts[1:], kind, size)

    def summary(self) -> str:
        counted = ", ".join(f"{count:,} {kind}" for kind, count in sorted(self.counts.items()))
        return f"({counted}; {self.size_bytes / 1e6:,.1f} MB)"

    def lines(self, indent: str) -> Iterator[str]:
        names = sorted(self.folders)
        drawn = names if len(names) <= _MOST_FOLDERS else names[: _MOST_FOLDERS - 1]
        for name in drawn:
            last = name == names[-1]
            yield f"{indent}{'└── ' if last else '├── '}{name}  {self.folders[name].summary()}"
            yield from self.folders[name].lines(indent + ("    " if last else "│   "))
        if len(drawn) < len(names):
            yield f"{indent}└── … {len(names) - len(drawn):,} more folders"


def _memory_key(source: Source, file: SourceFile) -> tuple[str, int, int]:
    return _place(source, file), file.size, file.changed_ns


def _remembered(contents: list[Content] | None, kind: str, hashed: Collection[str]) -> bool:
    """Whether what is remembered is enough: whatever is to be hashed has been."""
    if not contents:
        return False
    if kind == "series":
        return "instance" not in hashed or all(content.md5 for content in contents if content.member)
    return kind not in hashed or all(content.md5 for content in contents)


def _place(source: Source, file: SourceFile) -> str:
    """Returns a file's place below the folder of the download."""
    return file.location.removeprefix(source.folder.as_posix()).lstrip("/")


def _read(listed: Listed, hashed: Collection[str]) -> list[Content]:
    """Reads one file; what cannot be read is said in its row, not raised: all others shall be listed too."""
    file = listed.file
    try:
        if listed.kind == "series":
            return list(_instances(file, hash_them="instance" in hashed))
        return [Content("", file.size, _md5(file) if listed.kind in hashed else None)]
    except (SourceError, *DAMAGE, OSError, ValueError, NotImplementedError, RuntimeError) as error:
        return [Content("", file.size, None, f"{type(error).__name__}: {error}")]


def _md5(file: SourceFile) -> str:
    with file.open() as stream:
        return fingerprint_stream(stream, "md5")


def _instances(file: SourceFile, *, hash_them: bool) -> Iterator[Content]:
    """Gives the series itself, then its instances by name; nothing is unpacked to disk."""
    yield Content("", file.size)
    with file.open() as stream:
        # a member of an archive cannot be searched at its end without reading it all again
        whole = stream if file.member is None else io.BytesIO(stream.read())
        with zipfile.ZipFile(whole) as archive:
            for info in archive.infolist():
                if (
                    info.filename.endswith("/")
                    or info.filename.startswith("__MACOSX")
                    or Path(info.filename).name.startswith(".")
                ):
                    continue
                digest = None
                if hash_them:
                    with archive.open(info) as member:
                        digest = fingerprint_stream(member, "md5")
                yield Content(info.filename, info.file_size, digest)


def _rows(source: Source, listed: Listed, contents: Iterable[Content]) -> Iterator[tuple[object, ...]]:
    """Gives a file's row and those of its instances."""
    place = _place(source, listed.file)
    series = listed.file.name.removesuffix(".zip") if listed.kind == "series" else None
    for content in contents:
        location = f"{place}/{content.member}" if content.member else place
        folder, _, name = location.rpartition("/")
        kind = "instance" if content.member else listed.kind
        yield location, folder or ".", name, kind, series, content.size_bytes, content.md5, content.problem
