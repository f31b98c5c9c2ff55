"""The Dagster page of a home as a browser asks it: queries, and work that is started."""

import json
import subprocess
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import dataclass

import psutil

from cspine_assets.cli.page import token_file
from cspine_assets.cli.page_token import read_token
from cspine_assets.domain.errors import HomeError
from cspine_assets.domain.home import Home

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

    home: Home
    port: int
    process: subprocess.Popen[bytes]

    @property
    def bearer(self) -> dict[str, str]:
        """What a script sends to be let in."""
        return {"authorization": f"Bearer {read_token(token_file(self.home))}"}

    @property
    def addresses(self) -> set[str]:
        """At which addresses the command and all that it has started listen."""
        command = psutil.Process(self.process.pid)
        found = set()
        for one in (command, *command.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                connections = one.net_connections("inet")
                found |= {at.laddr.ip for at in connections if at.status == psutil.CONN_LISTEN}
        return found

    def ask(self, query: str, **variables: object) -> dict:
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/graphql", body, {"content-type": "application/json", **self.bearer}
        )
        with urllib.request.urlopen(request, timeout=600) as answer:
            return json.load(answer)["data"]

    def answered(self, **headers: str) -> int:
        """With which status the front page is answered."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as refused:
            return refused.code

    def launch(self, path: list[str], tags: dict[str, str]) -> str:
        """Starts an asset, or the partitions of it that the tags name, and returns the run."""
        return self._launch({"pipelineName": "__ASSET_JOB", "assetSelection": [{"path": path}]}, {}, tags)

    def launch_job(self, name: str, config: dict | None = None) -> str:
        """Starts a job, as from its launchpad, and returns the run."""
        return self._launch({"pipelineName": name}, config or {}, {})

    def _launch(self, selected: dict, config: dict, tags: dict[str, str]) -> str:
        params = {
            "selector": {
                "repositoryName": "__repository__",
                "repositoryLocationName": "cspine_assets",
                **selected,
            },
            "mode": "default",
            "runConfigData": config,
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
        }
        launched = self.ask(LAUNCH, params=params)["launchPipelineExecution"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return launched["run"]["runId"]

    def status(self, run_id: str) -> str:
        return self.ask("query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }", id=run_id)[
            "runOrError"
        ]["status"]

    def answers(self) -> bool:
        """Whether the page is up, and has loaded the definitions."""
        try:
            entries = self.ask("{ workspaceOrError { ... on Workspace { locationEntries { loadStatus } } } }")
        except (OSError, HomeError):  # it is just being started, and has not written its token
            return False
        return [entry["loadStatus"] for entry in entries["workspaceOrError"]["locationEntries"]] == ["LOADED"]
