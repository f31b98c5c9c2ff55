"""Folders for unpacked series: they hold headers as they came, so none may be left behind.

Add here what is true of every such folder. What is unpacked into one is the matter of ``archive``.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psutil

from cspine_assets.domain.files import folder_aside
from cspine_assets.domain.housekeeping import MEMORY

MEMORY_SERIES_BYTES: Final = 64 << 20
"""A series may take so much of it; one of 448 x 448 x 15 takes 6 MB."""

MEMORY_FREE_BYTES: Final = 2 << 30
"""It is left alone unless so much is free, four times what the series of one call may take."""


@contextmanager
def scratch_folder(scratch: Path) -> Iterator[Path]:
    """Gives a fresh folder below ``scratch`` and removes it afterwards; ``sweep_scratch`` does after a kill."""
    with folder_aside(scratch / "cspine-scratch") as folder:
        yield folder


@contextmanager
def memory_folder() -> Iterator[Path | None]:
    """Gives a fresh folder in memory and removes it afterwards; None where there is no memory for files, or too little.

    A disk with ext4 looks past every file that was removed within minutes before it makes one. Behind some thousand of
    a cohort that is 0.5 to 1 ms for each, as long as to inflate it.
    """
    if not _has_room():
        yield None
        return
    with scratch_folder(MEMORY) as folder:
        yield folder


def _has_room() -> bool:
    try:
        free = shutil.disk_usage(MEMORY).free
    except OSError:
        return False
    return os.access(MEMORY, os.W_OK) and min(free, psutil.virtual_memory().available) >= MEMORY_FREE_BYTES
