"""Files and folders written so that a reader sees the old one or the new one, and told apart by content.

Add here what several modules need to write a file or a folder safely. Children of nnU-Net load this module too, so it
stays light: no pandas, no Arrow. What a file holds is no matter of this module.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

from cspine_assets.domain.asides import claimed
from cspine_assets.domain.errors import HomeError

_BLOCK: Final = 1 << 20


def require_writable(folder: Path, *, remedy: str) -> None:
    """Creates a folder and proves that files can be written into it.

    Args:
        folder: Where something is to be written.
        remedy: What to do where it cannot be.

    Raises:
        HomeError: It cannot be created or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with claimed(folder / "probe"):
            pass
    except OSError as error:
        raise HomeError(
            f"{folder}: expected a folder that can be written to, got '{os.strerror(error.errno or 0)}'. {remedy}"
        ) from error


@contextmanager
def written_aside(path: Path, *, synced: bool = False, private: bool = False) -> Iterator[Path]:
    """Gives a name beside a file to write to, and renames it over the file when all went well.

    The name has the file's own ending (``.nii.gz`` stays ``.nii.gz``); nothing is there yet. After an error the file
    is as it was, and nothing is left beside it. What a killed writer left there, the next one removes.

    Args:
        path: The file.
        synced: Wait until the content is on the disk before the rename. Without it a loss of power may leave the new
            name with old or no content; worth its time for what took hours to make.
        private: Readable by its owner alone, from the first moment on.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with claimed(path) as slot:
        aside = Path(slot.aside)
        if private:
            aside.touch(mode=0o600)
        yield aside
        if synced:
            with aside.open("rb") as written:
                os.fsync(written.fileno())
        aside.replace(path)


@contextmanager
def folder_aside(path: Path) -> Iterator[Path]:
    """Gives an empty folder beside a path, for its owner alone, and removes it afterwards with all that is in it.

    For what is needed while a result is made, and for files that need a second one beside them.

    Args:
        path: What the folder is for; need not exist.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with claimed(path) as slot:
        aside = Path(slot.aside)
        aside.mkdir(mode=0o700)
        yield aside


@contextmanager
def fresh_folder_beside(place: Path) -> Iterator[Path]:
    """Gives an empty folder beside a place and puts it there when all went well.

    What was at the place is gone then; after an error it is unchanged. Between two renames nothing is there for an
    instant, but never a half-written folder. A writer killed in that instant leaves the old folder beside it: the next
    writer or sweep puts it back.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    with claimed(place) as slot:
        aside = Path(slot.aside)
        aside.mkdir()
        yield aside
        _put(aside, place, Path(slot.old))


def _put(aside: Path, place: Path, old: Path) -> None:
    """Puts a folder in the place of another; of several that do so at once the last stays."""
    while True:
        with suppress(FileNotFoundError):
            place.rename(old)
        try:
            aside.rename(place)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        shutil.rmtree(old, ignore_errors=True)  # another's has taken the place since: it is the newer of the two


def write_text(path: Path, text: str) -> None:
    """Writes a text file (UTF-8), whole or not at all."""
    with written_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")


def fingerprint_file(path: Path, algorithm: str = "sha256") -> str:
    """Returns the hex digest of a file's bytes, links followed."""
    with path.open("rb") as stream:
        return fingerprint_stream(stream, algorithm)


def fingerprint_stream(stream: IO[bytes], algorithm: str = "sha256") -> str:
    """Returns the hex digest of what is left in a stream; it tells content apart, and keeps no secret."""
    import hashlib  # noqa: PLC0415 - OpenSSL comes with it, and who writes files alone needs none

    digest = hashlib.new(algorithm, usedforsecurity=False)
    # hashlib's own file_digest asks for readinto, which a stream need not have
    while block := stream.read(_BLOCK):
        digest.update(block)
    return digest.hexdigest()


def fingerprint_text(*parts: str) -> str:
    """Returns one SHA-256 over several texts; where one ends and the next begins counts, and so does their order."""
    import hashlib  # noqa: PLC0415 - as above

    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(8, "little"))
        digest.update(encoded)
    return digest.hexdigest()
