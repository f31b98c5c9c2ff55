"""What a page needs for itself alone: the lock of its home, and its port on 127.0.0.1.

Add here what two pages must not share. Keeping the programs of a page running belongs to ``supervisor``.
"""

from __future__ import annotations

import socket
from pathlib import Path

from filelock import FileLock, Timeout

from cspine_assets.domain.errors import HomeError


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
