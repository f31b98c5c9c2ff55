"""The Dagster page of a home: up on this machine alone, it makes what a person asks for and leaves nothing behind."""

import json
import os
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass

import psutil
import pytest

from cspine_assets_tests.end_to_end.conftest import CSPINE, DemoRun, alive, run_cspine, within

pytestmark = [pytest.mark.xdist_group("demo"), pytest.mark.slow, pytest.mark.timeout(3000)]

LAUNCH = """
mutation($params: ExecutionParams!) {
  launchPipelineExecution(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
  }
}
"""


@dataclass(frozen=True)
class Page:
    """A page that answers."""

    port: int
    process: subprocess.Popen[bytes]

    def ask(self, query: str, **variables: object) -> dict:
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/graphql", body, {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["data"]

    def launch(self, path: list[str], tags: dict[str, str]) -> str:
        selector = {
            "repositoryName": "__repository__",
            "repositoryLocationName": "cspine_assets",
            "pipelineName": "__ASSET_JOB",
            "assetSelection": [{"path": path}],
        }
        params = {
            "selector": selector,
            "mode": "default",
            "runConfigData": {},
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
        }
        launched = self.ask(LAUNCH, params=params)["launchPipelineExecution"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return launched["run"]["runId"]

    def status(self, run_id: str) -> str:
        return self.ask("query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }", id=run_id)[
            "runOrError"
        ]["status"]


@pytest.fixture(scope="module")
def page(demo: DemoRun) -> Iterator[Page]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = (demo.home.logs / "page.log").open("wb")
    process = subprocess.Popen(
        [CSPINE, "dev", "--home", str(demo.home.root), "--port", str(port)],
        stdout=log,
        stderr=subprocess.STDOUT,
        env={**os.environ},
        start_new_session=True,
    )
    opened = Page(port, process)
    try:
        assert within(400, lambda: _answers(opened)), (demo.home.logs / "page.log").read_text()
        yield opened
    finally:
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        process.wait(60)
        log.close()
        assert within(10, lambda: not any(alive(member) for member in family)), "the page left processes behind"


def test_the_page_knows_every_asset(page: Page):
    nodes = page.ask("{ assetNodes { assetKey { path } hasMaterializePermission } }")["assetNodes"]
    assert {"midrc/cases", "nnunet/trained_folds", "warehouse/database"} <= {
        "/".join(n["assetKey"]["path"]) for n in nodes
    }


def test_it_listens_on_this_machine_alone(page: Page):
    members = [page.process.pid, *(child.pid for child in psutil.Process(page.process.pid).children(recursive=True))]
    listening = {
        connection.laddr.ip
        for pid in members
        for connection in psutil.Process(pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}


def test_a_second_page_of_the_same_home_is_refused(page: Page, demo: DemoRun):
    refused = run_cspine("dev", "--home", str(demo.home.root), "--port", str(page.port + 1), timeout=300)
    assert refused.returncode == 1
    assert "running already" in refused.stderr


def test_a_table_a_range_of_patients_and_one_model_are_made_from_the_page(page: Page, demo: DemoRun):
    patients = demo.home.lake.read_column(_patients(), "patient_id").sort_values().tolist()
    runs = [
        page.launch(["evaluation", "test_summary"], {}),
        page.launch(
            ["imaging", "masks"],
            {"dagster/asset_partition_range_start": patients[1], "dagster/asset_partition_range_end": patients[4]},
        ),
        page.launch(["nnunet", "trained_folds"], {"dagster/partition": "2d|0"}),
    ]
    assert within(900, lambda: all(page.status(run) in ("SUCCESS", "FAILURE", "CANCELED") for run in runs))
    assert [page.status(run) for run in runs] == ["SUCCESS"] * 3


def _patients():
    from cspine_assets.domain.tables.cohort import Patients

    return Patients


def _answers(page: Page) -> bool:
    try:
        entries = page.ask("{ workspaceOrError { ... on Workspace { locationEntries { loadStatus } } } }")
    except OSError:
        return False
    return [entry["loadStatus"] for entry in entries["workspaceOrError"]["locationEntries"]] == ["LOADED"]
