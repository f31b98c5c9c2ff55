"""Folders for unpacked series: they hold headers as they came, so none may be left behind.

Add here what is true of every such folder. What is unpacked into one is the matter of ``archive``.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psutil

from cspine_assets.domain.workers import is_alive

MEMORY: Final = Path("/dev/shm")  # noqa: S108 - folders in it are made by tempfile, for their owner alone
"""Files that Linux keeps in memory."""

MEMORY_SERIES_BYTES: Final = 64 << 20
"""A series may take so much of it; one of 448 x 448 x 15 takes 6 MB."""

MEMORY_FREE_BYTES: Final = 2 << 30
"""It is left alone unless so much is free, four times what the series of one call may take."""


@contextmanager
def scratch_folder(scratch: Path) -> Iterator[Path]:
    """Gives a fresh folder below ``scratch`` and removes it afterwards, whatever happened."""
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch, prefix=f"{_host_prefix()}{os.getpid()}-") as folder:
        yield Path(folder)


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


def remove_stale_scratch(scratch: Path) -> int:
    """Removes the folders of processes of this machine that were killed, and returns how many there were.

    Folders of running processes stay, and so do those of other machines that share the disk. What they left in memory
    goes too, whatever home it was for.
    """
    places = [folder for base in (scratch, MEMORY) for folder in base.glob(f"{_host_prefix()}*")]
    stale = [folder for folder in places if _owner_is_gone(folder)]
    for folder in stale:
        shutil.rmtree(folder, ignore_errors=True)
    return len(stale)


def _host_prefix() -> str:
    return f"conversion-{re.sub(r'[^A-Za-z0-9]', '_', socket.gethostname())}-"


def _owner_is_gone(folder: Path) -> bool:
    owner = folder.name.removeprefix(_host_prefix()).split("-")[0]
    return owner.isdigit() and not is_alive(int(owner))
