"""Work in child processes of which any may die: only what it held is tried again, and then given up.

Add here what is true of any work in such processes. What the work is, and what a lost piece of it means, is
said by the caller.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from typing import Any, Generic, TypeVar

import psutil

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

EXIT_GRACE_S = 5.0
"""A worker that has nothing left to do ends within milliseconds; one that does not is killed."""


def is_alive(pid: int) -> bool:
    """Whether a process of this machine still runs; one that is dead and of which nobody takes note does not."""
    if not psutil.pid_exists(pid):
        return False
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.ZombieProcess:  # macOS answers fewer questions about a dead one
        return False
    except psutil.Error:  # gone by now, or another user's whom the system hides
        return psutil.pid_exists(pid)


def each_in_workers(
    chunks: Sequence[Sequence[ItemT]],
    work: Callable[[list[ItemT]], list[ResultT]],
    *,
    lost: Callable[[ItemT], ResultT],
    workers: int,
    preload: Sequence[str] = (),
) -> Iterator[ResultT]:
    """Yields the results of chunks of work as they come, chunk by chunk in no fixed order.

    Every worker is a process of its own. When one dies (out of memory, a crash in a library), the items it
    held are tried once more, each alone in a fresh process; the other workers notice nothing. Workers end
    with this process, even when it is killed; closing the iterator kills them.

    Args:
        chunks: Items that are worked on together.
        work: A function at the top level of a module; returns one result per item.
        lost: Gives the result of an item whose process died twice; called in this process.
        workers: Processes at a time.
        preload: Modules that the server of fresh processes imports once.

    Raises:
        Exception: Whatever ``work`` raises ends the whole.
    """
    crew: _Crew[ItemT, ResultT] = _Crew(work, lost)
    for chunk in chunks:
        crew.pending.put(list(chunk))
    context = _context(preload)
    resource_tracker.ensure_running()  # where a thread's first process brings it, it lets that thread hear Ctrl-C again
    members = [_Worker(context) for _ in range(min(workers, len(chunks)))]
    threads = [threading.Thread(target=crew.drive, args=(member,), daemon=True) for member in members]
    for thread in threads:
        thread.start()
    try:
        running = len(threads)
        while running:
            match crew.done.get():
                case None:
                    running -= 1
                case BaseException() as error:
                    raise error
                case results:
                    yield from results
    finally:
        crew.stopped.set()
        for member in members:
            member.kill()
        for thread in threads:
            thread.join()


@dataclass
class _Crew(Generic[ItemT, ResultT]):
    """What the drivers share; each drives one worker process."""

    work: Callable[[list[ItemT]], list[ResultT]]
    lost: Callable[[ItemT], ResultT]
    pending: queue.SimpleQueue[list[ItemT]] = field(default_factory=queue.SimpleQueue)
    # of one place: workers wait until their results are kept, so that a kill loses what is in flight and no more
    done: queue.Queue[list[ResultT] | BaseException | None] = field(default_factory=lambda: queue.Queue(maxsize=1))
    stopped: threading.Event = field(default_factory=threading.Event)

    def drive(self, worker: _Worker) -> None:
        """Feeds one worker until nothing is left; ends with a None, so that the receiver can count."""
        # inherited by what this thread starts, whose traceback a Ctrl-C would show while it still loads its libraries
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            while not self.stopped.is_set():
                self._chunk(worker, self.pending.get_nowait())
        except queue.Empty:
            pass
        # raised again where the results are received
        except BaseException as error:  # noqa: BLE001
            self._give(error)
        finally:
            worker.close()
            self._give(None)

    def _give(self, results: list[ResultT] | BaseException | None) -> None:
        """Hands on results as soon as there is room, while somebody waits for them."""
        while not self.stopped.is_set():
            with suppress(queue.Full):
                self.done.put(results, timeout=0.1)
                return

    def _chunk(self, worker: _Worker, chunk: list[ItemT]) -> None:
        results = worker.run(self.work, chunk)
        if results is not None:
            self._give(results)
            return
        for item in chunk:
            if self.stopped.is_set():
                return
            self._give(worker.run(self.work, [item]) or [self.lost(item)])


class _Worker:
    """One process at a time, a fresh one after a death."""

    def __init__(self, context: BaseContext) -> None:
        self._context = context
        self._process: BaseProcess | None = None
        self._channel: Connection[Any, Any] | None = None
        self._killed = False

    def run(self, work: Callable[[list[ItemT]], list[ResultT]], items: list[ItemT]) -> list[ResultT] | None:
        """Returns the results, or None when the process died over them or could not be started."""
        try:
            answer = self._asked(work, items)
        except (EOFError, OSError):
            self.close()
            return None
        if isinstance(answer, BaseException):
            raise answer
        results: list[ResultT] = answer
        return results

    def _asked(self, work: Callable[[list[ItemT]], list[ResultT]], items: list[ItemT]) -> Any:  # noqa: ANN401
        channel = self._channel or self._started()
        if self._killed:
            raise EOFError
        channel.send((work, items))
        return channel.recv()

    def _started(self) -> Connection[Any, Any]:
        """Starts the process; one that cannot be started leaves nothing that would have to be waited for."""
        channel, theirs = self._context.Pipe()
        # the context's own class: its type is not known to BaseContext
        process = self._context.Process(target=_serve, args=(theirs,), daemon=False)  # type: ignore[attr-defined]
        with theirs:
            process.start()
        self._channel, self._process = channel, process
        return channel

    def kill(self) -> None:
        """Ends the process at once; may be called from another thread than ``run``."""
        self._killed = True
        process = self._process
        if process is not None:
            with suppress(ValueError):  # closed in the meantime by its own thread
                process.kill()

    def close(self) -> None:
        """Lets the process end, and waits for it."""
        if self._channel is None or self._process is None:
            return
        self._channel.close()
        self._process.join(EXIT_GRACE_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process.close()
        self._channel = self._process = None


def _serve(channel: Connection[Any, Any]) -> None:
    """Is a worker: takes work, gives results or the error, until there is nobody to give them to."""
    end_with_parent()
    # what the libraries brought stays for good: a look through it takes 0.15 s each time where it is Dagster, and where
    # it is no more than reads DICOM, 2 percent of converting a series
    gc.freeze()
    # a person's Ctrl-C reaches the whole terminal group; who started this worker decides when it ends
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # children of its own may have to hear it
    with suppress(EOFError, OSError):
        while True:
            work, items = channel.recv()
            try:
                answer = work(items)
            except Exception as error:  # noqa: BLE001 - raised again in the process that asked
                answer = error
            channel.send(answer)


def _context(preload: Sequence[str]) -> BaseContext:
    """Fresh processes come from a server without threads where there is one; never from a plain fork."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    return context


def end_with_parent() -> None:
    """Ends a worker when the process that asked for it is gone: killed, it cannot say good-bye itself.

    Does nothing in a process that multiprocessing has not started.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
