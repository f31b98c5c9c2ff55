"""A demo goes on with the cohort that it began with, and says so to whoever asks for another."""

from pathlib import Path

import pytest
from rich.console import Console

from cspine_assets.cli.demo import _write_cohort
from cspine_assets.cli.progress import MemoryMeter, StageDisplay
from cspine_assets.domain.errors import HomeError
from cspine_assets.domain.home import Home
from cspine_assets.nnunet.environment import NnunetFolders


def test_another_cohort_is_refused_and_the_same_goes_on(tmp_path: Path):
    home = Home(tmp_path)
    display = StageDisplay(Console(quiet=True), MemoryMeter(), NnunetFolders.under(tmp_path / "nnunet"))
    _write_cohort(home, display, patients=2, seed=1)
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "demo_download").rglob("*")}
    _write_cohort(home, display, patients=2, seed=1)
    with pytest.raises(HomeError, match=r"--patients 2 --seed 1; asked for was --patients 3 --seed 1"):
        _write_cohort(home, display, patients=3, seed=1)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "demo_download").rglob("*")} == written
