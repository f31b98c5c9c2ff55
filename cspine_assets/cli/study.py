"""Making a study from the command line: a display, and what to say at the end.

Add here what `demo` and `materialize` share. Which tables are stale, and in what order they are made, is the driver's.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape

from cspine_assets.cli.progress import StageDisplay
from cspine_assets.defs.driver import StageReport
from cspine_assets.defs.driver import materialize as materialize_study
from cspine_assets.defs.instance import open_instance
from cspine_assets.defs.lights import failed_lights
from cspine_assets.domain.home import Home


def make_study(
    home: Home, display: StageDisplay, *, schemas: Sequence[str] | None = None, force: bool = False
) -> list[StageReport]:
    """Makes what is missing of an opened home, showing each stage."""
    with open_instance(home) as instance:
        return materialize_study(home, instance=instance, schemas=schemas, force=force, watcher=display.watcher())


def show_lights(home: Home, console: Console) -> None:
    """Prints the checks that are red or yellow on the page, with what they say; nothing where all are green."""
    with open_instance(home) as instance:
        lights = failed_lights(instance)
    if lights:
        console.print("Checks that did not pass (on the page: Catalog, the asset, Checks):")
    for light in lights:
        colour, severity = ("red", "red") if light.severe else ("yellow", "yellow, to look at")
        console.print(f"  [{colour}]{light.asset} {light.check}[/] ({severity}): {escape(light.said)}", soft_wrap=True)


def failed_patients(reports: Sequence[StageReport], console: Console) -> int:
    """Prints the patients who stay missing with their reasons, and returns how many stages had any."""
    failed = [report for report in reports if report.failures]
    for report in failed:
        console.print(f"[red]{report.stage.name}[/]")
        for failure in report.failures:
            console.print(f"  {escape(failure)}", soft_wrap=True)
    return len(failed)
