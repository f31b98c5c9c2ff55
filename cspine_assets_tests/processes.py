"""What tests of processes share: waiting until something holds, whether a process still lives, and free ports.

Add here what tests of several folders need to watch processes. No test waits for a clock: it waits for a condition.
"""

from __future__ import annotations

import itertools
import os
import socket
import time
from collections.abc import Callable

import psutil

LOADED = 6.0
"""How much longer everything may take than on a quiet machine: beside other tests and four busy processes on two cores,
with room. A condition that holds is seen at once, so that a wide limit costs time in a failing test alone."""

# below the ports that systems hand out for connections (from 32768), and apart for each worker
_PORTS = itertools.count(20_000 + 500 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")))


def within(seconds: float, condition: Callable[[], object]) -> bool:
    """Whether a condition comes to hold within some time of a quiet machine; of a loaded one, ``LOADED`` times that."""
    end = time.monotonic() + LOADED * seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return bool(condition())


def command_of(process: psutil.Process) -> str:
    """The command of a process; empty where it has just ended, and is gone or not waited for yet."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:  # a zombie is one too
        return ""


def alive(process: psutil.Process | int) -> bool:
    """Whether a process, or the one with this id, is still there and no zombie."""
    try:
        one = psutil.Process(process) if isinstance(process, int) else process
        return one.is_running() and one.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def free_port() -> int:
    """A port that nobody listens at, and that no other call or worker of this test run gets."""
    for port in _PORTS:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("there is always another port")


class SetClock:
    """Stands in for the module ``time`` in a module that measures silence: a test sets it forward instead of waiting.

    A limit that is far longer than any load delays a message is then over at once, when the test says so.
    """

    def __init__(self) -> None:
        self._ahead_s = 0.0
        self.sleep = time.sleep

    def forward(self, seconds: float) -> None:
        """Let so much time have passed."""
        self._ahead_s += seconds

    def monotonic(self) -> float:
        """Return the seconds of the true clock and those it was set forward by."""
        return time.monotonic() + self._ahead_s
