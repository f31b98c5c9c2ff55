"""The demo, run once for all tests of this folder by the command that people run."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest

from cspine_assets.defs.instance import open_instance
from cspine_assets.domain.home import Home

CSPINE = str(Path(sys.executable).with_name("cspine"))


@dataclass(frozen=True)
class DemoRun:
    """A finished demo."""

    home: Home
    output: str


def run_cspine(*arguments: str, timeout: float = 1200) -> subprocess.CompletedProcess[str]:
    """Runs the command as a person would; wide, so that no table is folded."""
    environment = {**os.environ, "COLUMNS": "200"}
    return subprocess.run(
        [CSPINE, *arguments], capture_output=True, text=True, check=False, timeout=timeout, env=environment
    )


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> DemoRun:
    root = tmp_path_factory.mktemp("demo") / "home"
    result = run_cspine("demo", "--home", str(root), timeout=2400)
    print(result.stdout)
    assert result.returncode == 0, result.stdout + result.stderr
    return DemoRun(Home(root), result.stdout)


@pytest.fixture
def instance(demo: DemoRun) -> Iterator[dg.DagsterInstance]:
    with open_instance(demo.home) as opened:
        yield opened
