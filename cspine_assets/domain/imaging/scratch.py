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

import psutil


@contextmanager
def scratch_folder(scratch: Path) -> Iterator[Path]:
    """Gives a fresh folder below ``scratch`` and removes it afterwards, whatever happened."""
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch, prefix=f"{_host_prefix()}{os.getpid()}-") as folder:
        yield Path(folder)


def remove_stale_scratch(scratch: Path) -> int:
    """Removes the folders of processes of this machine that were killed, and returns how many there were.

    Folders of running processes stay, and so do those of other machines that share the disk.
    """
    stale = [folder for folder in scratch.glob(f"{_host_prefix()}*") if _owner_is_gone(folder)]
    for folder in stale:
        shutil.rmtree(folder, ignore_errors=True)
    return len(stale)


def _host_prefix() -> str:
    return f"conversion-{re.sub(r'[^A-Za-z0-9]', '_', socket.gethostname())}-"


def _owner_is_gone(folder: Path) -> bool:
    owner = folder.name.removeprefix(_host_prefix()).split("-")[0]
    return owner.isdigit() and not psutil.pid_exists(int(owner))
