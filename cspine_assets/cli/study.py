"""Making a study from the command line: a display, and what to say at the end.

Add here what `demo` and `materialize` share. Which tables are stale, and in what order they are made, is the driver's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape

from cspine_assets.cli.progress import MemoryMeter, StageDisplay, cost_table
from cspine_assets.defs.driver import StageFailedError, StageReport
from cspine_assets.defs.driver import materialize as materialize_study
from cspine_assets.defs.instance import open_instance
from cspine_assets.defs.lights import failed_lights
from cspine_assets.defs.resources import Study
from cspine_assets.domain.home import Home


@contextmanager
def study_display(home: Home, console: Console) -> Iterator[StageDisplay]:
    """Give a display for the work on a home, and print the closing summary however that work ends.

    The summary says what each stage cost, which checks did not pass, and which patients are missing and why. A stage
    that ends the work is left out of it: the error names it.
    """
    meter = MemoryMeter()
    display = StageDisplay(console, meter, Study(home).nnunet_folders)
    try:
        with meter, display:
            yield display
    except BaseException as error:
        told = [error.report] if isinstance(error, StageFailedError) else []
        try:
            _summarize(home, display, [report for report in display.reports if report not in told])
        except Exception as second:  # noqa: BLE001 - the first error is the one to be told
            console.print(f"The summary cannot be printed ({type(second).__name__}).", highlight=False)
        raise
    _summarize(home, display, display.reports)


def _summarize(home: Home, display: StageDisplay, reports: Sequence[StageReport]) -> None:
    if not display.reports:
        return
    display.console.print(cost_table(display.costs))
    show_lights(home, display.console)
    print_failures(reports, display.console)


def make_study(home: Home, display: StageDisplay, *, schemas: Sequence[str] | None = None, force: bool = False) -> None:
    """Makes what is missing of an opened home, showing each stage."""
    with open_instance(home) as instance:
        materialize_study(home, instance=instance, schemas=schemas, force=force, watcher=display.watcher())


def show_lights(home: Home, console: Console) -> None:
    """Prints the checks that are red or yellow on the page, with what they say; nothing where all are green."""
    with open_instance(home) as instance:
        lights = failed_lights(instance)
    if lights:
        console.print("Checks that did not pass (on the page: Catalog, the asset, Checks):")
    for light in lights:
        colour, severity = ("red", "red") if light.severe else ("yellow", "yellow, to look at")
        console.print(f"  [{colour}]{light.asset} {light.check}[/] ({severity}): {escape(light.said)}", soft_wrap=True)


def print_failures(reports: Sequence[StageReport], console: Console) -> None:
    """Prints the patients and external predictors that are missing, with their reasons, stage by stage."""
    for report in reports:
        if report.failures:
            console.print(f"[red]{report.stage.name}[/]")
        for failure in report.failures:
            console.print(f"  {escape(failure)}", soft_wrap=True)
