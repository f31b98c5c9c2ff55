"""`cspine convert`: one series as a checked NIfTI, outside the study and without Dagster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cspine_assets.cli.options import AssumeAxesOption, allowance

if TYPE_CHECKING:
    from rich.table import Table

    from cspine_assets.domain.imaging.outcome import ConvertedVolume


def convert(
    series: Annotated[Path, typer.Argument(help="A DICOM series as a folder or zip, or a NIfTI file.")],
    out: Annotated[Path, typer.Option(help="Folder to write the volume to; made where there is none.")],
    assume_axes: AssumeAxesOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print row and findings as one JSON object.")] = False,
) -> None:
    """Convert one series as the study does: every check before and after, and the row of `imaging.volumes`.

    Nothing of what identifies a person is printed or written; what the headers hold of it is listed by its tags.
    """
    from rich.console import Console

    from cspine_assets.domain.imaging.conversion import convert_series, scan_name

    volume = convert_series(series, out / f"{scan_name(series)}.nii.gz", allowed=allowance(assume_axes))
    if as_json:
        typer.echo(_json(volume, out))
        return
    console = Console()
    console.print(_row_table(volume, out))
    if volume.findings:
        console.print(_findings_table(volume))
    console.print(
        f"{volume.path}: {len(volume.findings)} place(s) in the headers may speak of a person.", soft_wrap=True
    )


def _json(volume: ConvertedVolume, out: Path) -> str:
    import json

    from cspine_assets.domain.imaging.outcome import Converted
    from cspine_assets.domain.imaging.rows import finding_rows, volume_row

    outcome = Converted(volume)
    return json.dumps({"volume": volume_row(outcome, out), "header_findings": finding_rows(outcome)}, indent=2)


def _row_table(volume: ConvertedVolume, out: Path) -> Table:
    """Returns the row as the table has it, a line per column."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from cspine_assets.domain.imaging.outcome import Converted
    from cspine_assets.domain.imaging.rows import volume_row
    from cspine_assets.domain.tables.base import column_names
    from cspine_assets.domain.tables.imaging import Volumes

    row = volume_row(Converted(volume), out)
    table = Table("column", "value", box=box.SIMPLE_HEAD, title=Volumes.full_name(), title_justify="left")
    for name in column_names(Volumes):
        value = row.get(name)
        table.add_row(name, "" if value is None else escape(str(value)))
    return table


def _findings_table(volume: ConvertedVolume) -> Table:
    from rich import box
    from rich.table import Table

    from cspine_assets.domain.tables.imaging import HeaderFindings

    columns = ("tag", "keyword", "kind", "instances")
    table = Table(*columns, box=box.SIMPLE_HEAD, title=HeaderFindings.full_name(), title_justify="left")
    for finding in volume.findings:
        table.add_row(finding.tag, finding.keyword, str(finding.kind), str(finding.instance_count))
    return table
