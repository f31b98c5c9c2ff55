"""The demo, run once for all workers by the command that people run, and copies of it for tests that change a home."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest

from cspine_assets.defs.instance import open_instance
from cspine_assets.defs.resources import StudyResource
from cspine_assets.domain.home import Home
from cspine_assets_tests.shared import LINES_FILE, made_once

CSPINE = str(Path(sys.executable).with_name("cspine"))
WRONG_FILE = "wrong.txt"


@dataclass(frozen=True)
class DemoRun:
    """A finished demo."""

    home: Home
    output: str

    def resources(self) -> dict[str, StudyResource]:
        """What a job of this home is given when it runs in the test's own process."""
        return {"study": StudyResource(home=str(self.home.root))}


def run_cspine(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the command as a person would; wide, so that no table is folded."""
    return subprocess.run([CSPINE, *arguments], capture_output=True, text=True, check=False, env=_wide())


def _wide() -> dict[str, str]:
    return {**os.environ, "COLUMNS": "200"}


def _make_demo(folder: Path) -> None:
    """Runs the demo; what it says goes to files, so that it can be followed, and a failure is met by all workers."""
    command = [CSPINE, "demo", "--home", str(folder / "home")]
    with (folder / LINES_FILE).open("w") as said, (folder / WRONG_FILE).open("w") as wrong:
        ended = subprocess.run(command, stdout=said, stderr=wrong, check=False, env=_wide())
    if ended.returncode == 0:
        (folder / WRONG_FILE).unlink()


@pytest.fixture(scope="session")
def finished_demo(tmp_path_factory: pytest.TempPathFactory) -> DemoRun:
    """The demo as it ended, which no test opens: all workers copy it."""
    folder = made_once(tmp_path_factory, "demo", _make_demo)
    output, wrong = (folder / LINES_FILE).read_text(), folder / WRONG_FILE
    assert not wrong.exists(), output + wrong.read_text()
    return DemoRun(Home(folder / "home"), output)


@pytest.fixture(scope="module")
def demo(finished_demo: DemoRun, tmp_path_factory: pytest.TempPathFactory) -> DemoRun:
    """The finished demo in a home of this file's own, whose tests may change it one after the other."""
    # a home links within itself, and goes by times of change
    root = shutil.copytree(finished_demo.home.root, tmp_path_factory.mktemp("demo") / "home", symlinks=True)
    return DemoRun(Home(root), finished_demo.output)


@pytest.fixture
def instance(demo: DemoRun) -> Iterator[dg.DagsterInstance]:
    with open_instance(demo.home) as opened:
        yield opened
