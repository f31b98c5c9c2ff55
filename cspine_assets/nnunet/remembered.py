"""Small facts about this machine that take seconds to find out, kept in the user's cache folder.

Add here what is true of every remembered fact: where it is kept, how many are kept, when it is too old.
What is remembered, and when it has to be asked again, is the caller's key.
"""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import time
from pathlib import Path
from typing import Final, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from cspine_assets.domain.files import write_text
from cspine_assets.nnunet.messages import Frozen

Fact = TypeVar("Fact", bound=BaseModel)

MOST_KEPT: Final = 32
"""Facts in one file; each start of the machine and each value of CUDA_VISIBLE_DEVICES adds one."""


class _Entry(Frozen):
    """One fact as JSON, with its key and the time of writing (seconds since 1970)."""

    key: str
    written_s: float
    fact_json: str


_ENTRIES: Final = TypeAdapter(list[_Entry])


def cache_folder() -> Path | None:
    """The user's cache folder for this package, or None where the user has no home folder."""
    if named := os.environ.get("XDG_CACHE_HOME"):
        return Path(named) / "cspine-assets"
    try:
        home = Path.home()
    except RuntimeError:
        return None
    return home / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "cspine-assets"


def machine_name() -> str:
    """The host and its kind of processor: times measured on another machine are not valid here."""
    return f"{platform.node()} {platform.machine()} {os.cpu_count()}"


def recall(name: str, key: str, kind: type[Fact], *, newer_than_s: float = float("inf")) -> Fact | None:
    """Return a remembered fact, or None where there is none.

    Args:
        name: Of the file, without ending.
        key: The fact's key.
        kind: Type of the fact; what cannot be read as it is ignored.
        newer_than_s: Largest age in seconds.
    """
    for entry in _read(name):
        if entry.key == key and time.time() - entry.written_s < newer_than_s:
            with contextlib.suppress(ValidationError):
                return kind.model_validate_json(entry.fact_json)
    return None


def remember(name: str, key: str, fact: BaseModel) -> None:
    """Keep a fact in the place of an older one with the same key; where nothing can be written, nothing is kept."""
    folder = cache_folder()
    if folder is None:
        return
    entry = _Entry(key=key, written_s=time.time(), fact_json=fact.model_dump_json())
    others = [other for other in _read(name) if other.key != key]
    # a second process may write at the same time: one of the two facts is then asked again, which is harmless
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / f"{name}.json", _ENTRIES.dump_json([entry, *others][:MOST_KEPT]).decode() + "\n")


def _read(name: str) -> list[_Entry]:
    folder = cache_folder()
    if folder is None:
        return []
    try:
        return _ENTRIES.validate_json((folder / f"{name}.json").read_bytes())
    except (OSError, ValidationError):
        return []
