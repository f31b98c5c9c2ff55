"""Who may use the page: an ASGI layer around Dagster's own webserver, which itself answers everybody.

Add a check here when a kind of request has to be refused. The token is kept by ``page_token``, and the webserver is
started by ``webserver``; nothing of Dagster is imported or changed here.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape
from types import MappingProxyType
from typing import Final
from urllib.parse import quote, urlencode

from graphql import GraphQLError, OperationDefinitionNode, OperationType, parse
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cspine_assets.domain.errors import CSpineError

LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")
"""The names under which a browser on this machine reaches a server on 127.0.0.1."""

HOST: Final = re.compile(r"(\[[0-9a-f:]+\]|[a-z0-9_.-]+)(?P<port>:[0-9]{1,5})?")
HTTP_PORT: Final = 80
READING: Final = ("GET", "HEAD")

SEALED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "X-Frame-Options": "SAMEORIGIN",  # a page of another port shares our cookie: no clicks through its frame
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
    }
)
"""Sent with every answer: no page of another origin may frame it, load it as a picture, or keep its window."""


@dataclass(frozen=True)
class Access:
    """Who may use a page.

    Attributes:
        port: The port that is served.
        addresses: What a browser may have sent as Host: ``127.0.0.1:3000``, ...
        token: What a person has to have, or None where everybody on this machine may.
    """

    port: int
    addresses: frozenset[str]
    token: str | None

    @property
    def cookie(self) -> str:
        """Name of the cookie that holds the token; browsers send cookies to all ports of a host."""
        return f"cspine_page_{self.port}"

    def admits(self, given: str | None) -> bool:
        """Returns whether this is the token, in a time that says nothing about how much of it is right."""
        if self.token is None:
            return True
        return given is not None and hmac.compare_digest(given.encode(), self.token.encode())


def served_addresses(port: int, names: Iterable[str] = ()) -> frozenset[str]:
    """Returns the values of Host that mean a page.

    Args:
        port: The port that is served.
        names: Further names, of a proxy or a forwarded port. ``name:8443`` is that alone; ``name`` is the name with the
            port that is served, and without one, as browsers write the ports 80 and 443.

    Raises:
        CSpineError: A name is none.
    """
    addresses = {f"{name}:{port}" for name in LOOPBACK}
    addresses |= set(LOOPBACK) if port == HTTP_PORT else set()
    for name in map(str.lower, names):
        parts = HOST.fullmatch(name)
        if parts is None:
            raise CSpineError(
                f"--allow-host {name}: expected a host name, with or without a port, as in the browser's address bar: "
                "study.example or localhost:8080."
            )
        addresses |= {name} if parts["port"] else {name, f"{name}:{port}"}
    return frozenset(addresses)


class Guard:
    """Hands a request on to an application where the request may have an answer, and refuses it otherwise."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request or WebSocket handshake; everything else, such as the start, is the application's."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        answer = refusal(HTTPConnection(scope), self._access)
        await (answer or self._app)(scope, receive, _sealing(send))


def refusal(request: HTTPConnection, access: Access) -> Response | None:
    """Returns what a request is answered instead of by the application, or None where that may answer it."""
    return (
        _check_host(request, access)
        or _check_origin(request, access)
        or _check_token(request, access)
        or (_check_graphql(request) if request.scope["path"] == "/graphql" else None)
    )


def _check_host(request: HTTPConnection, access: Access) -> Response | None:
    """Refuses other names: a hostile name server can send a browser here under its own (DNS rebinding)."""
    hosts = request.headers.getlist("host")
    if len(hosts) == 1 and hosts[0].lower() in access.addresses:
        return None
    return _refuse(
        403,
        f"expected a request to http://127.0.0.1:{access.port}, got one to {hosts[0] if hosts else 'no host'!r}. "
        "Behind a proxy or a forwarded port, start the page with --allow-host and the name and port in the browser's "
        "address bar.",
    )


