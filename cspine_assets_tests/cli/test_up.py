"""`cspine up --read-only` serves a page that shows and changes nothing."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = pytest.mark.timeout(240)
CSPINE = Path(sys.executable).with_name("cspine")
DELETE_A_RUN = 'mutation { deletePipelineRun(runId: "11111111-1111-1111-1111-111111111111") { __typename } }'


def ask(port: int, query: str) -> dict[str, Any]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/graphql",
        data=json.dumps({"query": query}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def opened(port: int, process: subprocess.Popen[bytes]) -> bool:
    end = time.monotonic() + 150
    while time.monotonic() < end and process.poll() is None:
        try:
            return bool(ask(port, "{ version }")["data"]["version"])
        except OSError:  # it is just being started
            time.sleep(0.3)
    return False


@pytest.fixture(params=[["--read-only"], []], ids=["read-only", "usual"])
def page(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [CSPINE, "up", "--home", tmp_path / "home", "--port", str(port), *request.param]
    process = subprocess.Popen(command, stdout=(tmp_path / "said").open("w"), env={**os.environ})
    try:
        assert opened(port, process), (tmp_path / "said").read_text()
        yield port
        # on this machine alone
        family = psutil.Process(process.pid).children(recursive=True)
        listening = [c for child in family for c in child.net_connections("inet") if c.status == psutil.CONN_LISTEN]
        assert {c.laddr.ip for c in listening if c.laddr.port == port} == {"127.0.0.1"}
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def test_a_mutation_is_refused_by_a_read_only_page_and_by_no_other(page: int, request: pytest.FixtureRequest):
    read_only = "read-only" in request.node.name.split("[")[1]
    answer = ask(page, DELETE_A_RUN)["data"]["deletePipelineRun"]["__typename"]
    assert answer == ("UnauthorizedError" if read_only else "RunNotFoundError")
    assert "errors" not in ask(page, "{ runsOrError { __typename } }")
