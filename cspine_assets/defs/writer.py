"""One writer per home: a person's command, or the work that runs by itself, never both.

Whoever makes a study as a whole holds the home first. Single assets made from the page need no hold: their files are
written aside, each for itself.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from cspine_assets.domain.errors import HomeError
from cspine_assets.domain.home import Home, ensure_writable

_LOOK_SECONDS = 1.0
"""Somebody who only looks whether the home is held holds it for an instant; a writer waits that long."""


@contextmanager
def sole_writer(home: Home, *, wait_seconds: float = _LOOK_SECONDS) -> Iterator[None]:
    """Holds the home for this process; the hold ends with the process, however it ends.

    Args:
        home: The home.
        wait_seconds: How long to wait for another writer to end.

    Raises:
        HomeError: Another cspine is making the same study.
    """
    ensure_writable(home.root)
    lock = _lock(home)
    try:
        with lock.acquire(timeout=wait_seconds):
            yield
    except Timeout as error:
        raise HomeError(
            f"{home.root}: another cspine is at work in this home. Wait for it, or choose another with --home."
        ) from error


def is_held(home: Home) -> bool:
    """Whether a writer is at work in the home."""
    lock = _lock(home)
    try:
        with lock.acquire(timeout=0):
            return False
    except Timeout:
        return True


def _lock(home: Home) -> FileLock:
    return FileLock(home.root / ".writer.lock")
