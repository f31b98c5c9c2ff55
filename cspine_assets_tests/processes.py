"""What tests of processes share: waiting until something holds, and whether a process still lives."""

from __future__ import annotations

import time
from collections.abc import Callable

import psutil


def within(seconds: float, condition: Callable[[], object]) -> bool:
    """Whether a condition comes to hold within some time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.1)
    return bool(condition())


def alive(process: psutil.Process | int) -> bool:
    """Whether a process, or the one with this id, is still there and no zombie."""
    try:
        one = psutil.Process(process) if isinstance(process, int) else process
        return one.is_running() and one.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
