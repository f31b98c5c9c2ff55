"""A hostile page in a person's own browser reads and changes nothing, while the person's page shows Dagster."""

import functools
import json
import threading
import urllib.parse
import uuid
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import dagster as dg
import pytest
from playwright.sync_api import BrowserContext

from cspine_assets_tests.chromium import browser
from cspine_assets_tests.cli.webserver_process import Served, served

MAPPED = "--host-resolver-rules=MAP evil.example 127.0.0.1"
WAYS = ("get", "simple", "json", "picture", "script", "frame", "form", "form body", "beacon")
"""Each tries to delete a run of its own."""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("webserver")) as opened:
        yield opened


@pytest.fixture(scope="module")
def person(page: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    """A browser in which the printed address was opened, and with it Dagster."""
    with browser(tmp_path_factory.mktemp("profile"), MAPPED) as opened:
        tab = opened.new_page()
        tab.goto(f"{page.address}/?token={page.token}")
        tab.get_by_role("link", name="Runs").first.wait_for()
        assert "token" not in tab.url
        yield opened


@pytest.fixture(scope="module")
def hostile_port() -> Iterator[int]:
    """Where the hostile page is served, on all addresses that its names lead to."""
    handler = functools.partial(_Silent, directory=str(Path(__file__).parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


class _Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "evil.example"])
def test_a_page_of_another_origin_reads_and_changes_nothing(
    host: str, page: Served, person: BrowserContext, hostile_port: int
):
    runs = {way: str(uuid.uuid4()) for way in WAYS}
    for run_id in runs.values():
        page.instance.add_run(dg.DagsterRun("job", run_id=run_id))
    queries = {way: f'mutation {{ deletePipelineRun(runId: "{run}") {{ __typename }} }}' for way, run in runs.items()}
    tab = person.new_page()
    told = urllib.parse.quote(json.dumps({"target": page.address, "queries": queries}))
    tab.goto(f"http://{host}:{hostile_port}/hostile_page.html#{told}")
    tab.wait_for_function("document.title.startsWith('{')")
    assert {way: said for way, said in json.loads(tab.title()).items() if said} == {}
    assert [way for way, run_id in runs.items() if not page.instance.has_run(run_id)] == []
    assert page.instance.all_asset_keys() == []
    # the person has noticed nothing: a link there is followed, and the page still shows Dagster
    tab.evaluate("address => { location.href = address }", f"{page.address}/runs")
    tab.get_by_role("link", name="Runs").first.wait_for()


def test_a_name_that_leads_here_shows_the_refusal_alone(page: Served, person: BrowserContext):
    tab = person.new_page()
    answer = tab.goto(f"http://evil.example:{page.port}/?token={page.token}")
    assert answer is not None
    assert answer.status == 403
    assert "--allow-host" in tab.inner_text("body")
