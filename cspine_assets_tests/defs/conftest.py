"""A small synthetic download, its home opened for the demo, and an instance of Dagster's own."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from cspine_assets.defs.instance import open_instance
from cspine_assets.domain.home import Home, HomeSettings
from cspine_assets.domain.phantom.cohort import PROVENANCE_FILE, write_cohort
from cspine_assets.domain.phantom.settings import CohortSettings


@pytest.fixture(scope="session")
def download(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight patients of small matrices; read only."""
    folder = tmp_path_factory.mktemp("source") / "download"
    write_cohort(folder, CohortSettings(patients=8, seed=3, matrix=48, expert_fraction=0.75))
    return folder


@pytest.fixture
def own_download(download: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return shutil.copytree(download, tmp_path / "download")


@pytest.fixture
def home(own_download: Path, tmp_path: Path) -> Home:
    opened = Home(tmp_path / "home")
    opened.open(HomeSettings("demo", str(own_download), str(own_download / PROVENANCE_FILE)))
    return opened


@pytest.fixture
def instance(home: Home) -> Iterator[dg.DagsterInstance]:
    with open_instance(home) as opened:
        yield opened
