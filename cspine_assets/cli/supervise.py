"""Running a server in the foreground so that nothing of it outlives the command.

`dagster dev` starts a webserver, a daemon and code servers; ended roughly it leaves them behind, and a second daemon
on the same home disturbs backfills. Only the life of such a family, and the port it listens on, belong here.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType

from filelock import FileLock, Timeout

from cspine_assets.cli.family import MARK, dismiss_warden, end_family, start_warden
from cspine_assets.domain.errors import HomeError

GRACE_SECONDS = 10


def run_supervised(
    command: Sequence[str], environment: Mapping[str, str], lock_file: Path, *, before_start: Callable[[], None]
) -> int:
    """Runs a command until it ends or this process is asked to; then ends all that it started.

    All of it ends too where this process is killed, or its terminal closed.

    Args:
        command: Program and arguments.
        environment: Its whole environment.
        lock_file: Held while the command runs.
        before_start: Called once it is sure that no other process runs it.

    Returns:
        The command's exit status; 0 when this process was asked to end.

    Raises:
        HomeError: Another process holds the lock file.
    """
    asked: list[int] = []

    def ask(number: int, _frame: FrameType | None) -> None:
        asked.append(number)
        process.send_signal(signal.SIGINT)

    mark = uuid.uuid4().hex
    with hold(lock_file):
        before_start()
        warden = start_warden(mark)
        process = subprocess.Popen(list(command), env={**environment, MARK: mark}, start_new_session=True)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, ask)
        status = _wait(process, asked)
        end_family(mark)
        dismiss_warden(warden)
    return 0 if asked else status


def hold(lock_file: Path) -> FileLock:
    """Returns the lock of a home's page, held.

    Raises:
        HomeError: Another process holds it.
    """
    lock = FileLock(lock_file)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise HomeError(
            f"{lock_file.parent}: a page of this home is running already. End it first, or choose another with --home."
        ) from error
    return lock


def require_free_port(port: int) -> None:
    """Makes sure that nobody listens on a port of 127.0.0.1.

    Raises:
        HomeError: Somebody does.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise HomeError(
                f"port {port}: expected a free port on 127.0.0.1, it is taken, perhaps by the page of another home. "
                "Say --port with another number, such as 3001."
            ) from error


def _wait(process: subprocess.Popen[bytes], asked: list[int]) -> int:
    """Returns the status once the process has ended, at most ten seconds after it was asked to."""
    waited = 0.0
    while process.poll() is None and waited < GRACE_SECONDS:
        try:
            process.wait(0.2)
        except subprocess.TimeoutExpired:
            waited += 0.2 if asked else 0.0
    return process.returncode if process.returncode is not None else 1
