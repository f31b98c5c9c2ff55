"""`cspine dev`: the Dagster page of a home, on this machine alone."""

from __future__ import annotations

from typing import Annotated

import typer

from cspine_assets.cli.options import HomeOption


def dev(
    home: HomeOption = None,
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.")] = 3000,
) -> None:
    """Start the Dagster page and its daemon on 127.0.0.1; Ctrl-C ends both and all they started."""
    import sys

    from rich.console import Console

    from cspine_assets.cli.page import prepare_page
    from cspine_assets.cli.supervise import require_free_port, run_supervised
    from cspine_assets.defs.dead_runs import close_orphaned_runs
    from cspine_assets.defs.instance import open_instance

    page = prepare_page(home)

    def before_start() -> None:
        require_free_port(port)
        with open_instance(page.home) as instance:
            close_orphaned_runs(instance)
        said = f"The page of {page.home.root} opens at http://127.0.0.1:{port} in a few seconds. Ctrl-C ends it."
        Console().print(said, soft_wrap=True, highlight=False)

    # Dagster means that people should call `dg dev`, which wants a project of its own kind around it
    quiet = ["-W", "ignore:Function `dev_command` is superseded"]
    command = [sys.executable, *quiet, "-m", "dagster", "dev", "--workspace", str(page.workspace)]
    raise typer.Exit(
        run_supervised(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            page.environment,
            page.lock_file,
            before_start=before_start,
        )
    )
