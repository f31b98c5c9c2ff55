"""`cspine dev`: a taken port is said at once, and nothing outlives the command, however its terminal goes."""

import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path

import psutil
import pytest

from cspine_assets.cli.family import MARK, end_family
from cspine_assets.cli.supervise import require_free_port
from cspine_assets.domain.errors import HomeError
from cspine_assets_tests.processes import alive, within

SUPERVISE = """
import os, signal, sys
from pathlib import Path
from cspine_assets.cli.supervise import run_supervised
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # also where the tests run under nohup
server = "import subprocess, sys, time; " \\
    "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True); time.sleep(600)"
sys.exit(run_supervised([sys.executable, "-c", server], os.environ, Path(sys.argv[1]) / "lock",
                        before_start=lambda: print("alone", flush=True)))
"""


def supervised(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SUPERVISE, str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ})


def family(supervisor: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(supervisor.pid).children(recursive=True)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGKILL, signal.SIGTERM])
def test_nothing_outlives_it(tmp_path: Path, number: signal.Signals):
    supervisor = supervised(tmp_path)
    end = time.monotonic() + 60
    while len(family(supervisor)) < 3:  # a warden, the server and its child
        assert time.monotonic() < end, family(supervisor)
        time.sleep(0.05)
    running = family(supervisor)
    supervisor.send_signal(number)
    supervisor.communicate(timeout=60)
    _, left = psutil.wait_procs(running, timeout=60)
    assert left == []


def test_a_second_one_is_refused_before_it_does_anything(tmp_path: Path):
    first = supervised(tmp_path)
    assert first.stdout is not None
    assert first.stdout.readline() == "alone\n"
    second = supervised(tmp_path)
    said, wrong = second.communicate(timeout=60)
    first.terminate()
    first.communicate(timeout=60)
    assert (said, second.returncode) == ("", 1)
    assert "a page of this home is running already" in wrong


def test_a_taken_port_is_refused_with_what_to_do():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(HomeError, match=rf"port {port}: expected a free port .* Say --port"):
            require_free_port(port)
    require_free_port(port)


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
