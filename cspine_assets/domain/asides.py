"""Names beside a target that one living writer has to itself, and the removal of what a killed one left there.

Change this file when it changes how a writer is known to be alive; ``files`` has what writers call. What is written
belongs elsewhere, and so does the choice of folders to sweep. Children of nnU-Net load this module: it stays light.

The lock is on a file of its own, ``.lock-0-NAME`` beside ``.aside-0-NAME``, and not on what is written: DuckDB and
links must create their file themselves, NFS turns ``flock`` into the byte-range locks that DuckDB takes, SMB refuses
writes to a locked file through another descriptor, and folders cannot be locked on NFS.
"""

# ruff: noqa: PTH104, PTH108, PTH112, PTH116 - strings: making a Path costs as much as the system call behind it

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import re
import shutil
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

UNLOCKED_DAYS: Final = 1.0
"""Where no lock can tell whether a writer is alive, what changed within a day is left: no single step takes a day
without a write, and a home that is swept daily does not grow."""

_NO_LOCKS: Final = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL})
"""What file systems without locks answer: NFS without its lock daemon, Lustre mounted without ``flock``, some FUSE."""

_SLOT_NAME: Final = re.compile(r"\.(?:aside|old|lock)-([a-z0-9_]+)-(.+)", re.DOTALL)
_NUMBER: Final = re.compile(r"\d{1,4}")
"""Slots are numbered; earlier releases put eight random characters there, and locked nothing."""

_EARLIER_NAMES: Final = re.compile(r"\.predicting-.{8}|\.probe-.{8}|\..+\.unfinished")
_EARLIER_SCRATCH: Final = re.compile(r"conversion-\w+-\d+-.{8}")
"""What earlier releases wrote without a lock; the latter in folders for scratch alone, as it could be a person's."""

_held: set[int] = set()


def _let_go() -> None:
    """Closes the locks of the parent in a forked child, which would otherwise keep them after the parent's death."""
    for descriptor in list(_held):
        os.close(descriptor)
    _held.clear()


# what is started by exec has none of them: Python opens every file close-on-exec
os.register_at_fork(after_in_child=_let_go)


class Slot(NamedTuple):
    """One set of names beside a target; strings, because a writer of 10,000 tables makes 10,000 of them.

    Attributes:
        folder: Where the target is.
        tag: Number of the slot: 0, and more where several write the same target at once.
        name: Name of the target.
    """

    folder: str
    tag: str
    name: str

    @property
    def target(self) -> str:
        """What is written."""
        return f"{self.folder}/{self.name}"

    @property
    def aside(self) -> str:
        """Where it is written until it is whole."""
        return f"{self.folder}/.aside-{self.tag}-{self.name}"

    @property
    def old(self) -> str:
        """Where a folder goes for the moment in which another takes its place."""
        return f"{self.folder}/.old-{self.tag}-{self.name}"

    @property
    def lock(self) -> str:
        """Empty file; whoever has locked it is alive."""
        return f"{self.folder}/.lock-{self.tag}-{self.name}"


@contextmanager
def claimed(target: Path) -> Iterator[Slot]:
    """Gives the first free slot of a target for as long as the block runs; nothing is left in it afterwards.

    What a killed writer left in that slot is removed first, and so is what another left in the next one.

    Args:
        target: File or folder; its folder exists.

    Raises:
        OSError: The folder cannot be written to.
    """
    folder, name = os.path.split(os.fspath(target))
    slots = (Slot(folder or ".", str(number), name) for number in itertools.count())
    slot, descriptor = next((slot, taken) for slot in slots if (taken := _taken(slot)) is not None)
    try:
        following = slot._replace(tag=str(int(slot.tag) + 1))
        if os.path.lexists(following.lock):
            with suppress(OSError):  # another user's
                clear(following)
        yield slot
    finally:
        _give_back(slot, descriptor)


def clear(slot: Slot) -> list[Path]:
    """Removes what a dead writer left in a slot, and returns what was there; of a living one nothing.

    A folder that was moved away is put back where its place is empty: it is the only copy.
    """
    if not _NUMBER.fullmatch(slot.tag) and _changed_lately(slot):
        return []
    left = [Path(path) for path in (slot.aside, slot.old, slot.lock) if os.path.lexists(path)]
    descriptor = _taken(slot)
    if descriptor is None:
        return []
    _give_back(slot, descriptor)
    return left


