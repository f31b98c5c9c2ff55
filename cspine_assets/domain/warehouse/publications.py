"""Earlier publications: the databases that were published before, and how one of them comes back.

Add here what concerns publications that no longer stand. What is in one is decided by ``publish``.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from cspine_assets.domain.errors import HomeError
from cspine_assets.domain.files import written_aside


def earlier_publications(database: Path) -> list[Path]:
    """Returns the files of earlier publications, the newest first; none where one or none was published."""
    return sorted(_folder(database).glob("*.duckdb"), reverse=True)


def publication_file(database: Path, name: str | None) -> Path:
    """Returns the file of the published database, or of an earlier publication by its name.

    Raises:
        HomeError: There is no earlier publication of that name.
    """
    if name is None:
        return database
    wanted = _folder(database) / f"{name.removesuffix('.duckdb')}.duckdb"
    if wanted not in earlier_publications(database):
        names = ", ".join(path.stem for path in earlier_publications(database)) or "none"
        raise HomeError(f"{wanted}: expected an earlier publication, there is none of that name. There are: {names}.")
    return wanted


def keep_standing(database: Path, *, keep: int) -> None:
    """Keeps the published database, which is about to be replaced, as the newest earlier one; the oldest go.

    The file is linked, not moved: there is a published database at every moment.
    """
    if database.exists():
        named = _folder(database) / f"{_published(database)}.duckdb"
        _folder(database).mkdir(exist_ok=True)
        with suppress(FileExistsError):  # linked by a publication that was killed before its rename
            _link_or_copy(database, named)
    for path in earlier_publications(database)[keep:]:
        path.unlink(missing_ok=True)


def restore_publication(database: Path, name: str, *, keep: int) -> Path:
    """Publishes an earlier database again; the one that stood becomes an earlier one. Returns the published file.

    The lake is not touched: the next materialization of ``warehouse/database`` publishes what the lake holds.

    Raises:
        HomeError: There is no earlier publication of that name.
    """
    wanted = publication_file(database, name)
    with written_aside(database) as aside:
        shutil.copyfile(wanted, aside)
        keep_standing(database, keep=keep)
    return database


def _folder(database: Path) -> Path:
    return database.parent / "earlier"


def _published(path: Path) -> str:
    """Returns a name that sorts by time: when the file was finished, UTC."""
    return datetime.fromtimestamp(path.stat().st_mtime, UTC).strftime("%Y%m%dT%H%M%S.%fZ")


def _link_or_copy(source: Path, destination: Path) -> None:
    try:
        os.link(source, destination)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        with written_aside(destination) as aside:
            shutil.copy2(source, aside)
