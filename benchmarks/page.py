"""Results as text: tables on the terminal and one page of Markdown, from the same data.

Change this file when the form of the results changes. What was measured belongs in ``results``, and running the
benchmarks in ``command``.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table as TerminalTable

from benchmarks.catalog import BENCHMARKS, Benchmark, Size
from benchmarks.results import Results, Table
from benchmarks.runner import cores

PROJECT = Path(__file__).resolve().parents[1]

HOW_TO_READ = """\
Times are processor seconds of whole processes, the start of Python included, unless a column says "wall".
"Published way" is the same work as the published study's scripts or nnU-Net's own commands do it, on the same files.
Ratios hold on other machines; absolute times do not. All data are synthetic."""

SMALLEST_WARNING = """\
> **Smallest size: this page shows that the benchmarks run. Its numbers mean nothing, and no target is judged.**
> `make bench` measures at the usual size and replaces this page."""


@dataclass(frozen=True)
class Outcome:
    """What became of one benchmark.

    Attributes:
        benchmark: Which one.
        results: What it measured, or None where it failed.
        seconds: Wall time.
        error: Why it failed, in one line; empty where it did not.
    """

    benchmark: Benchmark
    results: Results | None
    seconds: float
    error: str = ""


@dataclass(frozen=True)
class Machine:
    """Where and from what the results come."""

    processor: str
    cores: int
    memory_gb: float
    system: str
    python: str
    commit: str

    @classmethod
    def this(cls) -> Machine:
        """Describe this machine and this checkout."""
        return cls(
            processor=_processor(),
            cores=cores(),
            memory_gb=psutil.virtual_memory().total / 1e9,
            system=f"{platform.system()} {platform.release()}",
            python=platform.python_version(),
            commit=_commit(),
        )


def _processor() -> str:
    """Return the name of the processor; only Linux tells more than the architecture without a further program."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        lines = []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def _commit() -> str:
    git = shutil.which("git")
    if git is None:
        return "unknown"
    # the page itself is replaced by every run, which is no change of what was measured
    asked = [["rev-parse", "--short=10", "HEAD"], ["status", "--porcelain", "--", ".", ":!docs/benchmarks.md"]]
    said = [subprocess.run([git, "-C", PROJECT, *how], capture_output=True, text=True, check=False) for how in asked]
    if any(one.returncode for one in said):
        return "unknown"
    return said[0].stdout.strip() + (" with uncommitted changes" if said[1].stdout.strip() else "")


def print_results(console: Console, results: Results, *, size: Size) -> None:
    """Print the tables and notes of one benchmark."""
    for table in results.tables:
        heads, *rows = table.texts(judged=_is_judged(size))
        shown = TerminalTable(title=table.title, title_justify="left")
        for number, head in enumerate(heads):
            shown.add_column(head, justify="right" if number else "left", overflow="fold")
        for row in rows:
            shown.add_row(*row)
        console.print(shown)
    for note in results.notes:
        console.print(note, highlight=False, markup=False)


def markdown_page(outcomes: Sequence[Outcome], *, size: Size, machine: Machine) -> str:
    """Return the page of results."""
    parts = [_head(outcomes, size, machine), HOW_TO_READ]
    if _is_judged(size):
        parts.append(_verdict(outcomes))
    return "\n\n".join([*parts, *(_section(outcome, size) for outcome in outcomes)]) + "\n"


def _is_judged(size: Size) -> bool:
    return size is not Size.SMALLEST


def _head(outcomes: Sequence[Outcome], size: Size, machine: Machine) -> str:
    ran = {outcome.benchmark.name for outcome in outcomes}
    left_out = [benchmark.name for benchmark in BENCHMARKS if benchmark.name not in ran]
    title = "# Benchmarks" if _is_judged(size) else "# Benchmarks: smallest size, no measurement"
    facts = {
        "size": f"**{size}**",
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "commit": machine.commit,
        "processor": f"{machine.processor}, {machine.cores} cores",
        "memory": f"{machine.memory_gb:.0f} GB",
        "load at the end": f"{os.getloadavg()[0]:.1f}",
        "system": machine.system,
        "Python": machine.python,
        "whole time": f"{sum(outcome.seconds for outcome in outcomes) / 60:.1f} minutes",
        **({"not run": ", ".join(left_out)} if left_out else {}),
    }
    lines = ["| | |", "|---|---|", *(f"| {name} | {fact} |" for name, fact in facts.items())]
    warning = [] if _is_judged(size) else [SMALLEST_WARNING]
    return "\n\n".join([title, *warning, "Written by `make bench`; do not edit.", "\n".join(lines)])


def _verdict(outcomes: Sequence[Outcome]) -> str:
    missed = [
        f"- {outcome.benchmark.name}: {what}"
        for outcome in outcomes
        if outcome.results
        for what in outcome.results.missed()
    ]
    return "\n".join(["Targets missed:", "", *missed]) if missed else "All targets are met."


def _section(outcome: Outcome, size: Size) -> str:
    head = f"## {outcome.benchmark.name}\n\n{outcome.benchmark.question}; {outcome.seconds:.0f} s."
    if outcome.results is None:
        return f"{head}\n\n**Failed:** {outcome.error}"
    tables = [_markdown_table(table, judged=_is_judged(size)) for table in outcome.results.tables]
    return "\n\n".join([head, *tables, *outcome.results.notes])


def _markdown_table(table: Table, *, judged: bool) -> str:
    heads, *rows = table.texts(judged=judged)
    rule = ["---", *["--:"] * (len(heads) - 1)]
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in (heads, rule, *rows)]
    return "\n".join([f"**{table.title}**", "", *lines])