def _check_origin(request: HTTPConnection, access: Access) -> Response | None:
    """Refuses what a page of another origin asks for, except a link to this page that a person follows."""
    origins = request.headers.getlist("origin")
    own = all(origin.lower().partition("://")[2] in access.addresses for origin in origins)
    site = request.headers.get("sec-fetch-site", "none")
    if own and (site in ("none", "same-origin") or _is_navigation(request)):
        return None
    asking = ", ".join(origins) or site
    return _refuse(403, f"expected a request of this page itself, got one of another page ({asking}).")


def _is_navigation(request: HTTPConnection) -> bool:
    """Returns whether a person comes to a page with a whole tab, reading: not within a frame or by a form."""
    modes = (request.headers.get("sec-fetch-mode"), request.headers.get("sec-fetch-dest"))
    return request.scope.get("method") in READING and modes == ("navigate", "document")


def _check_token(request: HTTPConnection, access: Access) -> Response | None:
    """Lets in who has the token; the printed address is exchanged for a cookie."""
    given = request.query_params.get("token")
    if access.token is not None and given is not None and access.admits(given) and request.scope.get("method") == "GET":
        return _log_in(request, access)
    scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
    if access.admits(bearer if scheme.lower() == "bearer" else request.cookies.get(access.cookie)):
        return None
    if _is_navigation(request) and request.headers.get("sec-fetch-site") == "cross-site":
        return _come_again(request)
    return _refuse(
        401,
        "expected the token of this page. Open the address with ?token= that `cspine dev` or `cspine up` printed. "
        "Scripts send 'Authorization: Bearer TOKEN'; the token is in the file dagster/.page_token of the home.",
        headers={"WWW-Authenticate": "Bearer"},
    )


def _log_in(request: HTTPConnection, access: Access) -> Response:
    answer = RedirectResponse(_clean_address(request), status_code=303, headers={"Cache-Control": "no-store"})
    answer.set_cookie(access.cookie, access.token or "", httponly=True, samesite="strict", path="/")
    return answer


def _come_again(request: HTTPConnection) -> Response:
    """Loads the same address once more: browsers send no strict cookie where a person follows a link of another site.

    The second request comes from this page, so it is not answered in this way again.
    """
    return HTMLResponse(f'<meta http-equiv="refresh" content="0;url={escape(_clean_address(request))}">')


def _clean_address(request: HTTPConnection) -> str:
    """Returns path and query without the token, as this host's whatever they are: ``//name`` would be another host."""
    kept = [(key, value) for key, value in request.query_params.multi_items() if key != "token"]
    return "/" + quote(request.scope["path"].lstrip("/")) + ("?" + urlencode(kept) if kept else "")


def _check_graphql(request: HTTPConnection) -> Response | None:
    """Keeps Dagster's GraphQL to JSON where it changes something: browsers send all else without asking first."""
    if request.scope["type"] == "websocket":  # subscriptions alone
        return None
    if request.scope["method"] in READING:
        return next(filter(None, map(_check_reading, request.query_params.getlist("query"))), None)
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        return _refuse(415, "expected a query as application/json, got another content type.")
    if "query" in request.query_params:
        return _refuse(400, "expected the query of a POST in its body, got one in its address.")
    return None


def _check_reading(query: str) -> Response | None:
    """Refuses a text in which anything but queries stands; whichever of its operations is named."""
    try:
        nodes = parse(query).definitions
    except (GraphQLError, RecursionError) as error:
        return _refuse(400, f"expected a GraphQL query, got one that cannot be read ({type(error).__name__}).")
    operations = {node.operation for node in nodes if isinstance(node, OperationDefinitionNode)}
    if operations <= {OperationType.QUERY}:
        return None
    return _refuse(405, "expected a query by GET, got a change. Send changes as POST.", headers={"Allow": "POST"})


def _refuse(status: int, sentence: str, *, headers: Mapping[str, str] | None = None) -> Response:
    return PlainTextResponse(f"cspine: {sentence}\n", status, {"Cache-Control": "no-store", **(headers or {})})


def _sealing(send: Send) -> Send:
    async def sealed(message: Message) -> None:
        if message["type"] in ("http.response.start", "websocket.http.response.start"):
            MutableHeaders(scope=message).update(SEALED)
        await send(message)

    return sealed
