"""Running a server in the foreground so that nothing of it outlives the command.

`dagster dev` starts a webserver, a daemon and code servers; ended roughly it leaves them behind, and a second daemon
on the same home disturbs backfills. Only the life of such a group belongs here.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

import psutil
from filelock import FileLock, Timeout

from cspine_assets.domain.errors import HomeError

GRACE_SECONDS = 10


def run_supervised(command: Sequence[str], environment: Mapping[str, str], lock_file: Path) -> int:
    """Runs a command until it ends or this process is asked to; then ends all that it started.

    Args:
        command: Program and arguments.
        environment: Its whole environment.
        lock_file: Held while the command runs.

    Returns:
        The command's exit status; 0 when this process was asked to end.

    Raises:
        HomeError: Another process holds the lock file.
    """
    lock = FileLock(lock_file)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise HomeError(
            f"{lock_file.parent}: a page of this home is running already. End it first, or choose another with --home."
        ) from error
    asked: list[int] = []

    def ask(number: int, _frame: FrameType | None) -> None:
        asked.append(number)
        process.send_signal(signal.SIGINT)

    with lock, subprocess.Popen(list(command), env=dict(environment), start_new_session=True) as process:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, ask)
        status = _wait(process, asked)
        _end_group(process)
    return 0 if asked else status


def _wait(process: subprocess.Popen[bytes], asked: list[int]) -> int:
    """Returns the status once the process has ended, at most ten seconds after it was asked to."""
    waited = 0.0
    while process.poll() is None and waited < GRACE_SECONDS:
        try:
            process.wait(0.2)
        except subprocess.TimeoutExpired:
            waited += 0.2 if asked else 0.0
    return process.returncode if process.returncode is not None else 1


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Kills what is left of the process's session, whichever group it has moved to."""
    for other in psutil.process_iter():
        try:
            if other.pid != os.getpid() and os.getsid(other.pid) == process.pid:
                other.kill()
        except (psutil.NoSuchProcess, ProcessLookupError, PermissionError):
            continue
