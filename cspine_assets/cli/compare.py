"""`cspine compare`: two files of scores, case by case; no platform and no home needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from cspine_assets.domain.evaluation.protocols import Verdict
    from cspine_assets.domain.evaluation.score_pairs import FileComparison, StructureComparison

NAMES_SHOWN = 10


def compare(
    a: Annotated[
        Path, typer.Argument(help="Scores of one predictor: .csv, .parquet or .json, as `cspine score` writes.")
    ],
    b: Annotated[Path, typer.Argument(help="Scores of the other, on the same cases.")],
    metric: Annotated[str, typer.Option(help="Column of both files to compare, such as dice_volumetric.")],
    key: Annotated[str, typer.Option(help="Column of both files that names the case.")] = "case_id",
    out: Annotated[Path | None, typer.Option(help="JSON file to write all tests to.")] = None,
) -> None:
    """Compare two predictors on the same cases, structure by structure where the files have a column `structure`.

    Cases are paired by name. First the paired protocol: Wilcoxon signed-rank, rank-biserial effect size and bootstrap
    of the median difference, corrected over the structures by Holm; beside it the published study's unpaired one.
    Cases that only one file has are named, and compared with nothing.
    """
    from rich.console import Console

    from cspine_assets.domain.errors import CSpineError
    from cspine_assets.domain.evaluation.score_pairs import compare_files
    from cspine_assets.domain.files import write_text

    if out is not None and out.suffix.lower() != ".json":
        raise CSpineError(f"--out {out}: expected a name ending in .json.")
    found = compare_files(a, b, metric=metric, key=key)
    console = Console()
    console.print(f"{metric}: a is {a}, b is {b}", soft_wrap=True, highlight=False, markup=False)
    console.print(comparison_table(found))
    for line in _left_out(found):
        console.print(line, soft_wrap=True, highlight=False, markup=False)
    if out is not None:
        write_text(out, found.as_json() + "\n")
        console.print(f"{out}: all tests", soft_wrap=True, highlight=False, markup=False)


def comparison_table(found: FileComparison) -> Table:
    """Returns two lines per structure: the paired protocol, and beneath it the published one."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("structure")
    table.add_column("protocol")
    for name in ("n", "median a", "median b", "a - b", "95 % interval", "p", "p (Holm)", "effect", "a > b", "b > a"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in found.structures:
        wins = (str(one.higher_in_a), str(one.higher_in_b))
        table.add_row(one.structure, *_cells(one, one.paired), *wins)
        table.add_row("", *_cells(one, one.paper), "", "")
    return table


def _cells(one: StructureComparison, verdict: Verdict) -> list[str]:
    """Returns the cells of one protocol."""
    test = verdict.comparison
    interval = "" if test.ci_low is None else f"{_number(test.ci_low)} to {_number(test.ci_high)}"
    return [
        verdict.protocol.value,
        str(one.n),
        _number(one.median_a),
        _number(one.median_b),
        _number(test.median_difference),
        interval,
        _p_value(test.p_value),
        _p_value(verdict.p_value_holm),
        "" if test.effect_size is None else f"{test.effect_size:+.2f}",
    ]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _p_value(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if value >= 0.001 else f"{value:.1e}"


def _left_out(found: FileComparison) -> list[str]:
    """Returns a line per kind of case that is not compared, the same cases of several structures once."""
    lines: dict[str, list[str]] = {}
    for one in found.structures:
        for what, names in (
            ("only in a", one.only_in_a),
            ("only in b", one.only_in_b),
            (f"without a {found.metric} in one of the files", one.without_value),
        ):
            if names:
                lines.setdefault(f"{len(names)} case(s) {what}, not compared: {_listed(names)}", []).append(
                    one.structure
                )
    return [f"{', '.join(structures)}: {line}" for line, structures in lines.items()]


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:NAMES_SHOWN])
    more = len(names) - NAMES_SHOWN
    return f"{shown} and {more} more; --out lists them" if more > 0 else shown
