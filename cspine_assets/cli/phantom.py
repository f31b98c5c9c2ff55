"""`cspine phantom`: a synthetic cohort in the exact layout of a MIDRC download."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def phantom(
    directory: Annotated[
        Path | None,
        typer.Argument(
            help="Where to write it; must not exist, or be empty. Not needed for `--defects list`.", show_default=False
        ),
    ] = None,
    patients: Annotated[int, typer.Option(min=1, help="Patients; about one in eight has two exams.")] = 18,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 0,
    matrix: Annotated[int, typer.Option(min=32, help="In-plane size in voxels; the release has 256 to 768.")] = 96,
    expert_fraction: Annotated[float, typer.Option(min=0, max=1, help="Share of patients with expert masks.")] = 0.6,
    archived: Annotated[
        bool, typer.Option(help="Leave the four parts as zip archives, as they are downloaded.")
    ] = False,
    tables_only: Annotated[
        bool, typer.Option(help="Write the six tables alone; 66,000 patients make a million image rows.")
    ] = False,
    defects: Annotated[str, typer.Option(help="Faults to plant, by name with commas between; `list` names them.")] = "",
) -> None:
    """Write a synthetic cohort: six tables, zipped DICOM, NIfTI, masks, and who drew them."""
    from rich.console import Console

    from cspine_assets.domain.errors import CSpineError
    from cspine_assets.domain.phantom.cohort import write_cohort
    from cspine_assets.domain.phantom.defects import DEFECTS
    from cspine_assets.domain.phantom.settings import CohortSettings

    console = Console()
    if defects == "list":
        for name, defect in DEFECTS.items():
            console.print(f"{name}: {defect.what} (found by {defect.check})", soft_wrap=True, highlight=False)
        return
    if directory is None:
        raise CSpineError("expected a folder to write the cohort to, none was named. Say `cspine phantom DIRECTORY`.")
    settings = CohortSettings(
        patients=patients,
        seed=seed,
        matrix=matrix,
        expert_fraction=expert_fraction,
        archived=archived,
        tables_only=tables_only,
        defects=tuple(name for name in defects.split(",") if name),
    )
    report = write_cohort(directory, settings)
    console.print(
        f"{directory}: {report.patients} patients, {report.exams} exams ({report.expert_masks} expert masks), "
        f"{report.instances} instances",
        soft_wrap=True,
    )
    for planted in report.planted:
        console.print(f"  {planted.defect}: {planted.subject} (found by {planted.check})", soft_wrap=True)
