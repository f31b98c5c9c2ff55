"""Bounds that hold even where the database engine's own do not.

DuckDB counts neither long texts nor lists against its memory limit, and looks up from its work only between rows; the
process that asks is therefore bounded as a whole. Only what bounds this process belongs here.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

GRACE_SECONDS = 2.0
"""Between the engine's own interrupt and the end of the process."""


@contextmanager
def bounded_process(memory_mb: int) -> Iterator[None]:
    """Lets this process allocate only so much more: the engine's share, the answer's, and their copy for printing.

    A bound of Linux; elsewhere the engine's own limit has to do: macOS does not count mapped memory against this one.
    """
    try:
        import resource

        status = Path("/proc/self/status").read_text(encoding="ascii")
    except (ImportError, FileNotFoundError):
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_DATA)
    now = int(status.split("VmData:")[1].split()[0]) * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (now + 3 * memory_mb * 1_000_000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


@contextmanager
def hard_stop(seconds: float) -> Iterator[None]:
    """Ends this process when a statement neither ends nor can be interrupted."""

    def end() -> None:
        sys.stdout.flush()
        sys.stderr.write(f"cspine: stopped after {seconds:g} s: the statement could not be interrupted.\n")
        sys.stderr.flush()
        os._exit(1)

    timer = threading.Timer(seconds + GRACE_SECONDS, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
