"""The files that the rows of a table name: found when rows are written, looked at when they are asked to be current.

Add a rule in the asset's own module, by ``names_files``, where rows name files otherwise than by ``path`` and
``sha256``. What tells a file from a changed one is said by ``domain.named_files``.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from cspine_assets.domain.home import Home
from cspine_assets.domain.imaging.contents import ContentMemory, FileState
from cspine_assets.domain.lake import Stamp
from cspine_assets.domain.named_files import NamedFile, is_unchanged, name_file
from cspine_assets.domain.tables.base import Table, column_names

if TYPE_CHECKING:
    from cspine_assets.defs.resources import Study

FilesOf = Callable[["Study", pd.DataFrame], Iterable[NamedFile]]
"""Gives the files that rows name, as they are now."""

_INFLATED = "imaging"
"""Schema whose hashes are of the inflated content."""


_rules: dict[type[Table], FilesOf] = {}


def names_files(table: type[Table]) -> Callable[[FilesOf], FilesOf]:
    """Gives a table its own rule: the function returns the files that rows name, as they are now."""

    def keep(rule: FilesOf) -> FilesOf:
        _rules[table] = rule
        return rule

    return keep


def named_files(study: "Study", table: type[Table], frame: pd.DataFrame) -> list[NamedFile] | None:
    """Returns the files that rows of a table name, as they are now; None for a table whose rows name none.

    Raises:
        FileNotFoundError: One is not there.
    """
    rule = _rules.get(table) or _by_path(table)
    return None if rule is None else list(rule(study, frame))


def _by_path(table: type[Table]) -> FilesOf | None:
    """Returns the rule of tables with the columns ``path`` and, mostly, ``sha256``; None for a table without."""
    columns = column_names(table)
    if "path" not in columns:
        return None

    def files(study: "Study", frame: pd.DataFrame) -> list[NamedFile]:
        named = frame.dropna(subset=["path"]).drop_duplicates("path")
        sums = named["sha256"] if "sha256" in columns else [None] * len(named)
        inflated = table.schema_name() == _INFLATED
        root = study.home.root
        return [
            name_file(root, root / path, sha256=sha256, inflated=inflated)
            for path, sha256 in zip(named["path"], sums, strict=True)
        ]

    return files


def changed_files(home: Home, stamp: Stamp) -> Iterator[NamedFile]:
    """Yields the files that stored rows name and that are gone or hold something else; none where all stand.

    Rows of earlier releases say nothing of their files: it is for the caller to see whether they are there.
    """
    remembered = _remembered(home.contents)
    return (file for file in stamp.files or () if not is_unchanged(home.root, file, remembered))


@cache
def _remembered(path: Path) -> Callable[[NamedFile, Callable[[], str]], str]:
    """Returns the memory of what the files of a home hold."""
    memory = ContentMemory(path)

    def sha256(file: NamedFile, read: Callable[[], str]) -> str:
        place = f"{'inflated' if file.inflated else 'home'}:{file.path}"
        return memory.remembered(FileState(place, file.size_bytes, file.changed_ns), read)

    return sha256
