"""nnU-Net's own commands, run so that a test neither waits for ever nor leaves one behind.

nnU-Net 2.8.1 forks a pool of twelve out of a process with threads before it predicts; now and then that pool never
answers, two times in a row on a busy machine. It says nothing about our files, so the command is begun anew, and the
print tells of it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil

SILENCE_S, TRIES = 40, 6
"""A command that works has computed something by then, however busy the machine is."""

IDLE_SHARE = 0.01
"""Of one processor: less than this is a command that waits for ever, whose pool only wakes now and then."""


def run_stock(name: str, *arguments: object, env: Mapping[str, str]) -> None:
    """Runs ``nnUNetv2_<name>``; what it said stands in the error when it fails."""
    command = [str(Path(sys.executable).with_name(f"nnUNetv2_{name}")), *map(str, arguments)]
    for _ in range(TRIES):
        if _run(command, env) is not None:
            return
        print(f"nnUNetv2_{name} has computed nothing for {SILENCE_S} s and is begun anew")
    raise AssertionError(f"{command}: nothing was computed for {SILENCE_S} s, {TRIES} times")


def _run(command: list[str], env: Mapping[str, str]) -> str | None:
    """Returns what a command said, or None where it was ended for its silence."""
    process = subprocess.Popen(
        command, env=dict(env), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    said = None
    try:
        while said is None:
            before = _computed_s(process.pid)
            try:
                said, _ = process.communicate(timeout=SILENCE_S)
            except subprocess.TimeoutExpired:
                if _computed_s(process.pid) - before < IDLE_SHARE * SILENCE_S:
                    return None
    finally:
        _end(process)
    assert process.returncode == 0, said
    return said


def _computed_s(pid: int) -> float:
    """Returns the processor time of a command and of all that it has started, the dead among them."""
    spent = 0.0
    with suppress(psutil.NoSuchProcess):
        main = psutil.Process(pid)
        for process in (main, *main.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                spent += sum(process.cpu_times()[:4])
    return spent


def _end(process: subprocess.Popen[str]) -> None:
    """Ends whoever is left of the command's session: it is the test's own, and nobody else is in it."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()
