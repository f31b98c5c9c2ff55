"""The command ``python -m benchmarks``: runs benchmarks one after the other and collects their results.

Change this file when how benchmarks are chosen, run or told of changes. What they measure belongs in their own modules,
the form of the results in ``page``.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.catalog import BENCHMARKS, Benchmark, Size, chosen
from benchmarks.page import Machine, Outcome, markdown_page, print_results
from benchmarks.results import Results
from benchmarks.runner import in_a_process

NAMES = "\n\n".join(f"{benchmark.name}: {benchmark.question}" for benchmark in BENCHMARKS)

app = typer.Typer(add_completion=False)


@app.command(epilog=NAMES)
def main(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Default: all, see below.")] = None,
    size: Annotated[Size, typer.Option(help="How much work; targets hold from 'usual' on.")] = Size.USUAL,
    page: Annotated[Path | None, typer.Option(help="Also write the results to this file, as Markdown.")] = None,
) -> None:
    """Measure time and memory, beside the published way and the targets."""
    progress, console = Console(stderr=True, highlight=False), Console()
    if not console.is_terminal:
        console = Console(width=180)  # in a file no column needs to be folded
    try:
        benchmarks = chosen(names or ())
    except LookupError as error:
        raise typer.BadParameter(str(error.args[0])) from error
    machine = Machine.this()
    minutes = sum(benchmark.seconds[size] for benchmark in benchmarks) / 60
    progress.print(f"{len(benchmarks)} benchmarks at the {size} size: about {minutes:.0f} minutes on two quiet cores")
    outcomes = [
        _outcome(benchmark, size, f"{number} of {len(benchmarks)}", console=console, progress=progress)
        for number, benchmark in enumerate(benchmarks, start=1)
    ]
    if page is not None:
        page.write_text(markdown_page(outcomes, size=size, machine=machine), encoding="utf-8")
        progress.print(f"results written to {page}")
    _conclude(outcomes, size, progress)


def _outcome(benchmark: Benchmark, size: Size, position: str, *, console: Console, progress: Console) -> Outcome:
    """Run one benchmark; whatever is wrong with it is told, and the others run."""
    progress.print(f"\n{position}: {benchmark.name}, about {benchmark.seconds[size]} s", style="bold")
    start = time.perf_counter()
    try:
        results = in_a_process(run_in_temporary_folder, benchmark.name, size)
    except Exception as error:  # noqa: BLE001 - one benchmark that fails must not stop the others
        # the cause is the traceback of the other process; that of this one says nothing more
        progress.print(str(error.__cause__ or error), markup=False)
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return Outcome(benchmark, None, time.perf_counter() - start, reason)
    seconds = time.perf_counter() - start
    print_results(console, results, size=size)
    progress.print(f"{benchmark.name} took {seconds:.0f} s")
    return Outcome(benchmark, results, seconds)


def run_in_temporary_folder(name: str, size: Size) -> Results:
    """Run one benchmark on files that are removed afterwards."""
    (benchmark,) = chosen([name])
    run = benchmark.load()
    with tempfile.TemporaryDirectory(prefix="cspine-bench-") as folder:
        return run(size, Path(folder))


def _conclude(outcomes: Sequence[Outcome], size: Size, progress: Console) -> None:
    """Name what failed and what missed its target; exit with status 1 where a benchmark failed."""
    progress.print(f"\nall took {sum(outcome.seconds for outcome in outcomes) / 60:.1f} minutes")
    for outcome in outcomes:
        if outcome.results is None:
            progress.print(f"FAILED: {outcome.benchmark.name}: {outcome.error}", markup=False)
        elif size is not Size.SMALLEST:
            for what in outcome.results.missed():
                progress.print(f"target missed: {outcome.benchmark.name}: {what}", markup=False)
    if any(outcome.results is None for outcome in outcomes):
        raise typer.Exit(1)
