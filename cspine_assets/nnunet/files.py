"""Small files and folders written so that a reader sees the old one or the new one, never half of one.

Add here what several modules of this package need to write a file or a folder safely; children load this
module too, so it stays light: no pandas, no Arrow. nnU-Net's own formats do not belong here.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Give a place beside ``path``, of the same ending, and rename it to ``path`` when all went well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".aside-{os.getpid()}-{path.name}")
    try:
        yield aside
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with written_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")


def fingerprint_file(path: Path) -> str:
    """Hexadecimal SHA-256 of the file's bytes, links followed."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint_text(*parts: str) -> str:
    """Hexadecimal SHA-256 of some texts, in this order; where one ends and the next begins counts."""
    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(8, "big") + encoded)
    return digest.hexdigest()


@contextmanager
def fresh_folder_beside(place: Path) -> Iterator[Path]:
    """Give an empty folder beside ``place`` and put it at ``place`` when all went well.

    What stood at ``place`` is gone then; after an error it stands unchanged. Between two renames
    nothing stands there for an instant, but never a half-written folder.
    """
    aside, old = (place.with_name(f".{word}-{os.getpid()}-{place.name}") for word in ("aside", "old"))
    for folder in (aside, old):
        shutil.rmtree(folder, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        yield aside
        if place.exists():
            place.rename(old)
        aside.rename(place)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
