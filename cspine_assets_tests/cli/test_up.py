"""`cspine up` serves a page to who has its token; a read-only one shows and changes nothing.

That a usual one listens on this machine alone and does what it is asked for stands in ``end_to_end/test_kills``.
"""

import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from cspine_assets.domain.home import Home
from cspine_assets_tests.end_to_end.page import Page
from cspine_assets_tests.processes import free_port, within

CSPINE = Path(sys.executable).with_name("cspine")
DELETE_A_RUN = 'mutation { deletePipelineRun(runId: "11111111-1111-1111-1111-111111111111") { __typename } }'


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    port = free_port()
    command = [CSPINE, "up", "--home", tmp_path / "home", "--port", str(port), "--read-only"]
    process = subprocess.Popen(command, stdout=(tmp_path / "said").open("w"), env={**os.environ})
    opened = Page(Home(tmp_path / "home"), port, process)
    try:
        assert within(150, lambda: process.poll() is not None or opened.answers()), (tmp_path / "said").read_text()
        yield opened
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(600)


def test_a_read_only_page_shows_and_refuses_mutations_on_this_machine_alone(page: Page, tmp_path: Path):
    assert page.addresses == {"127.0.0.1"}
    assert page.ask(DELETE_A_RUN)["deletePipelineRun"]["__typename"] == "UnauthorizedError"
    assert page.ask("{ runsOrError { __typename } }")["runsOrError"]["__typename"] == "Runs"
    asks_for_its_token(page, (tmp_path / "said").read_text())


def asks_for_its_token(page: Page, said: str) -> None:
    """The printed address opens the page, which nothing else does; nowhere else is the token written."""
    printed = next(word for word in said.split() if "?token=" in word)
    token = printed.partition("=")[2]
    assert page.bearer["authorization"] == f"Bearer {token}"
    client = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    with client.open(printed, timeout=600) as answer:
        assert answer.url == f"http://127.0.0.1:{page.port}/"
        assert b"<title" in answer.read()
    assert page.answered() == 401
    assert page.answered(host="evil.example", **page.bearer) == 403
    assert not [log.name for log in page.home.logs.iterdir() if token in log.read_text()]
