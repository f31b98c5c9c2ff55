"""Locks that say who holds them: one process at a time, freed by the system when that process dies.

Add here what is true of any such lock. Which things are locked is decided in ``devices`` and ``training``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from cspine_assets.domain.errors import ModelError
from cspine_assets.domain.files import write_text
from cspine_assets.nnunet.messages import Frozen

SHARED_MODE = 0o666
"""Other users of a machine may take the same lock."""


class Holder(Frozen):
    """Who holds a lock, as it stands beside the lock file.

    Attributes:
        pid: Process that holds it.
        process_started: When that process began; a number is given again after a death.
        what: What it is doing.
        since: When it took the lock, ISO 8601 with time zone.
        device: Where the work runs, or None where that is not decided yet.
        epoch: Epochs done, or None where nothing counts epochs.
        epochs: Epochs in all.
        seconds_left: Estimate for the epochs that remain.
    """

    pid: int
    process_started: float
    what: str
    since: str
    device: str | None = None
    epoch: int | None = None
    epochs: int | None = None
    seconds_left: float | None = None


class HeldError(ModelError):
    """Somebody else has the lock."""


class Hold:
    """A lock that this process has; ``tell`` changes what others read of it."""

    def __init__(self, lock_file: Path, what: str) -> None:
        self._record = _record_file(lock_file)
        me = psutil.Process()
        since = datetime.now(UTC).isoformat(timespec="seconds")
        self._holder = Holder(pid=me.pid, process_started=me.create_time(), what=what, since=since)
        self._write()

    def tell(self, **what: object) -> None:
        """Change fields of the record, such as ``epoch``."""
        self._holder = self._holder.model_copy(update=what)
        self._write()

    def _write(self) -> None:
        write_text(self._record, self._holder.model_dump_json() + "\n")

    def forget(self) -> None:
        """Remove the record."""
        self._record.unlink(missing_ok=True)


@contextmanager
def held(lock_file: Path, what: str) -> Iterator[Hold]:
    """Hold a lock while the block runs; across threads, processes and homes.

    Args:
        lock_file: Stays where it is afterwards; the record beside it ends in ``.json``.
        what: What the holder does, for others to read.

    Raises:
        HeldError: Somebody else has it; the message says who, doing what, and since when.
    """
    lock_file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(lock_file, thread_local=False, mode=SHARED_MODE)
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        raise HeldError(f"{what}: {described(read_holder(lock_file))}") from error
    try:
        hold = Hold(lock_file, what)
        try:
            yield hold
        finally:
            hold.forget()
    finally:
        lock.release()


def read_holder(lock_file: Path) -> Holder | None:
    """Who holds a lock, or None where nobody does; what a dead process left behind is nobody."""
    try:
        holder = Holder.model_validate_json(_record_file(lock_file).read_text(encoding="utf-8"))
        process = psutil.Process(holder.pid)
        # in a container nobody may take note of a dead process; its locks are free all the same
        is_dead = process.status() == psutil.STATUS_ZOMBIE
        alive = not is_dead and abs(process.create_time() - holder.process_started) < 1
    except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
        return None
    return holder if alive else None


def described(holder: Holder | None) -> str:
    """A sentence on who holds a lock."""
    if holder is None:
        return "another process is at it and has not said more yet"
    here = " (this very process)" if holder.pid == os.getpid() else ""
    return f"process {holder.pid}{here} is at it since {holder.since} ({holder.what})"


def _record_file(lock_file: Path) -> Path:
    return lock_file.with_suffix(".json")
