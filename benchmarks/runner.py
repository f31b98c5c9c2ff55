"""How a benchmark measures: functions and programs in processes of their own, their time and their peak memory.

Add here what several benchmarks need. What is measured and what it may cost belongs in their own files.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.forkserver
import os
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Cost:
    """What a piece of work cost.

    Attributes:
        name: What was done.
        seconds: Wall time, without the start of the process and its imports.
        cpu_seconds: Processor time of the same; far below the wall time, the machine was busy with other things.
        peak_mb: Largest resident memory of the process, with interpreter and libraries.
        budget_s: Time that it may take, or None.
        budget_mb: Memory that it may take, or None.
    """

    name: str
    seconds: float
    cpu_seconds: float
    peak_mb: float
    budget_s: float | None = None
    budget_mb: float | None = None


def measure(
    name: str,
    work: Callable[..., object],
    *arguments: object,
    budget_s: float | None = None,
    budget_mb: float | None = None,
    apart: bool = True,
) -> Cost:
    """Runs a function of a module once.

    Args:
        name: What to call it.
        work: A function at the top level of a module.
        *arguments: Its arguments.
        budget_s: Time that it may take.
        budget_mb: Memory that it may take.
        apart: Whether in a process of its own; where times mean nothing, its seconds of imports are not worth it.
    """
    spent = in_a_process(_measured, work, arguments) if apart else _measured(work, arguments)
    return Cost(name, *spent, budget_s, budget_mb)


def _measured(work: Callable[..., object], arguments: tuple[object, ...]) -> tuple[float, float, float]:
    start, cpu_start = time.perf_counter(), time.process_time()
    work(*arguments)
    return time.perf_counter() - start, time.process_time() - cpu_start, _peak_mb()


def in_a_process(work: Callable[..., Answer], *arguments: object) -> Answer:
    """Run a function of a module in a fresh process and return its answer; an error there is raised here.

    Raises:
        RuntimeError: The process ended without an answer, for example for want of memory.
    """
    # spawned on every system and Python: a forked process would start with what this one has in memory
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def least_in_turns(repeats: int, *ways: Callable[[], float]) -> list[float]:
    """Run several ways in turns and return the least that each of them cost.

    In turns, so that a busy minute of the machine meets all of them.
    """
    turns = [[way() for way in ways] for _ in range(repeats)]
    return [min(costs) for costs in zip(*turns, strict=True)]


@dataclass(frozen=True)
class Processor:
    """Processor time since the start of a process, in seconds: its own, and that of the children it has waited for."""

    own_s: float
    children_s: float

    @classmethod
    def now(cls) -> Processor:
        """Read both."""
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return cls(*(usage.ru_utime + usage.ru_stime for usage in used))

    def since(self, before: Processor) -> Processor:
        """Return what was spent since an earlier reading."""
        return Processor(self.own_s - before.own_s, self.children_s - before.children_s)


def end_worker_server() -> None:
    """End the server of worker processes; their time counts as that of children only once it has been waited for."""
    multiprocessing.forkserver._forkserver._stop()  # type: ignore[attr-defined]


def cores() -> int:
    """Return on how many cores this process may run."""
    # macOS does not limit a process to some of its cores
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _peak_mb() -> float:
    """Returns the largest resident memory of this process alone."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except FileNotFoundError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    # getrusage would hand on what the parent had when it started this process
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6


@dataclass(frozen=True)
class ProcessCost:
    """What a program cost, from its start to its end.

    Attributes:
        seconds: Wall time.
        cpu_seconds: Processor time of the program and of all that it started.
        peak_mb: Largest resident memory of all of them together, looked at fifty times a second.
    """

    seconds: float
    cpu_seconds: float
    peak_mb: float


def run_process(*command: object, environment: Mapping[str, str] | None = None) -> ProcessCost:
    """Runs a program once; what it prints is shown only where it fails.

    Args:
        *command: Program and arguments.
        environment: Variables beside those of this process.

    Raises:
        RuntimeError: It ended with another status than 0.
    """
    start = time.perf_counter()
    peak = 0
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            [str(part) for part in command],
            stdout=said,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
        )
        program = psutil.Process(process.pid)
        while not (ended := os.wait4(process.pid, os.WNOHANG))[0]:
            peak = max(peak, _resident_bytes(program))
            time.sleep(0.02)
        seconds = time.perf_counter() - start
        if ended[1]:
            said.seek(0)
            raise RuntimeError(f"{command[0]} ended with status {os.waitstatus_to_exitcode(ended[1])}: {said.read()}")
    used = ended[2]
    return ProcessCost(seconds, used.ru_utime + used.ru_stime, peak / 1e6)


def _resident_bytes(program: psutil.Process) -> int:
    """Returns the resident memory of a program and of all that it started."""
    total = 0
    with suppress(psutil.Error):
        for process in (program, *program.children(recursive=True)):
            with suppress(psutil.Error):
                total += process.memory_info().rss
    return total
