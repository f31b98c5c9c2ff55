"""`cspine download`: the files of a MIDRC manifest, going on where it stopped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from cspine_assets.domain.cohort.download import ManifestEntry


def download(
    manifest: Annotated[Path, typer.Option(help="Manifest of the files, as the MIDRC portal exports it.")],
    credentials: Annotated[Path, typer.Option(help="API key of your MIDRC account, a JSON file; it is never shown.")],
    out: Annotated[Path, typer.Option(help="Folder of the download; files that are there and right stay.")],
    endpoint: Annotated[
        str | None, typer.Option(help="Data commons to ask. Default: the manifest's, else MIDRC.", show_default=False)
    ] = None,
) -> None:
    """Fetch the files of a manifest and check each against its MD5; call it again to go on."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    from cspine_assets.domain.cohort.download import download as fetch
    from cspine_assets.domain.cohort.download import read_manifest
    from cspine_assets.domain.cohort.signing import gen3_signer
    from cspine_assets.domain.errors import SourceError
    from cspine_assets.domain.files import require_writable

    console = Console()
    entries = read_manifest(manifest)
    sign = gen3_signer(credentials, endpoint or _commons(entries))
    require_writable(out, remedy="Choose another --out.")
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(f"{len(entries)} files", total=sum(entry.size_bytes or 0 for entry in entries))

        def advanced(entry: ManifestEntry, state: str) -> None:
            progress.update(task, advance=entry.size_bytes or 0)
            if state != "standing":
                progress.console.print(f"{entry.file_name}: {state}", soft_wrap=True, markup=False, highlight=False)

        report = fetch(entries, out, sign, advanced=advanced)
    console.print(f"{len(report.fetched)} fetched, {len(report.standing)} were there, {len(report.failures)} failed.")
    if report.failures:
        lines = "\n".join(f"  {name}: {reason}" for name, reason in sorted(report.failures.items()))
        raise SourceError(
            f"{len(report.failures)} of {len(entries)} files are not there; call it again to go on:\n{lines}"
        )


def _commons(entries: Sequence[ManifestEntry]) -> str:
    """Returns the one data commons of a manifest."""
    from cspine_assets.domain.cohort.signing import MIDRC
    from cspine_assets.domain.errors import SourceError

    named = sorted({entry.commons for entry in entries if entry.commons})
    if len(named) > 1:
        raise SourceError(f"expected files of one data commons, got {', '.join(named)}. Cut the manifest by commons.")
    if not named:
        return MIDRC
    return named[0] if "://" in named[0] else f"https://{named[0]}"
