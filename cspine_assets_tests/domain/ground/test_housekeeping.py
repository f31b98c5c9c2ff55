"""What killed writers left behind goes once it is stale; what is being written and what stands does not."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cspine_assets.domain.home import Home
from cspine_assets.domain.housekeeping import DAY_S, LOG_DAYS, STALE_ASIDE_S, tidy

KILLED = """
import os, signal, sys
from pathlib import Path
from cspine_assets.domain.files import written_aside
with written_aside(Path(sys.argv[1])) as aside:
    aside.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def age(path: Path, seconds: float) -> None:
    moment = time.time() - seconds
    os.utime(path, (moment, moment))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_files_of_a_killed_writer_go_after_an_hour(home: Home):
    standing = [home.root / "lake" / "imaging" / "masks" / "p.parquet", home.database]
    for path in standing:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("whole")
        age(path, 2 * STALE_ASIDE_S)
        ended = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False, timeout=60)
        assert ended.returncode == -signal.SIGKILL
    left = [aside for path in standing for aside in path.parent.glob(".aside-*")]
    assert len(left) == 2
    assert tidy(home) == []
    for aside in left:
        age(aside, STALE_ASIDE_S + 60)
    assert tidy(home) == left
    assert not any(aside.exists() for aside in left)
    assert all(path.read_text() == "whole" for path in standing)


KILLED_IN_A_FOLDER = """
import os, signal, sys
from pathlib import Path
from cspine_assets.domain.files import fresh_folder_beside
with fresh_folder_beside(Path(sys.argv[1])) as aside:
    (aside / "case").mkdir()
    (aside / "case" / "data").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(
    ("script", "place"),
    [
        (KILLED, "volumes/p1/e1.nii.gz"),
        (KILLED, "nnunet/results/Dataset108_CSpineSeg/trainer/fold_0/checkpoint_latest.pth"),
        (KILLED, "predictions/test/ensemble/e1.nii.gz"),
        (KILLED_IN_A_FOLDER, "nnunet/preprocessed/Dataset108_CSpineSeg"),
        (KILLED_IN_A_FOLDER, "nnunet/imported/theirs"),
    ],
)
def test_what_takes_most_room_goes_too_once_nothing_in_it_changes(home: Home, script: str, place: str):
    path = home.root / place
    path.parent.mkdir(parents=True)
    subprocess.run([sys.executable, "-c", script, str(path)], check=False, timeout=60)
    (left,) = path.parent.glob(".aside-*")
    age(left, STALE_ASIDE_S + 60)
    if left.is_dir():
        age(left / "case", STALE_ASIDE_S + 60)
        assert tidy(home) == []
        age(left / "case" / "data", STALE_ASIDE_S + 60)
    assert tidy(home) == [left]
    assert list(path.parent.iterdir()) == []


def test_a_folder_that_was_taken_away_goes_only_where_another_stands_in_its_place(home: Home):
    old = home.nnunet_raw / ".old-77-Dataset108_CSpineSeg"
    old.mkdir(parents=True)
    age(old, STALE_ASIDE_S + 60)
    assert tidy(home) == []
    (home.nnunet_raw / "Dataset108_CSpineSeg").mkdir()
    assert tidy(home) == [old]


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
