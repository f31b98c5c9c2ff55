"""Workers die alone, end with their parent, and end at once when nobody waits for them."""

import errno
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import psutil
import pytest

from cspine_assets.domain import workers
from cspine_assets.domain.workers import each_in_workers
from cspine_assets_tests.processes import alive, within


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


def test_a_script_without_a_guard_is_told_so(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from cspine_assets.domain.workers import each_in_workers\n"
        "print(list(each_in_workers([[1]], abs, lost=abs, workers=1)))\n"
    )
    told = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False, timeout=600).stderr
    assert "if __name__ == '__main__'" in told
    assert "NoneType" not in told


def fail_on_three(items):
    if 3 in items:
        raise ValueError("a defect of the code")
    return items


def test_an_error_of_the_code_is_raised_to_the_caller():
    with pytest.raises(ValueError, match="a defect of the code"):
        list(each_in_workers([[1], [3]], fail_on_three, lost=lambda item: item, workers=1))


def hearing_of_a_child(items):
    told = "import signal; print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))"
    child = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    return [child.stdout.strip() for _ in items]


def test_what_a_worker_starts_can_be_interrupted():
    assert list(each_in_workers([[1]], hearing_of_a_child, lost=str, workers=1)) == ["False"]


class Unstartable:
    """Stands for processes where the system has no room for one more."""

    Pipe = staticmethod(multiprocessing.Pipe)

    def Process(self, **_how):
        class Never:
            def start(self):
                raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

        return Never()


def test_work_is_lost_where_no_process_can_be_started(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(workers, "_context", lambda _preload: Unstartable())
    assert sorted(each_in_workers([[1, 2], [3]], abs, lost=lambda item: -item, workers=2)) == [-3, -2, -1]


SLEEPER = """
import os, sys, time
from cspine_assets.domain.workers import each_in_workers
def work(items):
    open(sys.argv[1], "w").write(str(os.getpid()))
    time.sleep(10_000)
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
        assert within(30, lambda: mark.exists() and mark.read_text())
        worker = psutil.Process(int(mark.read_text()))
    finally:
        parent.kill()
        parent.wait()
    assert within(10, lambda: not alive(worker))


def tell_pid_and_sleep(items, *, folder):
    if items == [0]:
        return items
    (Path(folder) / "pid").write_text(str(os.getpid()))
    time.sleep(10_000)
    return items


def test_workers_end_at_once_when_nobody_waits_any_more(tmp_path):
    work = partial(tell_pid_and_sleep, folder=str(tmp_path))
    results = each_in_workers([[1], [0]], work, lost=lambda item: item, workers=2)
    assert next(results) == 0
    assert within(30, lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    results.close()  # the worker sleeps longer than a test may take: this would not return if it were waited for
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))
