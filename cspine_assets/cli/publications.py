"""`cspine publications`: the databases that were published before, and the way back to one."""

from __future__ import annotations

from typing import Annotated

import typer

from cspine_assets.cli.options import HomeOption


def publications(
    home: HomeOption = None,
    restore: Annotated[
        str | None, typer.Option(help="Publish this earlier database again; the present one is kept as an earlier one.")
    ] = None,
) -> None:
    """List earlier publications of the database, the newest first, or publish one of them again."""
    from rich.console import Console
    from rich.table import Table

    from cspine_assets.defs.warehouse import EARLIER_KEPT
    from cspine_assets.defs.writer import sole_writer
    from cspine_assets.domain.home import Home, home_root
    from cspine_assets.domain.warehouse.publications import earlier_publications, restore_publication

    console = Console()
    study_home = Home(home_root(home))
    if restore is not None:
        with sole_writer(study_home):
            published = restore_publication(study_home.database, restore, keep=EARLIER_KEPT)
        console.print(
            f"{published} is {restore} again. `cspine materialize --only warehouse --force` publishes the lake.",
            soft_wrap=True,
        )
        return
    earlier = earlier_publications(study_home.database)
    if not earlier:
        console.print("There is no earlier publication: each new one keeps the one before.")
        return
    table = Table("name", "megabytes", title="Earlier publications (UTC)", title_justify="left")
    for path in earlier:
        table.add_row(path.stem, f"{path.stat().st_size / 1e6:.1f}")
    console.print(table)
