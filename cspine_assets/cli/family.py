"""A family of processes: all that carry one mark in their environment, and the warden that outlives their supervisor.

Everything that a marked process starts inherits the mark, whatever session or group it moves to. Run as a module, this
file is the warden: it waits until its supervisor is gone, however that ended, and ends the family.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

import psutil

MARK = "CSPINE_SUPERVISED"


def members(mark: str) -> list[psutil.Process]:
    """Returns the living processes whose mark begins so, except this one.

    macOS hides the environment of its own programs, such as ``sh``: those are found as descendants of marked ones.
    """
    marked = [process for process in psutil.process_iter() if _has_mark(process, mark)]
    hidden = () if sys.platform == "linux" else [child for process in marked for child in _descendants(process)]
    return [process for process in {*marked, *hidden} if process.pid != os.getpid()]


def _has_mark(process: psutil.Process, mark: str) -> bool:
    try:
        return process.environ().get(MARK, "").startswith(mark) and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    try:
        found = process.children(recursive=True)
        return [child for child in found if child.status() != psutil.STATUS_ZOMBIE]
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return []


def end_family(mark: str) -> None:
    """Kills a family until nobody is left; one who is just being born is found at the next look."""
    while family := members(mark):
        for process in family:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        time.sleep(0.05)


def start_warden(mark: str) -> subprocess.Popen[bytes]:
    """Starts the process that ends the family when this one is gone: it sees its input end."""
    command = [sys.executable, "-m", __name__, mark]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True)


def dismiss_warden(warden: subprocess.Popen[bytes]) -> None:
    """Lets a warden see its input end, and waits for it: what it would have ended is gone by now."""
    if warden.stdin is not None:
        warden.stdin.close()
    warden.wait()


if __name__ == "__main__":
    sys.stdin.buffer.read()
    end_family(sys.argv[1])
