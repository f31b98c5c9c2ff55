"""`cspine phantom`: a synthetic cohort in the exact layout of a MIDRC download."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def phantom(
    directory: Annotated[Path, typer.Argument(help="Where to write it; must not exist, or be empty.")],
    patients: Annotated[int, typer.Option(min=1, help="Patients; about one in eight has two exams.")] = 18,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 0,
    matrix: Annotated[int, typer.Option(min=32, help="In-plane size in voxels; the release has 256 to 768.")] = 96,
    expert_fraction: Annotated[float, typer.Option(min=0, max=1, help="Share of patients with expert masks.")] = 0.6,
    archived: Annotated[
        bool, typer.Option(help="Leave the four parts as zip archives, as they are downloaded.")
    ] = False,
) -> None:
    """Write a synthetic cohort: six tables, zipped DICOM, NIfTI, masks, and who drew them."""
    from rich.console import Console

    from cspine_assets.domain.phantom.cohort import write_cohort
    from cspine_assets.domain.phantom.settings import CohortSettings

    settings = CohortSettings(
        patients=patients, seed=seed, matrix=matrix, expert_fraction=expert_fraction, archived=archived
    )
    report = write_cohort(directory, settings)
    Console().print(f"{directory}: {report}")
