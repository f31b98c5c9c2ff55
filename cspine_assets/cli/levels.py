"""`cspine levels`: a person's word on the topmost body, where masks leave its name open."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cspine_assets.cli.options import HomeOption

if TYPE_CHECKING:
    from pathlib import Path

    from cspine_assets.domain.evaluation.stated_tops import StatedTops


def levels(
    choices: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME=VALUE]...",
            help="top=C2: the topmost annotated body of every exam. table=FILE: of single exams, a CSV or TSV with the "
            "columns exam_id and top. `NAME=` alone takes it back.",
        ),
    ] = None,
    home: HomeOption = None,
) -> None:
    """Show or set the name of the topmost annotated body, where masks leave it open; exams concerned are remeasured."""
    from rich.console import Console

    from cspine_assets.domain.evaluation.stated_tops import read_stated_tops, write_stated_tops
    from cspine_assets.domain.home import ensure_writable, home_root

    root = home_root(home)
    tops = read_stated_tops(root)
    if choices:
        for choice in choices:
            tops = _changed(root, tops, choice)
        ensure_writable(root)
        write_stated_tops(root, tops)
    console = Console()
    cohort = f"{tops.cohort} in every exam" if tops.cohort else "by each mask's own evidence"
    console.print(f"topmost body: {cohort}", highlight=False)
    console.print(f"exams with a name of their own: {len(tops.exams)}", highlight=False)
    console.print(
        'Levels whose name is in doubt: cspine sql "from level_doubts"; what to do: docs/metrics.md', highlight=False
    )


def _changed(root: Path, tops: StatedTops, choice: str) -> StatedTops:
    """Returns what is said with one choice more, or one taken back."""
    from dataclasses import replace
    from pathlib import Path

    from cspine_assets.domain.anatomy import VERTEBRAE
    from cspine_assets.domain.errors import CSpineError
    from cspine_assets.domain.evaluation.stated_tops import read_top_table

    name, equals, value = choice.partition("=")
    if name not in ("top", "table") or not equals:
        raise CSpineError(f"expected top=LEVEL or table=FILE, got '{choice}'.")
    if name == "table":
        return replace(tops, exams=read_top_table(Path(value), known=_exams(root)) if value else {})
    if value and value not in VERTEBRAE:
        raise CSpineError(f"expected top as one of {', '.join(VERTEBRAE)}, got '{value}'.")
    return replace(tops, cohort=value or None)


def _exams(root: Path) -> set[str]:
    """Returns the exams of the cohort; none where it has not been read yet."""
    from cspine_assets.domain.home import Home
    from cspine_assets.domain.tables.cohort import Exams

    return set(Home(root).lake.read(Exams)["exam_id"])
