"""Old output of steps is removed; what killed writers leave is in ``test_asides``."""

import os
import time
from pathlib import Path

import pytest

from cspine_assets.domain.home import Home
from cspine_assets.domain.housekeeping import DAY_S, LOG_DAYS, tidy


def age(path: Path, seconds: float) -> None:
    moment = time.time() - seconds
    os.utime(path, (moment, moment))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_output_of_old_runs_goes_and_of_a_run_that_still_prints_stays(home: Home):
    old, going = (home.dagster / "storage" / run / "compute_logs" for run in ("old", "going"))
    for folder in (old, going):
        folder.mkdir(parents=True)
        (folder / "step.out").write_text("done")
        age(folder / "step.out", (LOG_DAYS + 1) * DAY_S)
    (going / "step.err").write_text("still here")
    for folder in (old, going):
        age(folder, (LOG_DAYS + 1) * DAY_S)
    assert tidy(home) == [old]
    assert not old.exists()
    assert (going / "step.out").exists()


def test_an_empty_home_has_nothing_to_tidy(home: Home):
    assert tidy(home) == []
