"""The webserver of a page, run as a module: Dagster's own application, and the guard around it.

Dagster's command `dagster-webserver` takes no layer around its application, so its few lines that open the instance and
the workspace stand here too. Which requests are refused is decided in ``guard``.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import dagster as dg
import uvicorn
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster._utils.log import configure_loggers
from dagster_webserver.app import create_app_from_workspace_process_context
from dagster_webserver.cli import DEFAULT_DB_STATEMENT_TIMEOUT, DEFAULT_POOL_MAX_OVERFLOW, DEFAULT_POOL_RECYCLE
from dagster_webserver.version import __version__

from cspine_assets.cli.guard import Access, Guard, served_addresses
from cspine_assets.cli.page_token import read_token

LIVE_DATA_POLL_MS = 2000
"""How often the page asks for news: the default of `dagster-webserver`."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Serves the instance of $DAGSTER_HOME until the process is asked to end."""
    given = _read_arguments(arguments)
    access = Access(
        given.port,
        served_addresses(given.port, given.allow_host),
        read_token(given.token_file) if given.token_file else None,
    )
    configure_loggers()
    with dg.DagsterInstance.get() as instance:
        instance.optimize_for_webserver(DEFAULT_DB_STATEMENT_TIMEOUT, DEFAULT_POOL_RECYCLE, DEFAULT_POOL_MAX_OVERFLOW)
        with WorkspaceProcessContext(
            instance,
            version=__version__,
            read_only=given.read_only,
            workspace_load_target=WorkspaceFileTarget([str(given.workspace)]),
        ) as context:
            app = create_app_from_workspace_process_context(context, "", LIVE_DATA_POLL_MS, lifespan=_lifespan)
            # a forwarded address would change nothing that the guard looks at; no request should say where it came from
            uvicorn.run(Guard(app, access), host="127.0.0.1", port=given.port, log_level="warning", proxy_headers=False)


def _read_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="cspine_assets.cli.webserver", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--token-file", type=Path, help="without it, everybody on this machine may use the page")
    parser.add_argument("--allow-host", action="append", default=[])
    parser.add_argument("--read-only", action="store_true")
    return parser.parse_args(arguments)


@contextlib.asynccontextmanager
async def _lifespan(_app: object) -> AsyncIterator[None]:
    with contextlib.suppress(asyncio.CancelledError):  # how uvicorn ends it after Ctrl-C
        yield


if __name__ == "__main__":
    main()
