"""`cspine score`: any two folders of masks, no platform and no home needed."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cspine_assets.cli.options import AssumeAxesOption, allowance

if TYPE_CHECKING:
    from cspine_assets.domain.anatomy import Structure
    from cspine_assets.domain.evaluation.folder_score import CaseScore


class MetricChoice(StrEnum):
    """What is measured; said here again, so that `cspine --help` need not load what measures."""

    DICE = "dice"
    SURFACE = "surface"
    ALL = "all"


def score(
    reference: Annotated[Path, typer.Option(help="Folder of reference masks (.nii.gz, .nii).")],
    prediction: Annotated[
        Path, typer.Option(help="Folder of predicted masks; case.nii.gz belongs to case.nii.gz or case_SEG.nii.gz.")
    ],
    out: Annotated[Path, typer.Option(help="File of scores to write: .csv, .parquet or .json.")],
    labels: Annotated[
        list[str] | None,
        typer.Option(
            help="Label numbers of the masks. Default: vertebral_body=1 intervertebral_disc=2. "
            "Name one structure to score it alone."
        ),
    ] = None,
    more_labels: Annotated[list[str] | None, typer.Argument(hidden=True)] = None,
    *,
    levels: Annotated[
        Path | None, typer.Option(help="File of Dice per spinal level to write too: .csv, .parquet or .json.")
    ] = None,
    metrics: Annotated[MetricChoice, typer.Option(help="Overlap, distances between surfaces, or both.")] = (
        MetricChoice.ALL
    ),
    assume_axes: AssumeAxesOption = None,
    label_tolerance: Annotated[
        float,
        typer.Option(
            min=0,
            max=0.4,
            help="Take a value this near to a whole number for that label, as of masks saved with a scaling.",
        ),
    ] = 0.0,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="Processes. Default: one for Dice alone, else one per processor.", show_default=False),
    ] = None,
) -> None:
    """Score predicted masks against references, two folders of NIfTI of any origin.

    A case is told by the name of its files without `.nii.gz` and `_SEG`; files in sub-folders are not taken. A
    reference without a prediction counts as missed; one whose prediction cannot be read or lies on another grid gets a
    row with status `failed` and the reason, the others are scored, and the command ends with status 1. Predictions
    without a reference are named.
    """
    # scoring multiplies no matrices: threads for it would double the time to start
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from cspine_assets.domain.errors import CSpineError
    from cspine_assets.domain.evaluation.folder_score import FAILED, Choice, Metrics, score_cases
    from cspine_assets.domain.evaluation.mask_folders import match_folders
    from cspine_assets.domain.evaluation.score_file import level_rows, structure_rows, summary_lines, write_rows

    _check_places(out, levels)
    choice = Choice(
        _labels([*(labels or []), *(more_labels or [])]),
        Metrics(metrics),
        levels is not None,
        allowance(assume_axes, label_tolerance),
    )
    folders = match_folders(reference, prediction)
    _name_strangers(folders.without_reference)
    for told in folders.passed_over:
        typer.echo(told, err=True)
    scores = score_cases(folders.cases, choice, jobs=jobs)
    write_rows(out, structure_rows(scores, choice.metrics))
    if levels is not None:
        write_rows(levels, level_rows(scores))
    typer.echo("\n".join(summary_lines(scores, choice.metrics)))
    _name_absent(scores, choice.labels)
    written = " and ".join(str(path) for path in (out, levels) if path)
    typer.echo(f"{written}: {len(scores)} case(s)")
    failed: dict[str | None, list[str]] = {}
    for score in scores:
        if score.structures[0].status == FAILED:
            failed.setdefault(score.structures[0].reason, []).append(score.case_id)
    if failed:
        listed = "\n".join(f"  {', '.join(case_ids)}: {reason}" for reason, case_ids in failed.items())
        count = sum(map(len, failed.values()))
        raise CSpineError(f"{count} of {len(scores)} case(s) could not be scored:\n{listed}")


def _check_places(out: Path, levels: Path | None) -> None:
    """Refuses files that cannot be written, or would write one another over, before anything is scored."""
    from cspine_assets.cli.places import check_file_place
    from cspine_assets.domain.errors import CSpineError
    from cspine_assets.domain.evaluation.score_file import writer_of

    for option, path in (("--out", out), ("--levels", levels)):
        if path is not None:
            writer_of(path)
            check_file_place(path, option=option)
    if levels is not None and levels.resolve() == out.resolve():
        raise CSpineError(f"--levels {levels}: expected another file than --out, one would be written over.")


def _labels(given: Sequence[str]) -> dict[Structure, int]:
    """Returns the number of each structure that was named; without any, the study's."""
    from cspine_assets.domain.anatomy import LABELS, Structure
    from cspine_assets.domain.errors import CSpineError

    chosen: dict[Structure, int] = {}
    for text in given:
        name, _, number = text.partition("=")
        if name not in set(Structure) or not number.isdecimal() or not 1 <= int(number) <= 255:
            names = " or ".join(f"{structure}=NUMBER" for structure in Structure)
            raise CSpineError(f"--labels {text}: expected {names}, with a label between 1 and 255.")
        if Structure(name) in chosen or int(number) in chosen.values():
            raise CSpineError(f"--labels {text}: expected each structure and each number once.")
        chosen[Structure(name)] = int(number)
    return {structure: chosen[structure] for structure in Structure if structure in chosen} or dict(LABELS)


def _name_strangers(names: Sequence[str]) -> None:
    """Says which predictions nothing is compared with."""
    if names:
        typer.echo(f"{len(names)} prediction(s) without a reference, left out: {', '.join(names)}", err=True)


def _name_absent(scores: Sequence[CaseScore], labels: Mapping[Structure, int]) -> None:
    """Says which structure is in no mask at all: its number may be a wrong one."""
    for structure, label in labels.items():
        statuses = {row.status for score in scores for row in score.structures if row.structure == structure}
        if statuses - {"failed"} == {"both_empty"}:
            typer.echo(f"{structure}: no mask has a voxel of label {label}. Say by --labels which it is.", err=True)
