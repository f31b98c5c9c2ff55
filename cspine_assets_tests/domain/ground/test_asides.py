"""Nothing stays of a killed writer, whatever it wrote; nothing of a living one is touched, and nothing is lost."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from cspine_assets.domain import asides
from cspine_assets.domain.asides import sweep
from cspine_assets.domain.files import folder_aside, fresh_folder_beside, require_writable, written_aside
from cspine_assets.domain.home import Home
from cspine_assets.domain.housekeeping import tidy
from cspine_assets_tests.processes import within

WRITER = """
import sys
from pathlib import Path
from cspine_assets.domain import files
how, *places = sys.argv[1:]
blocks = [getattr(files, how)(Path(place)) for place in places]  # kept: one that nothing refers to ends
for block in blocks:
    aside = block.__enter__()
    (aside / "half" if aside.is_dir() else aside).write_text("half")
print("ready", flush=True)
sys.stdin.read()
"""

FILES = (
    "settings.json",
    "lake/imaging/masks/p1.parquet",
    "volumes/p1/e1.nii.gz",
    "nnunet/results/Dataset108_CSpineSeg/trainer/fold_0/checkpoint_latest.pth",
    "nnunet/archive/models.zip",
    "predictions/exams/ensemble/e1.nii.gz",
    "external_predictions/theirs/e1.nii.gz",
    "published/earlier/20260101.duckdb",
    "report/pictures/p1.png",
    "demo_download/case_image/p1.zip",
    "leases/gpu.json",
    "a/kind/that/nobody/thought/of/yet.txt",
)
FOLDERS = (
    "nnunet/raw/Dataset108_CSpineSeg",
    "nnunet/preprocessed/Dataset108_CSpineSeg",
    "nnunet/imported/theirs",
    "external_predictions/imported",
    "demo_download",
)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def writer(how: str, *places: Path) -> subprocess.Popen[bytes]:
    """A process in the middle of writing."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, how, *map(str, places)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


