"""Housekeeping of a home: what killed writers left behind goes, and so does the output of steps long past.

Add here what may be removed, and when. What a table or a publication holds is
never touched here.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from cspine_assets.domain.asides import sweep
from cspine_assets.domain.home import Home

MEMORY: Final = Path("/dev/shm")  # noqa: S108 - folders in it are for their owner alone
"""Files that Linux keeps in memory."""

LOG_DAYS: Final = 90
"""Days that the output of a step is kept: as long as the ticks of sensors and schedules."""

DAY_S: Final = 86_400.0


def tidy(home: Home) -> list[Path]:
    """Removes what killed writers left and old output of steps, and returns what went."""
    return [*sweep_home(home), *prune_outputs(home, older_than_s=LOG_DAYS * DAY_S)]


def sweep_home(home: Home) -> list[Path]:
    """Removes what was being written when its writer was killed, wherever in the home; what is being written stays.

    Every folder of the home is looked into but Dagster's storage, so that no kind of file can be forgotten. 10,000
    patients cost 0.15 s of CPU.

    Returns:
        The removed files and folders; none where nothing was left.
    """
    storage = home.dagster
    return [*sweep(home.root, skip=[storage]), *sweep(storage, deep=False), *sweep_scratch(home.scratch)]


def sweep_scratch(scratch: Path) -> list[Path]:
    """Removes what killed processes left in folders for scratch, and returns what went; headers are among it.

    Args:
        scratch: The folder of a home; memory and the system's folder for temporary files are swept whatever the home.
    """
    folders = (scratch, MEMORY, Path(tempfile.gettempdir()))
    return [path for folder in folders for path in sweep(folder, deep=False)]


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
