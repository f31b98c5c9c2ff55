"""`cspine dev`: the page of a home as `cspine up` serves it, with what its programs say in the terminal."""

from __future__ import annotations

from cspine_assets.cli.options import AllowHostOption, HomeOption, PortOption, TokenOption


def dev(
    home: HomeOption = None,
    port: PortOption = 3000,
    allow_host: AllowHostOption = None,
    token: TokenOption = True,
) -> None:
    """Start the Dagster page and its daemon on 127.0.0.1; Ctrl-C ends both and all they started."""
    from cspine_assets.cli.page import serve_page

    serve_page(home, port, allow_hosts=allow_host or [], with_token=token, echo=True)
