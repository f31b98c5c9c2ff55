"""`cspine up`: webserver and daemon of a home, kept running on this machine alone."""

from __future__ import annotations

from typing import Annotated

import typer

from cspine_assets.cli.options import AllowHostOption, HomeOption, PortOption, TokenOption


def up(
    home: HomeOption = None,
    port: PortOption = 3000,
    read_only: Annotated[bool, typer.Option("--read-only", help="A page that shows everything and starts nothing.")] = (
        False
    ),
    allow_host: AllowHostOption = None,
    token: TokenOption = True,
) -> None:
    """Keep the page and the daemon running, each started again after a crash; SIGTERM or Ctrl-C ends both."""
    from cspine_assets.cli.page import serve_page

    serve_page(home, port, allow_hosts=allow_host or [], with_token=token, read_only=read_only)
