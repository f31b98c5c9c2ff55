"""Work in child processes of which any may die: only what it held is tried again, and then given up.

Add here what is true of any work in such processes. What the work is, and what a lost piece of it means, is
said by the caller.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing.context import BaseContext
from typing import Generic, TypeVar

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


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
    with this process, even when it is killed.

    Args:
        chunks: Items that are worked on together.
        work: A function at the top level of a module; returns one result per item.
        lost: Gives the result of an item whose process died twice; called in this process.
        workers: Processes at a time.
        preload: Modules that the server of fresh processes imports once.

    Raises:
        Exception: Whatever ``work`` raises ends the whole, as does closing the iterator.
    """
    crew: _Crew[ItemT, ResultT] = _Crew(work, lost, _context(preload))
    for chunk in chunks:
        crew.pending.put(list(chunk))
    threads = [
        threading.Thread(target=crew.drive, name=f"driver-{number}", daemon=True)
        for number in range(min(workers, len(chunks)))
    ]
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
        for thread in threads:
            thread.join()


@dataclass
class _Crew(Generic[ItemT, ResultT]):
    """What the drivers share; each drives one worker process."""

    work: Callable[[list[ItemT]], list[ResultT]]
    lost: Callable[[ItemT], ResultT]
    context: BaseContext
    pending: queue.SimpleQueue[list[ItemT]] = field(default_factory=queue.SimpleQueue)
    done: queue.SimpleQueue[list[ResultT] | BaseException | None] = field(default_factory=queue.SimpleQueue)
    stopped: threading.Event = field(default_factory=threading.Event)

    def drive(self) -> None:
        """Feeds one worker until nothing is left; ends with a None, so that the receiver can count."""
        worker = _Worker(self.context)
        try:
            while not self.stopped.is_set():
                self._chunk(worker, self.pending.get_nowait())
        except queue.Empty:
            pass
        # raised again where the results are received
        except BaseException as error:  # noqa: BLE001
            self.done.put(error)
        finally:
            worker.close()
            self.done.put(None)

    def _chunk(self, worker: _Worker, chunk: list[ItemT]) -> None:
        results = worker.run(self.work, chunk)
        if results is not None:
            self.done.put(results)
            return
        for item in chunk:
            if self.stopped.is_set():
                return
            self.done.put(worker.run(self.work, [item]) or [self.lost(item)])


class _Worker:
    """One process at a time, a fresh one after a death."""

    def __init__(self, context: BaseContext) -> None:
        self._context = context
        self._pool: ProcessPoolExecutor | None = None

    def run(self, work: Callable[[list[ItemT]], list[ResultT]], items: list[ItemT]) -> list[ResultT] | None:
        """Returns the results, or None when the process died over them."""
        if self._pool is None:
            self._pool = ProcessPoolExecutor(1, mp_context=self._context, initializer=_end_with_parent)
        try:
            return self._pool.submit(work, items).result()
        except BrokenProcessPool:
            self.close()
            return None

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None


def _context(preload: Sequence[str]) -> BaseContext:
    """Fresh processes come from a server without threads where there is one; never from a plain fork."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    return context


def _end_with_parent() -> None:
    """Ends a worker when the process that asked for it is gone: killed, it cannot say good-bye itself."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
