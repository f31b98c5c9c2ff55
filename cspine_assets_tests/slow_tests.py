"""A line on the terminal about each test that takes long, so that a run which makes the demo does not look hung.

Add here what a person sees while the tests run. It is read by nobody else: no test may depend on it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cspine_assets_tests.shared import LINES_FILE, shared_root

EVERY_S = 30.0
"""Long enough that most runs of one file print nothing, short enough that nobody thinks of a hang."""


class SlowTests:
    """Knows which tests are running in all workers, and tells of the long ones from a thread."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._began: dict[str, float] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._tell, daemon=True, name="slow-tests")

    def pytest_sessionstart(self) -> None:
        """Start to watch."""
        self._thread.start()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Note that a worker has begun a test."""
        self._began[nodeid] = time.monotonic()

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """Note that a test is over."""
        self._began.pop(nodeid, None)

    def pytest_sessionfinish(self) -> None:
        """Stop to watch."""
        self._over.set()
        self._thread.join()

    def lines(self, now: float) -> Iterator[str]:
        """Yield a line for each test that has run for long, and one for each shared folder that is being made."""
        for nodeid, began in sorted(self._began.items(), key=lambda item: item[1]):
            if now - began >= EVERY_S:
                yield f"running for {now - began:.0f} s: {nodeid.removeprefix('cspine_assets_tests/')}"
        for said in sorted(self._root().glob(f"*/{LINES_FILE}")):
            if not said.parent.with_name(f"{said.parent.name}.done").exists():
                newest = said.read_text(encoding="utf-8").splitlines()[-1:] or ["begun"]
                yield f"  the {said.parent.name}, which many of these tests share, is being made: {newest[0]}"

    def _root(self) -> Path:
        return shared_root(self._config._tmp_path_factory)  # type: ignore[attr-defined]  # pytest's own fixture does so

    def _tell(self) -> None:
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        while not self._over.wait(EVERY_S):
            for line in self.lines(time.monotonic()):
                terminal.ensure_newline()
                terminal.write_line(line)
