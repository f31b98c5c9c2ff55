"""Starting a child process, listening to it, and making sure that nothing of it is left behind.

Change this file when the life of a child changes: its start, its end, its silence, its death.
What a child computes (``children``) and which environment it needs (``environment``) do not belong here.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, TypeAdapter

from cspine_assets.domain.errors import ModelError
from cspine_assets.domain.files import write_text
from cspine_assets.domain.workers import is_alive
from cspine_assets.nnunet.messages import ChannelLine, ChildMessage, Failed, Finished, described_message

ResultT = TypeVar("ResultT", bound=BaseModel)

POLL_S = 0.2
"""How often the parent looks up from the channel; a stop request waits this long at most."""
INTERRUPT_GRACE_S = 3.0
"""Between SIGINT, on which nnU-Net ends its workers itself, and SIGKILL of the group: within 5 s nothing is left."""
EXIT_GRACE_S = 30.0
"""For a child that has delivered its result and is tearing down its interpreter and workers."""
LOG_TAIL_LINES = 20

_LINE: TypeAdapter[ChannelLine] = TypeAdapter(ChannelLine)


class ChildStoppedError(ModelError):
    """The child was ended because its caller asked for it."""


class ChildLostError(ModelError):
    """The child died or hung over its work, so that part of the work may be tried again without it.

    A child that ended with an error of its own is a plain ``ModelError``.
    """


@dataclass(frozen=True, kw_only=True)
class Supervision:
    """How a caller watches over one child.

    Attributes:
        log_path: Receives what the child and its libraries print; appended to.
        on_message: Called in the caller's thread for every message; if it raises, the child is ended.
        heartbeat_timeout_s: A child silent for longer is taken for hung and ended. None: no limit.
        stop: When set, by any thread, the child is ended.
    """

    log_path: Path
    on_message: Callable[[ChildMessage], None]
    heartbeat_timeout_s: float | None = None
    stop: threading.Event | None = None


def run_child(
    module: str,
    request: BaseModel,
    *,
    result_type: type[ResultT],
    env: Mapping[str, str],
    supervision: Supervision,
) -> ResultT:
    """Run ``python -m module`` on ``request`` and return its result.

    Args:
        module: A child-entry module; see ``children.entry``.
        request: Travels as JSON on the child's standard input, for this child alone however many have the same log. A
            copy stays beside the log, so that the last one can be run again by hand.
        result_type: Type that the child's result is read as.
        env: The child's whole environment.
        supervision: Its log, its listener and its limits.

    Raises:
        ChildLostError: The child died or hung; names the module, what was heard of it last, and the log.
        ModelError: The child failed or was stopped; names the module and the log.

    The child leads its own process group. Whatever ends this call (an exception, an interrupt, the last
    message), the group is gone afterwards; if this process itself is killed, the child notices within a
    second and ends its group. May be called from any thread.
    """
    log_path = supervision.log_path
    log_path.parent.mkdir(parents=True, exist_ok=True)
    asked = request.model_dump_json(indent=1)
    write_text(log_path.with_suffix(".request.json"), asked)
    with _started(module, asked, env, log_path) as child:
        end = child.listen(supervision)
        if isinstance(end, Finished):
            child.wait_for_exit()
            return result_type.model_validate_json(end.result_json)
        if end is None:
            raise ChildLostError(child.described(child.silent_end()))
        raise ModelError(child.told(end.error) if end.foreseen else child.described(end.error))


class _Child:
    """One running child, its channel and its log."""

    def __init__(self, process: subprocess.Popen[bytes], channel: int, log_path: Path, log_start: int) -> None:
        self._process = process
        self._channel = channel
        self._log_path = log_path
        self._log_start = log_start
        self._module = str(process.args[2])  # type: ignore[index]

    def listen(self, supervision: Supervision) -> Finished | Failed | None:
        """Hand on messages until the last line; None if the child ended without one."""
        limit_s, stop = supervision.heartbeat_timeout_s, supervision.stop
        heard = time.monotonic()
        last = "it had said nothing yet"
        for line in self._lines():
            if stop is not None and stop.is_set():
                msg = f"{self._module} was stopped on request; its log is {self._log_path}"
                raise ChildStoppedError(msg)
            if line is None:
                if limit_s is not None and time.monotonic() - heard > limit_s:
                    what = f"silent for more than {limit_s:g} s, taken for hung and ended; last heard: {last}"
                    raise ChildLostError(self.described(what))
                continue
            heard = time.monotonic()
            message = _LINE.validate_json(line)
            if isinstance(message, Finished | Failed):
                return message
            last = described_message(message)
            supervision.on_message(message)
        return None

    def _lines(self) -> Iterator[bytes | None]:
        """Lines from the channel, and None whenever there was nothing for a while; ends with the child."""
        rest = b""
        with selectors.DefaultSelector() as selector:
            selector.register(self._channel, selectors.EVENT_READ)
            while True:
                if not selector.select(POLL_S):
                    # A worker forked by the child may hold the channel open, so its end alone is no sign.
                    if self._has_ended():
                        return
                    yield None
                    continue
                chunk = os.read(self._channel, 65536)
                if not chunk:
                    return
                *lines, rest = (rest + chunk).split(b"\n")
                yield from lines

    def _has_ended(self) -> bool:
        """Whether the child is over, without reaping it: until then no other group can get its number.

        ``os.waitid`` can tell too, but macOS has it from Python 3.13 on only.
        """
        return self._process.returncode is not None or not is_alive(self._process.pid)

    def wait_for_exit(self, limit_s: float = EXIT_GRACE_S) -> None:
        """Wait until the child is over, ``limit_s`` at most."""
        deadline = time.monotonic() + limit_s
        while not self._has_ended() and time.monotonic() < deadline:
            time.sleep(0.02)

    def end(self, *, politely: bool) -> None:
        """Leave nothing of the child's group alive."""
        if politely and not self._has_ended():
            self._process.send_signal(signal.SIGINT)
            self.wait_for_exit(INTERRUPT_GRACE_S)
        self._reaped()

    def _reaped(self) -> int:
        """The child's status, with its group ended first: once it is reaped, the group's number may be another's."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        return self._process.wait()

    def silent_end(self) -> str:
        """How a child ended that said nothing."""
        self.wait_for_exit()
        if not self._has_ended():
            return "closed its channel without a result and did not end"
        status = self._reaped()
        if status >= 0:
            return f"ended with status {status} and no result"
        if -status == signal.SIGKILL:
            return "killed by signal 9; most often the memory was full: use fewer workers or trainings"
        return f"killed by signal {-status}"

    def told(self, what: str) -> str:
        """An error that says by itself what is wrong, with the child's log."""
        return f"{what.rstrip('.')}. Log: {self._log_path}"

    def described(self, what: str) -> str:
        """What happened, with the child's name, its log and the log's last lines."""
        with self._log_path.open("rb") as log:
            log.seek(self._log_start)
            tail = log.read().decode(errors="replace").splitlines()[-LOG_TAIL_LINES:]
        lines = "\n".join(f"    {line}" for line in tail) or "    (empty)"
        return f"{self._module}: {what.rstrip('.')}. Log: {self._log_path}; its last lines:\n{lines}"


@contextlib.contextmanager
def _started(module: str, asked: str, env: Mapping[str, str], log_path: Path) -> Iterator[_Child]:
    """A started child; on leaving, its whole group is gone, asked politely first if anything went wrong."""
    reading, writing = os.pipe()
    try:
        with log_path.open("ab") as log, tempfile.TemporaryFile(dir=log_path.parent) as request:
            request.write(asked.encode())
            request.seek(0)
            log_start = log.tell()
            process = subprocess.Popen(
                [sys.executable, "-m", module, str(writing), str(os.getpid())],
                stdin=request,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(env),
                pass_fds=(writing,),
                start_new_session=True,
            )
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    child = _Child(process, reading, log_path, log_start)
    try:
        yield child
    except BaseException:
        child.end(politely=True)
        raise
    else:
        child.end(politely=False)
    finally:
        os.close(reading)
