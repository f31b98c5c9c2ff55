"""The guard around the page: which requests reach the application, and what the others are answered."""

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocket

from cspine_assets.cli.guard import Access, Guard, served_addresses
from cspine_assets.domain.errors import CSpineError

PORT, TOKEN = 3000, "a" * 43
PAGE = f"http://127.0.0.1:{PORT}"
COOKIE = {"cookie": f"cspine_page_{PORT}={TOKEN}"}
OWN = {**COOKIE, "origin": PAGE, "sec-fetch-site": "same-origin", "sec-fetch-mode": "cors", "sec-fetch-dest": "empty"}
TAB = {"sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
JSON = {"content-type": "application/json"}
MUTATION = "mutation { deleteRun }"


async def reached(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"reached {request.url.path}?{request.url.query}")


async def subscribed(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text("reached")
    await websocket.close()


def guarded(token: str | None = TOKEN, *names: str) -> TestClient:
    every = ["GET", "POST", "PUT", "DELETE", "OPTIONS"]
    app = Starlette(
        routes=[Route("/{path:path}", reached, methods=every), WebSocketRoute("/{path:path}", subscribed)],
    )
    access = Access(PORT, served_addresses(PORT, names), token)
    return TestClient(Guard(app, access), base_url=PAGE, follow_redirects=False)


def handshake(client: TestClient, **headers: str) -> int:
    try:
        with client.websocket_connect(f"ws://127.0.0.1:{PORT}/graphql", headers=headers) as websocket:
            assert websocket.receive_text() == "reached"
            return 101
    except WebSocketDenialResponse as refused:
        return refused.status_code


def asked(client: TestClient, method: str = "GET", path: str = "/", **headers: str) -> int:
    return client.request(
        method, path, headers={name.replace("_", "-"): value for name, value in headers.items()}
    ).status_code


@pytest.mark.parametrize("host", ["127.0.0.1:3000", "localhost:3000", "LOCALHOST:3000", "[::1]:3000"])
def test_the_address_served_is_known_by_its_names_on_this_machine(host: str):
    assert guarded().get("/", headers={**COOKIE, "host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example:3000", "evil.example", "127.0.0.1", "127.0.0.1:3001", "localhost.:3000", "127.0.0.1:3000@evil", ""],
)
@pytest.mark.parametrize("token", [TOKEN, None])
def test_another_host_is_refused_whatever_is_asked(host: str, token: str | None):
    client = guarded(token)
    answer = client.get("/", headers={**COOKIE, "host": host})
    assert answer.status_code == 403
    assert "--allow-host" in answer.text
    assert handshake(client, **COOKIE, host=host) == 403


def test_a_listed_name_is_served_and_may_change_something():
    client = guarded(TOKEN, "Study.example", "localhost:8080")
    for host in ("study.example", "study.example:3000", "localhost:8080"):
        own = {**COOKIE, **JSON, "host": host, "origin": f"https://{host}"}
        assert client.post("/graphql", headers=own, content="{}").status_code == 200
    for host in ("study.example:8080", "localhost", "sub.study.example"):
        assert client.get("/", headers={**COOKIE, "host": host}).status_code == 403


def test_at_the_usual_port_of_http_a_browser_names_none():
    assert {"127.0.0.1", "localhost", "127.0.0.1:80"} <= served_addresses(80)


@pytest.mark.parametrize("name", ["http://study.example", "a b", "*", "", "study.example:x", "study.example/"])
def test_a_name_that_is_none_is_refused(name: str):
    with pytest.raises(CSpineError, match=r"--allow-host .*expected a host name"):
        served_addresses(PORT, [name])


@pytest.mark.parametrize(
    "origin", ["http://127.0.0.1:9999", "http://localhost:9999", "http://evil.example:3000", "null", "http://[::1", ""]
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("token", [TOKEN, None])
def test_a_page_of_another_origin_is_refused(origin: str, method: str, token: str | None):
    answer = guarded(token).request(method, "/graphql", headers={**COOKIE, **JSON, "origin": origin})
    assert answer.status_code == 403
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_what_another_page_loads_is_refused_also_where_it_names_no_origin(site: str):
    client = guarded()
    for mode, dest in (("no-cors", "image"), ("no-cors", "script"), ("navigate", "iframe"), ("cors", "empty")):
        foreign = {**COOKIE, "sec-fetch-site": site, "sec-fetch-mode": mode, "sec-fetch-dest": dest}
        assert client.get("/", headers=foreign).status_code == 403
    assert client.post("/", headers={**COOKIE, "sec-fetch-site": site, **TAB}).status_code == 403
    assert (
        client.get("/", headers={**COOKIE, "sec-fetch-site": site, **TAB}).status_code == 200
    )  # a link that is followed


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"cookie": f"cspine_page_{PORT}=x"},
        {"cookie": f"cspine_page_3001={TOKEN}"},
        {"authorization": TOKEN},
        {"authorization": f"Basic {TOKEN}"},
        {"authorization": "Bearer \xe9"},
        {**COOKIE, "authorization": "Bearer x"},
    ],
)
@pytest.mark.parametrize("path", ["/", "/graphql", "/graphql?query={version}", "/logs/a", "/favicon.png", "/?token=x"])
def test_without_the_token_nothing_is_read(given: dict[str, str], path: str):
    encoded = {name: value.encode("latin-1") for name, value in given.items()}
    answer = guarded().get(path, headers=encoded)
    assert (answer.status_code, answer.headers["cache-control"]) == (401, "no-store")
    assert "Open the address with ?token=" in answer.text


