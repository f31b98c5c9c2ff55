"""`cspine up`: webserver and daemon of a home, kept running on this machine alone."""

from __future__ import annotations

from typing import Annotated

import typer

from cspine_assets.cli.options import HomeOption


def up(
    home: HomeOption = None,
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.")] = 3000,
    read_only: Annotated[bool, typer.Option("--read-only", help="A page that shows everything and starts nothing.")] = (
        False
    ),
) -> None:
    """Keep the page and the daemon running, each started again after a crash; SIGTERM or Ctrl-C ends both."""
    import sys

    from rich.console import Console

    from cspine_assets.cli.page import prepare_page
    from cspine_assets.cli.supervise import hold, require_free_port
    from cspine_assets.cli.supervisor import Program, keep_alive, rotating_log
    from cspine_assets.defs.dead_runs import close_orphaned_runs
    from cspine_assets.defs.instance import open_instance
    from cspine_assets.domain.housekeeping import LOG_DAYS, tidy

    page = prepare_page(home)
    hold(page.lock_file).release()  # whose page stands already is told that, not that its port is taken
    require_free_port(port)
    console, log = Console(), rotating_log(page.home.logs / "up.log")

    def say(what: str) -> None:
        log.info(what)
        console.print(what, highlight=False, soft_wrap=True)

    def close_runs(name: str) -> None:
        if name == "daemon":  # its runs were its children
            with open_instance(page.home) as instance:
                for run_id in close_orphaned_runs(instance):
                    say(f"run {run_id} had ended with its daemon and is marked as failed")
            if gone := tidy(page.home):
                say(f"removed {len(gone)} leftovers: of killed writers, and step output older than {LOG_DAYS} days")

    serve = [sys.executable, "-m", "dagster_webserver", "--host", "127.0.0.1", "--port", str(port)]
    programs = [
        Program("webserver", [*serve, "--workspace", str(page.workspace), *(["--read-only"] if read_only else [])]),
        Program("daemon", [sys.executable, "-m", "dagster._daemon", "run", "--workspace", str(page.workspace)]),
    ]
    keep_alive(
        programs,
        page.environment,
        logs=page.home.logs,
        lock_file=page.lock_file,
        before_start=close_runs,
        say=say,
        greeting=f"The page of {page.home.root} opens at http://127.0.0.1:{port}; logs are in {page.home.logs}.",
    )
