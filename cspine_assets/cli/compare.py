"""`cspine compare`: two files of scores, case by case; no platform and no home needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from cspine_assets.domain.evaluation.protocols import Verdict
    from cspine_assets.domain.evaluation.score_pairs import FileComparison

NAMES_SHOWN = 10
LEGEND = (
    "paired: median difference with its bootstrap interval, Wilcoxon signed-rank, rank-biserial effect\n"
    "paper: difference of medians, Mann-Whitney U, cases taken for unpaired as in the published study"
)


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
    from cspine_assets.cli.places import check_file_place
    from cspine_assets.domain.errors import CSpineError
    from cspine_assets.domain.evaluation.score_pairs import compare_files
    from cspine_assets.domain.files import write_text

    if out is not None:
        if out.suffix.lower() != ".json":
            raise CSpineError(f"--out {out}: expected a name ending in .json.")
        if out.resolve() in (a.resolve(), b.resolve()):
            raise CSpineError(f"--out {out}: expected another file than those compared, it would be written over.")
        check_file_place(out, option="--out")
    found = compare_files(a, b, metric=metric, key=key)
    typer.echo("\n".join([f"{metric}: a is {a}, b is {b}", *comparison_lines(found), *_left_out(found), LEGEND]))
    if out is not None:
        write_text(out, found.as_json() + "\n")
        typer.echo(f"{out}: all tests")


def comparison_lines(found: FileComparison) -> list[str]:
    """Returns three lines per structure: who scores what, the paired protocol, and beneath it the published one."""
    lines = []
    for one in found.structures:
        lines.append(
            f"{one.structure}, {one.n} case(s): median {_number(one.median_a)} (a), {_number(one.median_b)} (b); "
            f"a higher in {one.higher_in_a}, b in {one.higher_in_b}"
        )
        lines += [_protocol_line(one.paired), _protocol_line(one.paper)]
    return lines


def _protocol_line(verdict: Verdict) -> str:
    """Returns one protocol's findings."""
    test = verdict.comparison
    said = [f"a - b {_number(test.median_difference)}"]
    if test.ci_low is not None:
        said[0] += f" ({_number(test.ci_low)} to {_number(test.ci_high)})"
    said.append(f"p {_p_value(test.p_value)}")
    if verdict.p_value_holm is not None:
        said.append(f"Holm {_p_value(verdict.p_value_holm)}")
    if test.effect_size is not None:
        said.append(f"effect {test.effect_size:+.2f}")
    return f"  {verdict.protocol.value:<8}{', '.join(said)}"


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.4f}"


def _p_value(value: float | None) -> str:
    if value is None:
        return "none"
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
