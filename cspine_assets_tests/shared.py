"""What all workers of a test run share: a folder that one of them makes while the others wait for it.

Add here what is about workers of pytest-xdist. A folder that a test changes is no shared one: the test takes a copy.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

LINES_FILE = "lines.txt"
"""In a shared folder: what its making prints, which ``slow_tests`` shows while it lasts."""


def shared_root(factory: pytest.TempPathFactory) -> Path:
    """Returns the temporary folder of the whole test run, also in one of its workers."""
    own = factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """Returns a folder that ``make`` fills once for all workers; those who come later wait until it is done.

    A ``make`` that raises is called again by the next worker: one that takes minutes writes its failure down instead.
    """
    folder = shared_root(factory) / name
    done = folder.with_name(f"{name}.done")
    with FileLock(folder.with_name(f"{name}.lock")):
        if not done.exists():
            folder.mkdir(exist_ok=True)
            make(folder)
            done.touch()
    return folder
