"""`cspine dev`: the Dagster page of a home, on this machine alone."""

from __future__ import annotations

from typing import Annotated

import typer

from cspine_assets.cli.options import HomeOption

WORKSPACE = """\
load_from:
  - python_module:
      module_name: cspine_assets.definitions
      location_name: cspine_assets
"""


def dev(
    home: HomeOption = None,
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.")] = 3000,
) -> None:
    """Start the Dagster page and its daemon on 127.0.0.1; Ctrl-C ends both and all they started."""
    import os
    import sys

    from rich.console import Console

    from cspine_assets.cli.supervise import run_supervised
    from cspine_assets.defs.instance import open_instance
    from cspine_assets.domain.files import write_text
    from cspine_assets.domain.home import HOME_VARIABLE, Home, ensure_writable, home_root

    study_home = Home(home_root(str(home) if home else None))
    ensure_writable(study_home.root)
    open_instance(study_home).dispose()
    environment = {**os.environ, "DAGSTER_HOME": str(study_home.dagster), HOME_VARIABLE: str(study_home.root)}
    workspace = study_home.dagster / "workspace.yaml"
    write_text(workspace, WORKSPACE)
    command = [sys.executable, "-m", "dagster", "dev", "--workspace", str(workspace)]
    Console().print(f"The page of {study_home.root} opens at http://127.0.0.1:{port} in a few seconds. Ctrl-C ends it.")
    raise typer.Exit(
        run_supervised(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            environment,
            study_home.dagster / ".dev.lock",
        )
    )
