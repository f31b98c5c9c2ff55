"""The first and last moments of every child: read the request, speak on the channel, die with the parent.

Change this file when all children change.
What one child does belongs in its own module beside this one; nothing heavy may be imported here.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing.util import register_after_fork
from typing import TypeVar

from pydantic import BaseModel

from cspine_assets.domain.errors import CSpineError
from cspine_assets.domain.workers import end_with_parent
from cspine_assets.nnunet.messages import ChildMessage, Failed, Finished

RequestT = TypeVar("RequestT", bound=BaseModel)

PARENT_CHECK_S = 0.5
"""How often a child looks whether its parent lives; orphaned workers would hold 450 MB each."""

PR_SET_PDEATHSIG = 1
"""Of Linux' prctl(2): which signal a process gets when its parent dies."""

Emit = Callable[[ChildMessage], None]


def run(request_type: type[RequestT], work: Callable[[RequestT, Emit], BaseModel]) -> None:
    """Be a child: ``python -m module [channel parent_pid] < request.json``; ends the process.

    Without a channel (run by hand) the messages go to the standard output.
    """
    channel = sys.stdout.fileno()
    if len(sys.argv) > 1:
        channel, parent = int(sys.argv[1]), int(sys.argv[2])
        os.set_inheritable(channel, False)
        _watch_parent(parent)
        _let_workers_die_too()
    _fork_workers()
    # A parent that ignores or handles signals may hand that down. Interrupts must be heard here, and SIGTERM must
    # kill: forked pool workers inherit it, and nnU-Net waits for ever for one that survives it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    send = _sender(channel)
    try:
        result = work(request_type.model_validate_json(sys.stdin.buffer.read()), send)
    except BaseException as error:  # noqa: BLE001 - reported to the parent, whatever it was
        traceback.print_exc()
        foreseen = isinstance(error, CSpineError)
        send(Failed(error=str(error) if foreseen else f"{type(error).__name__}: {error}", foreseen=foreseen))
        sys.exit(1)
    send(Finished(result_json=result.model_dump_json()))
    sys.stdout.flush()


def _sender(channel: int) -> Callable[[BaseModel], None]:
    lock = threading.Lock()

    def send(message: BaseModel) -> None:
        line = message.model_dump_json().encode() + b"\n"
        with lock:
            while line:
                line = line[os.write(channel, line) :]

    return send


def _let_workers_die_too() -> None:
    """Let forked workers die with this process, also when it and its parent are killed at one stroke.

    nnU-Net's augmentation workers would wait for ever on an event that nobody sets any more. Linux ends them at once;
    what all systems do for workers of multiprocessing is at the end of this file.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    os.register_at_fork(after_in_child=lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL))


def _fork_workers() -> None:
    """Let nnU-Net fork its workers on Linux, whatever this Python's default is (a fork server from 3.14 on).

    A forked worker shares what its child has imported; one from a fork server imports torch anew, which takes seconds
    and 450 MB for each. nnU-Net's releases are made with forked workers on Linux. Python warns of forks beside threads;
    the thread that watches the parent holds no lock. macOS keeps its default, spawn.
    """
    if sys.platform == "linux":
        multiprocessing.set_start_method("fork", force=True)


def _watch_parent(parent: int) -> None:
    """Kill this process's group, workers and all, soon after the parent is gone."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_CHECK_S)
        os.killpg(os.getpgid(0), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True, name="parent-watch").start()


def _end_spawned_worker_with_parent() -> None:
    """Wait until multiprocessing knows this worker's parent, which is after the imports, and end with it."""

    def watch() -> None:
        while multiprocessing.parent_process() is None:
            time.sleep(PARENT_CHECK_S)
        end_with_parent()

    threading.Thread(target=watch, daemon=True, name="parent-watch").start()


# Workers of multiprocessing that do not inherit the system's own way import their parent's main module, which is a
# child's, and with it this one. The hook is called in workers that are forked or come from a fork server, before their
# work; spawned ones, as on macOS, have no such hook, and are known by their command line.
register_after_fork(end_with_parent, lambda watch: watch())
if "--multiprocessing-fork" in sys.orig_argv:
    _end_spawned_worker_with_parent()