def sweep(root: Path, *, skip: Collection[Path] = (), deep: bool = True) -> list[Path]:
    """Removes what dead writers left in a folder, and returns what went.

    Args:
        root: The folder; none is no error.
        skip: Folders below it that are not looked into.
        deep: Look into the folders below it as well; else it is a folder for scratch.
    """
    gone: list[Path] = []
    skipped = {os.fspath(path) for path in skip}
    for folder, name in _leftovers(os.fspath(root), skipped, 0 if deep else None):
        matched = _SLOT_NAME.fullmatch(name)
        with suppress(OSError):  # another user's, or a home that may only be read
            if matched:
                gone += clear(Slot(folder, *matched.groups()))
            elif _is_stale(f"{folder}/{name}") and _remove(f"{folder}/{name}"):
                gone.append(Path(folder, name))
    return gone


def _leftovers(folder: str, skipped: set[str], depth: int | None) -> Iterator[tuple[str, str]]:
    """Yields folder and name of all that is named like a leftover; does not look into such folders.

    Links are followed near the root alone, where people link a disk into a home; deeper down there are datasets of
    links to files.
    """
    below = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                name = entry.name
                hidden = name[0] == "." and (_SLOT_NAME.fullmatch(name) or _EARLIER_NAMES.fullmatch(name))
                if hidden or (depth is None and _EARLIER_SCRATCH.fullmatch(name)):
                    yield folder, name
                elif depth is not None and entry.is_dir(follow_symlinks=depth < 2):
                    below.append(entry.path)
    except OSError:  # removed meanwhile, or not ours to read
        return
    for path in below:
        if path not in skipped:
            yield from _leftovers(path, skipped, (depth or 0) + 1)


def _taken(slot: Slot) -> int | None:
    """Returns a descriptor that holds an empty slot's lock; None where its writer may be alive.

    Raises:
        OSError: The folder cannot be written to.
    """
    while True:
        try:
            descriptor, is_new = os.open(slot.lock, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666), True
        except FileExistsError:
            try:
                descriptor, is_new = _opened(slot.lock), False
            except FileNotFoundError:
                continue
            except PermissionError:
                return None
        _held.add(descriptor)
        state = _locked(descriptor)
        if state is False or (state is None and not is_new and _changed_lately(slot)):
            _close(descriptor)
            return None
        # its holder may have removed the file between our opening and locking it: then the lock is of no name
        if not _is_same(descriptor, slot.lock):
            _close(descriptor)
            continue
        try:
            _empty(slot)
        except OSError:  # left by another user in a folder where each may remove only their own
            _close(descriptor)
            return None
        return descriptor


def _opened(lock: str) -> int:
    try:
        return os.open(lock, os.O_RDWR)  # NFS locks only what is open for writing
    except PermissionError:  # another user's
        return os.open(lock, os.O_RDONLY)


def _locked(descriptor: int) -> bool | None:
    """Locks a file; False where another has it, None where the file system has no locks.

    ``flock`` and not ``lockf``: the latter's locks are per process, so that two threads would share one.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return None if error.errno in _NO_LOCKS else False
    return True


def _is_same(descriptor: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except OSError:
        return False


def _give_back(slot: Slot, descriptor: int) -> None:
    """Empties a slot and frees its lock; in a forked child it does nothing, as the slot is its parent's."""
    if descriptor not in _held:
        return
    try:
        with suppress(OSError):  # of no weight beside the error that may be on its way; the next writer removes it
            _empty(slot)
            os.unlink(slot.lock)
    finally:
        _close(descriptor)


def _close(descriptor: int) -> None:
    _held.discard(descriptor)
    os.close(descriptor)


def _empty(slot: Slot) -> None:
    """Removes what is in a slot whose lock is held; a folder whose place is empty goes back there."""
    if os.path.lexists(slot.old):
        if not os.path.lexists(slot.target):
            with suppress(OSError):  # another has taken the place this instant
                os.rename(slot.old, slot.target)
        _remove(slot.old)
    _remove(slot.aside)


def _remove(path: str) -> bool:
    """Removes a file or a folder; False where there is none."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    except OSError:
        if not os.path.isdir(path):
            raise
        shutil.rmtree(path)
    return True


def _changed_lately(slot: Slot) -> bool:
    return not all(_is_stale(path) for path in (slot.lock, slot.aside, slot.old))


def _is_stale(path: str) -> bool:
    """Whether nothing of a file, or of anything in a folder, was changed for a day; true of what is not there."""
    before = time.time() - UNLOCKED_DAYS * 86_400
    inside = (f"{folder}/{name}" for folder, folders, files in os.walk(path) for name in [*folders, *files])
    for one in itertools.chain([path], inside):
        with suppress(FileNotFoundError):
            if os.lstat(one).st_mtime >= before:
                return False
    return True
