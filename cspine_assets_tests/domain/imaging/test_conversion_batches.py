from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import psutil
import pytest

from cspine_assets.domain.imaging.batch import convert_exams
from cspine_assets.domain.imaging.conversion import ConversionTask
from cspine_assets.domain.imaging.outcome import Converted, Failed
from cspine_assets.domain.imaging.scratch import remove_stale_scratch, scratch_folder
from cspine_assets.domain.imaging.sources import SeriesRequest
from cspine_assets.domain.imaging.workers import each_in_workers
from cspine_assets_tests.domain.imaging.dicom_series import PATIENT, SLICES, UID, make_instances, write_series


def make_tasks(tmp_path, count, bad=()):
    tasks = []
    for number in range(count):
        instances = make_instances(uid=f"{UID}{number}", seed=number)[: 3 if number in bad else None]
        series = write_series(tmp_path / f"{number}.zip", instances)
        request = SeriesRequest(f"exam-{number}", PATIENT, f"{UID}{number}", SLICES, series=series)
        tasks.append(ConversionTask(request, tmp_path / "home" / f"{number}.nii.gz"))
    return tasks


@pytest.mark.parametrize("workers", [0, 2])
def test_each_exam_fails_alone_and_outcomes_come_in_order(workers, tmp_path):
    told = []
    tasks = make_tasks(tmp_path, 7, bad=(2, 5))
    outcomes = convert_exams(tasks, tmp_path / "scratch", workers=workers, exams_per_call=3, finished=told.append)
    assert [o.request.exam_id for o in outcomes] == [t.request.exam_id for t in tasks]
    assert [type(o) for o in outcomes] == [Failed if n in (2, 5) else Converted for n in range(7)]
    assert sorted(o.request.exam_id for o in told) == sorted(o.request.exam_id for o in outcomes)
    assert not list((tmp_path / "scratch").iterdir())


def test_no_exams_give_no_outcomes(tmp_path):
    assert convert_exams([], tmp_path / "scratch") == []


def square_or_die(items, *, deadly, marks):
    """Dies as by the out-of-memory killer over some items: always, or the first time alone."""
    for item in items:
        mark = Path(marks) / str(item)
        if deadly.get(item) == "always" or (deadly.get(item) == "once" and not mark.exists()):
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    return [item * item for item in items]


def test_a_dying_worker_loses_only_what_kills_it(tmp_path):
    work = partial(square_or_die, deadly={4: "always", 7: "once"}, marks=str(tmp_path))
    chunks = [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    results = list(each_in_workers(chunks, work, lost=lambda item: -item, workers=2))
    assert sorted(results) == sorted([-4, *(n * n for n in range(9) if n != 4)])


def fail_on_three(items):
    if 3 in items:
        raise ValueError("a defect of the code")
    return items


def test_an_error_of_the_code_is_raised_to_the_caller():
    with pytest.raises(ValueError, match="a defect of the code"):
        list(each_in_workers([[1], [3]], fail_on_three, lost=lambda item: item, workers=1))


SLEEPER = """
import os, sys, time
from cspine_assets.domain.imaging.workers import each_in_workers
def work(items):
    open(sys.argv[1], "w").write(str(os.getpid()))
    time.sleep(60)
    return items
if __name__ == "__main__":
    list(each_in_workers([[1]], work, lost=str, workers=1))
"""


def test_workers_end_when_their_parent_is_killed(tmp_path):
    script, mark = tmp_path / "sleeper.py", tmp_path / "pid"
    script.write_text(SLEEPER)
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    parent = subprocess.Popen([sys.executable, str(script), str(mark)], env=environment)
    try:
        assert _within(30, lambda: mark.exists() and mark.read_text())
        worker = psutil.Process(int(mark.read_text()))
    finally:
        parent.kill()
        parent.wait()
    assert _within(10, lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)


def _within(seconds, condition):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


def test_scratch_of_killed_processes_is_removed_and_that_of_running_ones_stays(tmp_path):
    with scratch_folder(tmp_path) as mine:
        gone = subprocess.Popen([sys.executable, "-c", ""])
        gone.wait()
        stale = tmp_path / mine.name.replace(f"-{os.getpid()}-", f"-{gone.pid}-")
        stale.mkdir()
        assert remove_stale_scratch(tmp_path) == 1
        assert mine.exists()
        assert not stale.exists()
