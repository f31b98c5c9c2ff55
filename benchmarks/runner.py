"""How a benchmark measures and prints: a function in a fresh process, its wall time and peak memory, beside a budget.

Add here what several benchmarks need. What is measured, and what it may cost, stands in their own files.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import psutil


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
) -> Cost:
    """Runs a function of a module once, in a process of its own.

    Args:
        name: What to call it.
        work: A function at the top level of a module.
        *arguments: Its arguments.
        budget_s: Time that it may take.
        budget_mb: Memory that it may take.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(sender, work, arguments))
    process.start()
    sender.close()
    try:
        seconds, cpu_seconds, peak_mb = receiver.recv()
    except EOFError as error:
        process.join()
        raise RuntimeError(f"{name}: its process ended with status {process.exitcode}") from error
    process.join()
    return Cost(name, seconds, cpu_seconds, peak_mb, budget_s, budget_mb)


def _run(sender: Connection, work: Callable[..., object], arguments: tuple[object, ...]) -> None:
    start, cpu_start = time.perf_counter(), time.process_time()
    work(*arguments)
    sender.send((time.perf_counter() - start, time.process_time() - cpu_start, _peak_mb()))


def _peak_mb() -> float:
    """Returns the largest resident memory of this process alone."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except FileNotFoundError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    # getrusage would hand on what the parent had when it started this process
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6


def print_costs(costs: Sequence[Cost]) -> None:
    """Prints costs as a table; a cost over its budget is marked."""
    print(f"{'what':<52}{'seconds':>9}{'cpu s':>8}{'of':>6}{'peak MB':>10}{'of':>7}")
    for cost in costs:
        over = cost.seconds > (cost.budget_s or float("inf")) or cost.peak_mb > (cost.budget_mb or float("inf"))
        spent = f"{cost.seconds:>9.2f}{cost.cpu_seconds:>8.2f}{_budget(cost.budget_s):>6}"
        held = f"{cost.peak_mb:>10.0f}{_budget(cost.budget_mb):>7}"
        print(f"{cost.name:<52}{spent}{held}{'  OVER' if over else ''}")


def _budget(limit: float | None) -> str:
    return "" if limit is None else f"{limit:.0f}"


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