def kill(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


def hidden(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob(".*"))


@pytest.fixture
def living(home: Home) -> Iterator[None]:
    yield
    assert hidden(home.root) == []


@pytest.mark.parametrize(
    ("how", "places"),
    [("written_aside", FILES), ("fresh_folder_beside", FOLDERS), ("folder_aside", ("scratch/s", "published/db"))],
)
@pytest.mark.usefixtures("living")
def test_a_sweep_removes_all_of_a_killed_writer_at_once_and_nothing_of_a_living_one(home: Home, how: str, places):
    process = writer(how, *(home.root / place for place in places))
    before = hidden(home.root)
    assert len(before) == 2 * len(places)
    assert tidy(home) == []
    assert hidden(home.root) == before
    kill(process)
    assert set(tidy(home)) >= set(before)


@pytest.mark.usefixtures("living")
def test_the_next_writer_removes_what_a_killed_one_left_there(home: Home):
    file, folder = home.root / "table.parquet", home.root / "dataset"
    for how, place in (("written_aside", file), ("fresh_folder_beside", folder)):
        kill(writer(how, place, place))  # twice: in the first place and in the second
    assert len(hidden(home.root)) == 8
    with written_aside(file) as aside:
        assert not aside.exists()
        aside.write_text("whole")
    with fresh_folder_beside(folder) as aside:
        assert list(aside.iterdir()) == []
    assert file.read_text() == "whole"


def test_a_leftover_that_is_a_link_to_a_mask_does_not_take_the_mask_along(tmp_path: Path):
    mask, place = tmp_path / "mask", tmp_path / "other"
    mask.write_text("mask")
    os.link(mask, tmp_path / ".aside-0-other")
    with written_aside(place) as aside:
        aside.write_text("other")
    assert (mask.read_text(), place.read_text()) == ("mask", "other")


@pytest.mark.parametrize("by", ["sweep", "writer"])
def test_a_folder_moved_away_by_a_killed_writer_comes_back(tmp_path: Path, by: str):
    place = tmp_path / "dataset"
    place.mkdir()
    (place / "case").write_text("old")
    process = writer("fresh_folder_beside", place)
    place.rename(tmp_path / ".old-0-dataset")  # where it is between the two renames
    assert sweep(tmp_path) == []
    kill(process)
    if by == "sweep":
        sweep(tmp_path)
    else:
        with pytest.raises(ZeroDivisionError), fresh_folder_beside(place):
            raise ZeroDivisionError
    assert [path.name for path in tmp_path.iterdir()] == ["dataset"]
    assert (place / "case").read_text() == "old"


def test_a_lock_alone_keeps_what_it_guards(tmp_path: Path):
    """As a writer of another host or container has it: there is no process to look for."""
    (tmp_path / ".aside-0-table").write_text("half")
    with (tmp_path / ".lock-0-table").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert sweep(tmp_path) == []
        with written_aside(tmp_path / "table") as aside:
            aside.write_text("whole")
        assert (tmp_path / ".aside-0-table").read_text() == "half"
    sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["table"]


FORKING = """
import os, signal, sys
from pathlib import Path
from cspine_assets.domain.files import written_aside
with written_aside(Path(sys.argv[1])) as aside:
    aside.write_text("half")
    child = os.fork()
    if child:
        print(child, flush=True)
    signal.pause()
"""


def test_a_forked_child_that_lives_on_holds_no_lock(tmp_path: Path):
    process = subprocess.Popen([sys.executable, "-c", FORKING, str(tmp_path / "table")], stdout=subprocess.PIPE)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    try:
        process.kill()
        process.wait()
        # it closes its copy as the first thing it does, which may be after its parent has gone
        assert within(10, lambda: sweep(tmp_path))
        assert list(tmp_path.iterdir()) == []
        assert psutil.Process(child).status() != psutil.STATUS_ZOMBIE
    finally:
        os.kill(child, signal.SIGKILL)
        process.stdout.close()


def age(*paths: Path) -> None:
    moment = time.time() - 2 * 86_400
    for path in paths:
        os.utime(path, (moment, moment))


def test_without_locks_writing_goes_on_and_only_what_is_a_day_old_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def no_locks(_descriptor, _how):
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(asides.fcntl, "flock", no_locks)
    left, lock = tmp_path / ".aside-0-table", tmp_path / ".lock-0-table"
    for path in (left, lock):
        path.write_text("")
    with written_aside(tmp_path / "table") as aside:
        assert aside.name == ".aside-1-table"
        aside.write_text("whole")
        assert sweep(tmp_path) == []
    age(lock)
    assert sweep(tmp_path) == []
    age(left)
    assert sweep(tmp_path) == [left, lock]
    assert [path.name for path in tmp_path.iterdir()] == ["table"]


def test_what_an_earlier_release_wrote_without_a_lock_goes_after_a_day(tmp_path: Path):
    file, folder = tmp_path / ".aside-k3f_9a2z-e1.nii.gz", tmp_path / ".predicting-abcdefgh"
    file.write_text("half")
    folder.mkdir()
    (folder / "mask").write_text("half")
    age(file, folder)
    assert sweep(tmp_path) == [file]
    age(folder, folder / "mask")
    assert sweep(tmp_path) == [folder]


def test_trying_whether_a_folder_can_be_written_leaves_nothing(tmp_path: Path):
    require_writable(tmp_path / "new", remedy="")
    assert list((tmp_path / "new").iterdir()) == []


def test_a_long_name_is_written(tmp_path: Path):
    with written_aside(tmp_path / ("n" * 246)) as aside:
        aside.write_text("x")
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("seed", range(5))
def test_any_mixture_of_writers_and_sweeps_loses_nothing_and_leaves_nothing(tmp_path: Path, seed: int):
    file, folder = tmp_path / "table", tmp_path / "dataset"

    def act(number: int) -> None:
        kind = random.Random(f"{seed} {number}").choice(["file", "folder", "failing", "scratch", "sweep"])
        if kind == "file":
            with written_aside(file) as aside:
                aside.write_text("whole")
        elif kind == "folder":
            with fresh_folder_beside(folder) as aside:
                (aside / "case").write_text("whole")
        elif kind == "failing":
            with pytest.raises(ZeroDivisionError), fresh_folder_beside(folder) as aside:
                (aside / "case").write_text("half")
                raise ZeroDivisionError
        elif kind == "scratch":
            with folder_aside(file) as aside:
                (aside / "case").write_text("here")
                assert (aside / "case").read_text() == "here"
        else:
            sweep(tmp_path)

    for place in (file, folder):
        (place if place is file else (place.mkdir() or place / "case")).write_text("whole")
    kill(writer("fresh_folder_beside", folder))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(act, range(50)))
    sweep(tmp_path)
    assert within(1, lambda: sorted(path.name for path in tmp_path.iterdir()) == ["dataset", "table"])
    assert file.read_text() == (folder / "case").read_text() == "whole"
