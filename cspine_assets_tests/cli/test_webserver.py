"""Dagster's own webserver behind the guard, by real HTTP: every road by which a request can come."""

import json
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster_webserver.webserver import DagsterWebserver
from starlette.routing import Route, WebSocketRoute
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from cspine_assets.cli.code_server import CodeServer
from cspine_assets.cli.page import HomePage, programs
from cspine_assets.domain.home import Home
from cspine_assets_tests.cli.webserver_process import Served, served

JSON = {"Content-Type": "application/json"}
RUN = "11111111-1111-1111-1111-111111111111"
DELETE = f'mutation {{ deletePipelineRun(runId: "{RUN}") {{ __typename }} }}'
IN_ADDRESS = "/graphql?" + urllib.parse.urlencode({"query": DELETE})
IN_BODY = json.dumps({"query": DELETE}).encode()


@pytest.fixture(scope="module")
def webserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("webserver")) as page:
        yield page


@pytest.fixture
def page(webserver: Served) -> Iterator[Served]:
    """A webserver with one run, which only the test that changes something may lose."""
    if not webserver.instance.has_run(RUN):
        webserver.instance.add_run(dg.DagsterRun("job", run_id=RUN))
    yield webserver


def unchanged(page: Served) -> bool:
    return page.instance.has_run(RUN) and not page.instance.all_asset_keys()


@pytest.mark.parametrize(
    ("status", "path", "body", "headers"),
    [
        (405, IN_ADDRESS, None, {}),
        (400, IN_ADDRESS, b"{}", JSON),
        (415, IN_ADDRESS, b"", {}),
        (415, "/graphql", IN_BODY, {"Content-Type": "text/plain"}),
        (415, "/graphql", DELETE.encode(), {"Content-Type": "application/graphql"}),
        (403, "/graphql", IN_BODY, {**JSON, "Origin": "http://127.0.0.1:9"}),
        (403, "/graphql", IN_BODY, {**JSON, "Host": "evil.example"}),
        (403, "/report_asset_materialization/a", b"", {"Content-Type": "application/json", "Origin": "null"}),
        (403, "/report_asset_observation/a", b"{}", {**JSON, "Host": "evil.example"}),
    ],
)
def test_a_change_is_refused_by_each_road_but_one_also_with_the_token(
    page: Served, status: int, path: str, body: bytes | None, headers: dict[str, str]
):
    assert page.status(path, body, {**headers, **page.bearer}) == status
    assert unchanged(page)


@pytest.mark.parametrize(
    "path", ["/", "/graphql?query={version}", "/server_info", f"/download_debug/{RUN}", "/logs/a/b", "/notebook",
             "/favicon.png", "/robots.txt", "/runs"]
)  # fmt: skip
def test_nothing_is_read_without_the_token(page: Served, path: str):
    assert page.status(path) == 401


@pytest.mark.parametrize("path", ["/graphql", "/report_asset_materialization/a", "/report_asset_check/a"])
def test_nothing_is_changed_without_the_token(page: Served, path: str):
    assert page.status(path, IN_BODY, JSON) == 401
    assert unchanged(page)


def test_with_the_token_it_is_dagster_that_answers(page: Served):
    assert page.status("/graphql?query={version}", None, page.bearer) == 200
    assert page.status("/", None, page.bearer) == 200
    assert page.status("/graphql", IN_BODY, {**JSON, **page.bearer, "Origin": page.address}) == 200
    assert not page.instance.has_run(RUN)


def upgraded(page: Served, **headers: str) -> int:
    address = f"ws://127.0.0.1:{page.port}/graphql"
    try:
        with connect(address, additional_headers=headers, subprotocols=["graphql-ws"], open_timeout=600) as websocket:
            websocket.send('{"type": "connection_init"}')
            assert json.loads(websocket.recv(timeout=600))["type"] == "connection_ack"
            return 101
    except InvalidStatus as refused:
        return refused.response.status_code


def test_an_upgrade_needs_the_token_and_the_own_origin(page: Served):
    assert upgraded(page) == 401
    assert upgraded(page, Origin="http://127.0.0.1:9", **page.bearer) == 403
    assert upgraded(page, Origin=page.address, **page.bearer) == 101


def test_dagster_has_no_other_road_that_changes_something():
    routes = DagsterWebserver(process_context=None).build_routes()  # its routes ask for none
    writing = {route.path for route in routes if isinstance(route, Route) and not route.methods <= {"GET", "HEAD"}}
    reports = {f"/report_asset_{kind}/{{asset_key:path}}" for kind in ("materialization", "check", "observation")}
    assert writing == {"/graphql", *reports}
    assert [route.path for route in routes if isinstance(route, WebSocketRoute)] == ["/graphql"]


def test_dev_and_up_run_the_guarded_webserver_and_one_code_server(tmp_path: Path):
    page = HomePage(Home(tmp_path), CodeServer(tmp_path))
    code, usual, daemon = programs(page, 3000, allow_hosts=["a", "b:1"], with_token=True, read_only=True)
    assert usual.command[1:3] == ["-m", "cspine_assets.cli.webserver"]
    assert usual.command[-7:] == [
        "--token-file", str(page.token_file), "--allow-host", "a", "--allow-host", "b:1", "--read-only"
    ]  # fmt: skip
    assert [code.name, daemon.name] == ["code_server", "daemon"]
    for asking in (usual, daemon):
        assert str(page.code.workspace) in asking.command
        assert not asking.ready()
    _, open_to_all, _ = programs(page, 3000, allow_hosts=[], with_token=False, read_only=False)
    assert {"--token-file", "--read-only", "--allow-host"}.isdisjoint(open_to_all.command)
