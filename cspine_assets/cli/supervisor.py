"""Keeping programs alive: started again after a crash, logged with rotation, and gone when the supervisor is.

Supervisors that exist (supervisord, circus) leave their programs behind when they are killed, which here means two
daemons on one home; so this is a small one of our own. Which programs are run is no concern of this module.
"""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from logging.handlers import RotatingFileHandler
from pathlib import Path

from cspine_assets.cli.family import MARK, dismiss_warden, end_family, start_warden
from cspine_assets.cli.page_lock import hold

GRACE_SECONDS = 10.0
LOG_BYTES, LOG_FILES = 10_000_000, 5
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
STEADY_S = 60.0
"""A program that ran this long was well; its next crash is answered at once."""


@dataclass(frozen=True)
class Program:
    """What is kept alive.

    Attributes:
        name: Names its log.
        command: Program and arguments.
        ready: Whether what it needs is there; it is not started before.
        needs: Name of a program that it cannot do without: where that one ends, it is ended too, and started again.
    """

    name: str
    command: Sequence[str]
    ready: Callable[[], bool] = lambda: True
    needs: str | None = None


class _Kept:
    """One program, its present process and its log."""

    def __init__(self, program: Program, environment: Mapping[str, str], mark: str, logs: Path, *, echo: bool) -> None:
        self.program = program
        self.mark = f"{mark}/{program.name}"
        self.process: subprocess.Popen[str] | None = None
        self.pause_s = FIRST_PAUSE_S
        self._environment = {**environment, MARK: self.mark}
        self._log = rotating_log(logs / f"{program.name}.log")
        if echo:
            self._log.addHandler(_terminal(program.name))
        self._started = self._next = 0.0

    def start_if_due(self) -> bool:
        if self.process is not None or time.monotonic() < self._next or not self.program.ready():
            return False
        self.process = subprocess.Popen(
            list(self.program.command),
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._started = time.monotonic()
        threading.Thread(target=self._copy, args=(self.process,), daemon=True).start()
        return True

    def ended(self) -> int | None:
        """Returns the status of a process that has just ended, with nothing of its family left."""
        status = self.process.poll() if self.process else None
        if status is None:
            return None
        end_family(self.mark)
        self.process = None
        if time.monotonic() - self._started > STEADY_S:
            self.pause_s = FIRST_PAUSE_S
        self._next = time.monotonic() + self.pause_s
        return status

    def end(self) -> bool:
        """Ends its whole family, to be started again when it is ready; returns whether there was one."""
        if self.process is None:
            return False
        end_family(self.mark)
        self.process.wait()
        self.process = None
        return True

    def back_off(self) -> None:
        self.pause_s = min(2 * self.pause_s, LONGEST_PAUSE_S)

    def _copy(self, process: subprocess.Popen[str]) -> None:
        for line in process.stdout or ():
            self._log.info(line.rstrip("\n"))


def rotating_log(path: Path, *, size_bytes: int = LOG_BYTES, older: int = LOG_FILES) -> logging.Logger:
    """Returns a logger that writes to a file up to a size, 10 MB, and keeps older ones, five."""
    path.parent.mkdir(parents=True, exist_ok=True)
    logger = logging.Logger(str(path))
    logger.addHandler(RotatingFileHandler(path, maxBytes=size_bytes, backupCount=older, encoding="utf-8"))
    return logger


def _terminal(name: str) -> logging.Handler:
    """Returns what prints the lines of a program, each behind its name."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter(f"{name}: %(message)s"))
    return handler


def keep_alive(
    programs: Sequence[Program],
    environment: Mapping[str, str],
    *,
    logs: Path,
    lock_file: Path,
    before_start: Callable[[str], None],
    say: Callable[[str], None],
    greeting: str,
    echo: bool = False,
) -> None:
    """Runs programs until this process is asked to end; then ends all that they started.

    Args:
        programs: What to run.
        environment: The whole environment of each.
        logs: Folder of their logs.
        lock_file: Held meanwhile.
        before_start: Called with a program's name before each start, when nothing of an earlier one is left.
        say: Told what happens.
        greeting: Said first, once it is sure that no other process runs them.
        echo: Print what the programs say, too.

    Raises:
        HomeError: Another process holds the lock file.
    """
    lock = hold(lock_file)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    mark = uuid.uuid4().hex
    warden = start_warden(mark)
    kept = [_Kept(program, environment, mark, logs, echo=echo) for program in programs]
    with lock:
        try:
            say(greeting)
            for program in programs:
                before_start(program.name)
            while not stop.wait(0.2):
                warden = warden if warden.poll() is None else start_warden(mark)
                for one in kept:
                    _look_after(one, kept, before_start, say)
        finally:
            _end(kept, mark)
            dismiss_warden(warden)


def _look_after(
    one: _Kept, kept: Sequence[_Kept], before_start: Callable[[str], None], say: Callable[[str], None]
) -> None:
    if (status := one.ended()) is not None:
        say(f"{one.program.name} ended with status {status}; it is started again in {one.pause_s:g} s")
        one.back_off()
        for other in kept:
            if other.program.needs == one.program.name and other.end():
                say(f"{other.program.name} is ended with it")
        before_start(one.program.name)
    if one.start_if_due():
        say(f"{one.program.name} started, process {one.process.pid if one.process else '-'}")


def _end(kept: Sequence[_Kept], mark: str) -> None:
    """Asks all to end, waits a little, and kills who is left."""
    running = [one.process for one in kept if one.process is not None]
    for process in running:
        process.send_signal(signal.SIGINT)
    end = time.monotonic() + GRACE_SECONDS
    while time.monotonic() < end and any(process.poll() is None for process in running):
        time.sleep(0.1)
    end_family(mark)
    for process in running:
        process.wait()
