"""Programs are started again after a crash, and nothing of them outlives their supervisor, however that ends."""

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cspine_assets.cli.family import MARK, end_family
from cspine_assets.cli.supervisor import rotating_log
from cspine_assets_tests.processes import alive, command_of, within

SUPERVISE = """
import os, signal, sys
from pathlib import Path
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # also where the tests run under nohup
from cspine_assets.cli.supervisor import Program, keep_alive
from cspine_assets.domain.errors import HomeError
folder = Path(sys.argv[1])
program = "import subprocess, sys, time; print('hello', flush=True); " \\
    "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True); time.sleep(600)"
try:
    names = {"one": None, "two": None, "three": "one"}
    keep_alive([Program(name, [sys.executable, "-c", program], needs=needs) for name, needs in names.items()],
               os.environ, logs=folder / "logs", lock_file=folder / "lock",
               before_start=lambda name: print("before", name, flush=True), say=lambda what: print(what, flush=True),
               greeting="here it opens", echo=True)
except HomeError as error:
    sys.exit(f"refused: {error}")
"""


def family(supervisor: subprocess.Popen[str]) -> list[int]:
    return [child.pid for child in psutil.Process(supervisor.pid).children(recursive=True)]


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", SUPERVISE, str(tmp_path)], stdout=(tmp_path / "said").open("w"), env={**os.environ}
    )
    # a warden, and three programs with a child each
    assert within(60, lambda: len(family(process)) == 7)
    yield process
    if process.poll() is None:
        process.kill()
    process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_nothing_outlives_the_supervisor(supervisor: subprocess.Popen[str], number: signal.Signals):
    everybody = family(supervisor)
    supervisor.send_signal(number)
    supervisor.wait(600)
    assert within(20, lambda: not any(map(alive, everybody)))


def test_a_crashed_program_is_started_again_without_its_old_children(supervisor: subprocess.Popen[str], tmp_path: Path):
    said = tmp_path / "said"
    first = int(said.read_text().split("one started, process ")[1].split()[0])
    children = [child.pid for child in psutil.Process(first).children()]
    os.kill(first, signal.SIGKILL)
    assert within(30, lambda: said.read_text().count("one started, process") == 2)
    assert not any(map(alive, [first, *children]))
    assert "one ended with status -9" in said.read_text()
    assert said.read_text().count("before one") == 2
    assert said.read_text().count("two started") == 1
    assert within(30, lambda: said.read_text().count("three started") == 2), "it needs one"
    assert within(20, lambda: (tmp_path / "logs" / "one.log").read_text().count("hello") == 2)


def test_what_the_programs_say_is_printed_behind_their_names_where_it_is_asked_for(
    supervisor: subprocess.Popen[str], tmp_path: Path
):
    assert within(20, lambda: {"one: hello", "two: hello"} <= set((tmp_path / "said").read_text().splitlines()))


def test_a_killed_warden_is_replaced(supervisor: subprocess.Popen[str]):
    warden = next(p for p in psutil.Process(supervisor.pid).children() if "cspine_assets.cli.family" in command_of(p))
    warden.kill()
    assert within(
        20,
        lambda: any(
            "cspine_assets.cli.family" in command_of(p) and p.pid != warden.pid
            for p in psutil.Process(supervisor.pid).children()
            if p.status() != psutil.STATUS_ZOMBIE
        ),
    )


def test_a_second_supervisor_is_refused(supervisor: subprocess.Popen[str], tmp_path: Path):
    second = subprocess.run(
        [sys.executable, "-c", SUPERVISE, str(tmp_path)], capture_output=True, text=True, check=False, timeout=600
    )
    assert second.returncode == 1
    assert "running already" in second.stderr
    assert "opens" not in second.stdout
    assert (tmp_path / "said").read_text().startswith("here it opens\n")
    assert supervisor.poll() is None


def test_a_log_rotates_and_stays_bounded_with_the_newest_lines_kept(tmp_path: Path):
    log = rotating_log(tmp_path / "logs" / "one.log", size_bytes=1000, older=3)
    for number in range(500):
        log.info(f"line {number:04d} " + "x" * 40)
    files = sorted((tmp_path / "logs").iterdir())
    assert [path.name for path in files] == ["one.log", "one.log.1", "one.log.2", "one.log.3"]
    assert all(0 < path.stat().st_size <= 1000 for path in files)
    kept = [line.split()[1] for path in [*reversed(files[1:]), files[0]] for line in path.read_text().splitlines()]
    assert kept == [f"{number:04d}" for number in range(500 - len(kept), 500)]


def test_programs_whose_environment_the_system_hides_are_ended_too(monkeypatch: pytest.MonkeyPatch):
    mark = uuid.uuid4().hex
    script = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'])"
    first = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, env={**os.environ, MARK: mark})
    assert within(20, lambda: psutil.Process(first.pid).children())
    (hidden,) = psutil.Process(first.pid).children()
    environ = psutil.Process.environ

    def as_on_a_mac(process: psutil.Process) -> dict[str, str]:
        if process.pid == hidden.pid:
            raise psutil.AccessDenied(process.pid)
        return environ(process)

    monkeypatch.setattr(psutil.Process, "environ", as_on_a_mac)
    monkeypatch.setattr(sys, "platform", "darwin")
    end_family(mark)
    first.wait()
    assert within(5, lambda: not alive(hidden))
