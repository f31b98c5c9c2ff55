"""The webserver of a page with an instance of its own and no definitions: the program that `dev` and `up` run."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from cspine_assets.cli.page_token import ensure_token
from cspine_assets_tests.processes import free_port, within


@dataclass(frozen=True)
class Served:
    """A webserver that answers.

    Attributes:
        port: Its port on 127.0.0.1.
        token: What it asks for.
        instance: What it shows and changes.
    """

    port: int
    token: str
    instance: dg.DagsterInstance

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def status(self, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> int:
        """Asks by real HTTP: GET, or POST where there is a body."""
        request = urllib.request.Request(self.address + path, body, dict(headers or {}))
        try:
            with urllib.request.urlopen(request, timeout=600) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as refused:
            return refused.code


@contextmanager
def served(folder: Path) -> Iterator[Served]:
    """Starts the webserver, and ends it afterwards."""
    (folder / "workspace.yaml").write_text("load_from: []\n")
    (folder / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    token, port = ensure_token(folder / "token"), free_port()
    command = [sys.executable, "-m", "cspine_assets.cli.webserver", "--port", str(port)]
    command += ["--workspace", str(folder / "workspace.yaml"), "--token-file", str(folder / "token")]
    said = folder / "said"
    with said.open("wb") as log, dg.DagsterInstance.from_config(str(folder)) as instance:
        environment = {**os.environ, "DAGSTER_HOME": str(folder)}
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
        page = Served(port, token, instance)
        try:
            assert within(90, lambda: process.poll() is not None or _answers(page)), said.read_text()
            assert process.poll() is None, said.read_text()
            yield page
        finally:
            process.terminate()
            process.wait(30)


def _answers(page: Served) -> bool:
    try:
        return page.status("/server_info") == 401
    except OSError:  # it is just being started
        return False
