"""Getting the files of a MIDRC manifest: each whole and of the right checksum, or not there at all.

Add here what concerns a file on its way. How a signed address is asked for stands in ``signing``; such an address is a
credential, so neither it nor a server's answer is ever part of a message.
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import os
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

import requests
import urllib3

from cspine_assets.domain.errors import SourceError
from cspine_assets.domain.files import fingerprint_file, written_aside

TRIES: Final = 4
_EXPIRED: Final = (400, 401, 403, 410)
"""What stores answer to a signed address that is too old; asked once more with a fresh one, it is right or refused."""
_TIMEOUT_S: Final = (20, 120)
"""To connect, and between two pieces of a body."""
_BLOCK: Final = 1 << 20
_GZIP: Final = ("gzip", "x-gzip")
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class ManifestEntry:
    """One file of a manifest.

    Attributes:
        object_id: Its identifier in the data commons.
        file_name: Where it belongs below the folder of the download.
        size_bytes: Its size, where the manifest says so.
        md5: Its MD5, in lower case.
        commons: Host of the data commons, where the manifest says so.
    """

    object_id: str
    file_name: str
    size_bytes: int | None
    md5: str
    commons: str | None


class Refused(Exception):
    """A file that cannot be had now.

    Attributes:
        reason: Why, for people; it holds no credential.
        final: Whether asking again is of no use.
    """

    def __init__(self, reason: str, *, final: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.final = reason, final


@dataclass(frozen=True)
class DownloadReport:
    """How a download went.

    Attributes:
        fetched: Files that came now.
        standing: Files that were there already, of the right checksum.
        failures: Reason by file name; all others are there.
    """

    fetched: tuple[str, ...]
    standing: tuple[str, ...]
    failures: dict[str, str]


def read_manifest(path: Path) -> tuple[ManifestEntry, ...]:
    """Reads a manifest: a JSON array of object_id, file_name, file_size, md5sum and commons_url.

    Raises:
        SourceError: It cannot be read, an entry lacks its identifier, name or MD5 or has a size that is none, or two
            files have one place.
    """
    try:
        records = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise SourceError(
            f"{path}: expected a manifest (a JSON array of files), it cannot be read ({error})."
        ) from error
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise SourceError(f"{path}: expected a manifest: a JSON array of objects, one per file.")
    entries = tuple(_entry(path, record) for record in records)
    names = [entry.file_name for entry in entries]
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise SourceError(f"{path}: expected every file name once, got {', '.join(twice[:10])} several times.")
    return entries


def _entry(path: Path, record: dict[str, Any]) -> ManifestEntry:
    """Returns an entry; what a file is checked by is not optional."""
    lacking = [name for name in ("object_id", "file_name", "md5sum") if not record.get(name)]
    if lacking:
        raise SourceError(
            f"{path}: expected {', '.join(lacking)} in every entry, got {sorted(record)}. Export it again."
        )
    name = PurePosixPath(str(record["file_name"]))
    if name.is_absolute() or ".." in name.parts:
        raise SourceError(f"{path}: expected file names below the download's folder, got {name}.")
    return ManifestEntry(
        object_id=str(record["object_id"]),
        file_name=str(name),
        size_bytes=_size(path, name, record.get("file_size")),
        md5=str(record["md5sum"]).lower(),
        commons=str(record["commons_url"]) if record.get("commons_url") else None,
    )


def _size(path: Path, name: PurePosixPath, size: object) -> int | None:
    if size is None:
        return None
    if not str(size).isdecimal():
        raise SourceError(f"{path}: expected the file_size of {name} in bytes, got {size!r}. Export it again.")
    return int(str(size))


def download(
    entries: Sequence[ManifestEntry],
    out: Path,
    sign: Callable[[str], str],
    *,
    advanced: Callable[[ManifestEntry, str], None] = lambda _entry, _state: None,
    pause_s: float = 1.0,
) -> DownloadReport:
    """Fetches what is not there yet, one file after the other; a file stands whole and right, or not at all.

    A file that cannot be had or has no possible place fails alone; a full disk ends the download.

    Args:
        entries: Files to have.
        out: Folder of the download.
        sign: Returns a signed address of an object; raises ``Refused``.
        advanced: Told of each file and what became of it: standing, fetched or failed.
        pause_s: Seconds to wait before a second try; doubled for each further one.
    """
    fetched, standing, failures = [], [], {}
    for entry in entries:
        path = out / entry.file_name
        state = "fetched"
        try:
            if path.is_file() and fingerprint_file(path, "md5") == entry.md5:
                state = "standing"
                standing.append(entry.file_name)
            else:
                _fetch(entry, path, sign, pause_s)
                fetched.append(entry.file_name)
        except Refused as refused:
            state = "failed"
            failures[entry.file_name] = refused.reason
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno in _FULL:
                raise  # the next file would find no room either
            state = "failed"
            failures[entry.file_name] = _impossible(error)
        advanced(entry, state)
    return DownloadReport(tuple(fetched), tuple(standing), failures)


def _fetch(entry: ManifestEntry, path: Path, sign: Callable[[str], str], pause_s: float) -> None:
    """Fetches one file, with a fresh address for each try."""
    last = Refused("nothing was tried")
    for attempt in range(TRIES):
        if attempt:
            time.sleep(pause_s * 2 ** (attempt - 1))
        try:
            _try_once(entry, path, sign(entry.object_id))
            return
        except Refused as refused:
            if refused.final:
                raise
            last = refused
    raise Refused(f"{last.reason} ({TRIES} tries)", final=True)


def _try_once(entry: ManifestEntry, path: Path, address: str) -> None:
    """Fetches one file from a signed address; it takes its place when size and MD5 are right."""
    try:
        # as it is stored: a file that is packed already must not be unpacked on the way
        with requests.get(address, stream=True, timeout=_TIMEOUT_S, headers={"Accept-Encoding": "identity"}) as answer:
            if answer.status_code in _EXPIRED:
                raise Refused(f"the store answered {answer.status_code}: the signed address has expired or is refused")
            if answer.status_code != requests.codes.ok:
                raise Refused(f"the store answered {answer.status_code}", final=answer.status_code == 404)
            with written_aside(path) as aside:
                came = _write(aside, answer.raw.stream(_BLOCK, decode_content=False), entry.size_bytes)
                if came.md5 != entry.md5 and answer.headers.get("Content-Encoding", "").lower() in _GZIP:
                    came = _unpacked(aside, entry.size_bytes)  # packed on the way, against what was asked for
                if entry.size_bytes is not None and came.size_bytes != entry.size_bytes:
                    raise Refused(f"expected {entry.size_bytes} bytes, got {came.size_bytes}")
                if came.md5 != entry.md5:
                    raise Refused(f"expected MD5 {entry.md5}, got {came.md5}")
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        # requests' own message holds the whole signed address
        raise Refused(f"the connection failed ({type(error).__name__})") from None


def _impossible(error: OSError | ValueError) -> str:
    """Returns why a file cannot be written at its place; its name is said beside it."""
    found = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else "a name that no file can have"
    return (
        f"expected a place for the file, got '{found}'. Take away what stands there, or choose another --out with a "
        "shorter name"
    )


@dataclass(frozen=True)
class _Written:
    """What came: its size and MD5."""

    size_bytes: int
    md5: str


def _unpacked(path: Path, expected_bytes: int | None) -> _Written:
    """Puts the unpacked bytes of a file in its place.

    Raises:
        Refused: They are more than expected, or cannot be unpacked.
    """
    whole = path.with_name(f"{path.name}.unpacked")
    try:
        with gzip.open(path) as stream:
            came = _write(whole, iter(lambda: stream.read(_BLOCK), b""), expected_bytes)
        whole.replace(path)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise Refused("the store said that it sent gzip, and sent something else") from error
    finally:
        whole.unlink(missing_ok=True)
    return came


def _write(path: Path, blocks: Iterable[bytes], expected_bytes: int | None) -> _Written:
    """Writes what comes; a body that goes on beyond what was promised would fill the disk."""
    digest, size = hashlib.md5(usedforsecurity=False), 0
    with path.open("wb") as stream:
        for block in blocks:
            digest.update(block)
            size += stream.write(block)
            if expected_bytes is not None and size > expected_bytes:
                raise Refused(f"expected {expected_bytes} bytes, got more: it was given up after {size}")
    return _Written(size, digest.hexdigest())
