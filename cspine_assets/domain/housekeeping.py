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
"""No table takes an hour to write; a file beside one that nobody has touched for so long has lost its writer."""

LOG_DAYS: Final = 90
"""Days that the output of a step is kept: as long as the ticks of sensors and schedules."""

DAY_S: Final = 86_400.0


def tidy(home: Home) -> list[Path]:
    """Removes stale files of killed writers and old output of steps, and returns what went."""
    return [*sweep_asides(home, older_than_s=STALE_ASIDE_S), *prune_outputs(home, older_than_s=LOG_DAYS * DAY_S)]


def sweep_asides(home: Home, *, older_than_s: float) -> list[Path]:
    """Removes what was being written into lake and published folder when its writer was killed.

    Args:
        home: The study's home.
        older_than_s: Age of the last change from which a file counts as abandoned, in seconds.

    Returns:
        The removed files; none where nothing was left.
    """
    places = [home.lake.root.glob("*/*/.aside-*"), *(home.database.parent.glob(f"{sub}.aside-*") for sub in ("", "*/"))]
    stale = [path for place in places for path in _older(place, older_than_s) if path.is_file()]
    for path in stale:
        path.unlink(missing_ok=True)
    return stale


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
