"""Housekeeping of a home: what killed writers left behind goes, and so does the output of steps long past.

Add here what may go without anyone missing it, with the age from which it may. What a table or a publication holds is
never touched here.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from cspine_assets.domain.home import Home

STALE_ASIDE_S: Final = 3600.0
"""No writer adds nothing for an hour; what nobody has touched for so long has lost its own."""

LOG_DAYS: Final = 90
"""Days that the output of a step is kept: as long as the ticks of sensors and schedules."""

DAY_S: Final = 86_400.0


def tidy(home: Home) -> list[Path]:
    """Removes stale files of killed writers and old output of steps, and returns what went."""
    return [*sweep_asides(home, older_than_s=STALE_ASIDE_S), *prune_outputs(home, older_than_s=LOG_DAYS * DAY_S)]


def sweep_asides(home: Home, *, older_than_s: float) -> list[Path]:
    """Removes what was being written when its writer was killed: tables, volumes, checkpoints, whole datasets.

    Args:
        home: The study's home.
        older_than_s: Age of the last change from which a file counts as abandoned, in seconds; of a folder, of the
            last change of anything in it.

    Returns:
        The removed files and folders; none where nothing was left.
    """
    stale = [path for path in _asides(home) if _is_abandoned(path, older_than_s)]
    for path in stale:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return stale


def _is_abandoned(path: Path, seconds: float) -> bool:
    """Whether nothing of a file or folder was changed for so long; what is just being put in its place is not."""
    try:
        inside = [path, *path.rglob("*")] if path.is_dir() else [path]
    except FileNotFoundError:
        return False
    return len(list(_older(inside, seconds))) == len(inside)


def _asides(home: Home) -> Iterator[Path]:
    """Yields what is written aside in a home, and folders whose place another one has taken."""
    places = (
        (home.root, ""),
        (home.lake.root, "*/*/"),
        (home.volumes, "*/"),
        (home.database.parent, ""),
        (home.database.parent, "*/"),
        (home.nnunet_raw, ""),
        (home.nnunet_preprocessed, ""),
        (home.nnunet_results, "*/*/*/"),
        (home.imported_models, ""),
        (home.model_archive, ""),
        (home.predictions, "*/*/"),
        (home.predictions, "*/*/*/"),
        (home.external_predictions, ""),
        (home.report, ""),
    )
    for base, below in places:
        yield from base.glob(f"{below}.aside-*")
        # one whose place is empty is the only copy: its writer was killed between two renames
        yield from (old for old in base.glob(f"{below}.old-*-*") if old.with_name(old.name.split("-", 2)[2]).exists())


def prune_outputs(home: Home, *, older_than_s: float) -> list[Path]:
    """Removes what the steps of runs printed, run by run; Dagster keeps it for ever otherwise.

    The runs and their events stay: staleness is told by the data versions in them.

    Args:
        home: The study's home, its output where Dagster puts it by default.
        older_than_s: Age of a run's newest output, in seconds.

    Returns:
        The removed folders; none where all are younger.
    """
    old = []
    for folder in (home.dagster / "storage").glob("*/compute_logs"):
        printed = [folder, *folder.iterdir()]
        if len(list(_older(printed, older_than_s))) == len(printed):
            shutil.rmtree(folder, ignore_errors=True)
            old.append(folder)
    return old


def _older(paths: Iterable[Path], seconds: float) -> Iterator[Path]:
    """Yields the paths that were last changed so long ago; one that has just gone is not among them."""
    before = time.time() - seconds
    for path in paths:
        try:
            if path.lstat().st_mtime < before:
                yield path
        except FileNotFoundError:
            continue