def test_the_printed_address_gives_a_cookie_and_leads_to_the_clean_address():
    client = guarded()
    answer = client.get(f"/runs/1?token={TOKEN}&view=a%26b")
    assert (answer.status_code, answer.headers["location"]) == (303, "/runs/1?view=a%26b")
    cookie = answer.headers["set-cookie"]
    assert cookie == f"cspine_page_{PORT}={TOKEN}; HttpOnly; Path=/; SameSite=strict"
    assert client.get("/").status_code == 200  # the client keeps it, as a browser does


@pytest.mark.parametrize("path", ["//evil.example", "/\\evil.example", "/%5Cevil.example"])
def test_the_clean_address_is_never_another_host(path: str):
    location = guarded().get(f"{PAGE}{path}?token={TOKEN}").headers["location"]
    assert location in ("/evil.example", "/%5Cevil.example")


def test_a_script_sends_the_token_as_a_header():
    assert asked(guarded(), "POST", "/graphql", authorization=f"Bearer {TOKEN}", content_type="application/json") == 200


def test_a_link_of_another_site_is_loaded_once_more_so_that_the_cookie_is_sent():
    first = guarded().get('/runs?a="><b', headers={"sec-fetch-site": "cross-site", **TAB})
    assert first.text == '<meta http-equiv="refresh" content="0;url=/runs?a=%22%3E%3Cb">'
    assert asked(guarded(), "GET", "/runs", sec_fetch_site="same-origin", **TAB) == 401


def test_without_a_token_only_that_check_is_left_out():
    client = guarded(None)
    assert client.get("/").status_code == 200
    assert client.get(f"/?token={TOKEN}").status_code == 200
    assert client.get("/graphql", params={"query": MUTATION}).status_code == 405
    assert asked(client, "POST", "/graphql", origin="http://evil.example") == 403


@pytest.mark.parametrize(
    "query",
    [
        MUTATION,
        "query a { version } mutation b { deleteRun }",
        "fragment f on Query { version } mutation { deleteRun }",
        "subscription { runs }",
        "# query\nmutation\n{ deleteRun }",
    ],
)
def test_a_change_by_get_is_refused_whichever_operation_is_named(query: str):
    for params in ({"query": query}, {"query": query, "operationName": "a"}):
        answer = guarded().get("/graphql", params=params, headers=OWN)
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert guarded().get("/%67raphql", params={"query": query}, headers=OWN).status_code == 405


def test_each_query_of_an_address_is_looked_at():
    for two in ([("query", "{version}"), ("query", MUTATION)], [("query", MUTATION), ("query", "{version}")]):
        assert guarded().get("/graphql", params=two, headers=OWN).status_code == 405


@pytest.mark.parametrize("query", ["{ version", "{" * 5000, ""])
def test_a_query_that_cannot_be_read_is_refused(query: str):
    assert guarded().get("/graphql", params={"query": query}, headers=OWN).status_code == 400


def test_a_query_by_get_is_answered():
    answer = guarded().get("/graphql", params={"query": "query a { version } fragment f on Run { id }"}, headers=OWN)
    assert answer.text.startswith("reached /graphql")


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/graphql", "",
     "text/plain; application/json", "text/plain;a=application/json"],
)  # fmt: skip
def test_graphql_is_posted_as_json_alone(content_type: str):
    answer = guarded().post("/graphql", content=b"{}", headers={**OWN, "content-type": content_type})
    assert answer.status_code == 415


def test_json_with_a_charset_is_json_and_its_query_stands_in_the_body():
    json = {**OWN, "content-type": "Application/JSON; charset=utf-8"}
    assert guarded().post("/graphql", content=b"{}", headers=json).status_code == 200
    assert guarded().post("/graphql", params={"query": MUTATION}, content=b"{}", headers=json).status_code == 400


@pytest.mark.parametrize(
    ("status", "given"),
    [
        (401, {}),
        (401, {"origin": PAGE}),
        (401, {"origin": PAGE, "cookie": f"cspine_page_{PORT}=x"}),
        (403, {**COOKIE, "origin": "http://127.0.0.1:9999"}),
        (403, {**COOKIE, "origin": "null"}),
        (403, {**COOKIE, "sec-fetch-site": "same-site"}),
        (101, {**COOKIE, "origin": PAGE}),
        (101, {"authorization": f"Bearer {TOKEN}"}),
    ],
)
def test_a_websocket_is_refused_at_its_handshake_or_answered(status: int, given: dict[str, str]):
    assert handshake(guarded(), **given) == status


def test_every_answer_forbids_other_pages_to_frame_or_load_it():
    for answer in (guarded().get("/"), guarded().get("/", headers=COOKIE)):
        assert answer.headers["x-frame-options"] == "SAMEORIGIN"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"
