import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cspine_assets.domain.errors import ModelError
from cspine_assets.nnunet import process
from cspine_assets.nnunet.messages import Note
from cspine_assets.nnunet.process import ChildLostError, ChildStoppedError, Supervision, run_child
from cspine_assets_tests.nnunet.toy_child import ToyRequest, ToyResult
from cspine_assets_tests.processes import SetClock, alive, within

ROOT = Path(__file__).parents[2]
TOY = "cspine_assets_tests.nnunet.toy_child"


ELSEWHERE = "cspine_assets_tests.nnunet.toy_child_elsewhere"


def environment(**more):
    return os.environ | {"PYTHONPATH": str(ROOT)} | more


def gone(pid_file):
    """Whether the child and its worker are no more; a killed orphan needs a moment."""
    pids = pid_file.read_text().split()
    assert len(pids) == 2
    return within(10, lambda: not any(alive(int(pid)) for pid in pids))


@pytest.fixture
def clock(monkeypatch):
    """The clock by which the silence of a child is measured."""
    made = SetClock()
    monkeypatch.setattr(process, "time", made)
    return made


def run_toy(tmp_path, deed, *, on_message=lambda _: None, pid_file=None, module=TOY, **limits):
    return run_child(
        module,
        ToyRequest(deed=deed, pid_file=pid_file),
        result_type=ToyResult,
        env=environment(OMP_NUM_THREADS="1"),
        supervision=Supervision(log_path=tmp_path / "toy.log", on_message=on_message, **limits),
    )


def test_children_at_once_with_one_log_do_what_each_was_asked_for(tmp_path):
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(run_toy, tmp_path, deed) for deed in ("answer", "terminate a worker")]
    assert [one.result().answer for one in asked] == [42, -signal.SIGTERM]


def test_result_messages_and_environment_cross_the_border(tmp_path):
    heard = []
    result = run_toy(tmp_path, "answer", on_message=heard.append)
    assert result == ToyResult(answer=42, omp_num_threads="1")
    assert heard == [Note(text="at work")]


def test_the_output_of_a_child_goes_to_its_log_only(tmp_path, capfd):
    run_toy(tmp_path, "answer")
    assert "own output" in (tmp_path / "toy.log").read_text()
    assert "own output" not in capfd.readouterr().out


def test_an_error_that_a_child_foresaw_is_told_in_one_line(tmp_path):
    with pytest.raises(ModelError) as caught:
        run_toy(tmp_path, "refuse")
    log = tmp_path / "toy.log"
    assert str(caught.value) == f"fold 2: expected a whole checkpoint. Train it again. Log: {log}"
    assert "Traceback" in log.read_text()


@pytest.mark.parametrize(
    ("deed", "said"),
    [("fail", "ValueError: the volume has four dimensions"), ("die", "signal 9"), ("quit", "status 3")],
)
def test_a_failed_child_is_named_with_its_log_and_its_last_lines(tmp_path, deed, said):
    with pytest.raises(ModelError, match=said) as caught:
        run_toy(tmp_path, deed)
    assert isinstance(caught.value, ChildLostError) == (deed != "fail")
    assert TOY in str(caught.value)
    assert str(tmp_path / "toy.log") in str(caught.value)
    assert "own output" in str(caught.value)


def test_an_error_shows_the_lines_of_this_run_not_of_an_earlier_one(tmp_path):
    (tmp_path / "toy.log").write_text("an old complaint\n")
    with pytest.raises(ModelError) as caught:
        run_toy(tmp_path, "fail")
    assert "an old complaint" not in str(caught.value)
    assert "an old complaint" in (tmp_path / "toy.log").read_text()


def test_a_module_that_does_not_exist_is_a_model_error(tmp_path):
    with pytest.raises(ModelError, match="no_such_child"):
        run_child(
            "cspine_assets.nnunet.children.no_such_child",
            ToyRequest(deed="answer"),
            result_type=ToyResult,
            env=environment(),
            supervision=Supervision(log_path=tmp_path / "toy.log", on_message=lambda _: None),
        )


def test_a_silent_child_is_ended_and_the_error_says_where_it_was(tmp_path, clock):
    with pytest.raises(ChildLostError, match=r"silent for more than 1000 s.*last heard: at work"):
        run_toy(tmp_path, "sleep", heartbeat_timeout_s=1000, on_message=lambda _: clock.forward(1001))


def test_a_stop_request_ends_the_child_and_its_workers(tmp_path):
    stop = threading.Event()
    with pytest.raises(ChildStoppedError):
        run_toy(tmp_path, "sleep", pid_file=tmp_path / "pids", stop=stop, on_message=lambda _: stop.set())
    assert gone(tmp_path / "pids")


def test_a_listener_that_raises_ends_the_child_and_is_heard(tmp_path):
    def refuse(_):
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        run_toy(tmp_path, "sleep", pid_file=tmp_path / "pids", on_message=refuse)
    assert gone(tmp_path / "pids")


def test_a_child_that_ignores_interrupts_is_killed(tmp_path, monkeypatch, clock):
    monkeypatch.setattr(process, "INTERRUPT_GRACE_S", 0.5)
    limits = {"heartbeat_timeout_s": 1000, "on_message": lambda _: clock.forward(1001)}
    with pytest.raises(ModelError, match="silent"):
        run_toy(tmp_path, "ignore interrupts", pid_file=tmp_path / "pids", **limits)
    assert gone(tmp_path / "pids")


def test_workers_left_behind_by_a_successful_child_are_ended(tmp_path):
    run_toy(tmp_path, "answer", pid_file=tmp_path / "pids")
    assert gone(tmp_path / "pids")


def test_forked_workers_of_a_child_die_of_a_terminate_signal_itself(tmp_path):
    assert run_toy(tmp_path, "terminate a worker").answer == -signal.SIGTERM


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere Python's own default stays")
def test_workers_are_forked_whatever_this_python_would_do():
    script = (
        "import multiprocessing; multiprocessing.set_start_method('forkserver');"  # the default from Python 3.14 on
        "from cspine_assets_tests.nnunet.toy_child import ToyRequest, ToyResult, entry;"
        "entry.run(ToyRequest, lambda request, emit:"
        " ToyResult(answer=0, omp_num_threads=multiprocessing.get_start_method()))"
    )
    child = subprocess.run(
        [sys.executable, "-c", script], input=b'{"deed": ""}', capture_output=True, env=environment(), check=True
    )
    assert b'\\"fork\\"' in child.stdout


def test_two_threads_may_run_children_at_once(tmp_path):
    def one(number):
        return run_toy(tmp_path / str(number), "answer").answer

    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(one, range(4))) == [42] * 4


@pytest.mark.parametrize(
    ("start_method", "module"), [("fork", TOY), ("fork", ELSEWHERE), ("spawn", ELSEWHERE), ("forkserver", TOY)]
)
def test_workers_end_when_child_and_parent_are_killed_at_one_stroke(tmp_path, start_method, module):
    script = (
        "import sys; from pathlib import Path; from cspine_assets_tests.nnunet.test_process import run_toy;"
        "folder, module, deed = sys.argv[1:]; folder = Path(folder);"
        "run_toy(folder, deed, pid_file=folder / 'pids', module=module)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path), module, f"{start_method} a worker"], env=environment()
    )
    pids = tmp_path / "pids"
    assert within(20, lambda: pids.exists() and " " in pids.read_text())
    child = int(pids.read_text().split()[0])
    os.kill(child, signal.SIGSTOP)  # so that it cannot see its parent's death and end its group
    parent.kill()
    parent.wait()
    os.kill(child, signal.SIGKILL)
    assert gone(pids)


def test_a_child_is_started_heard_and_ended_on_a_system_that_is_not_linux(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "waitid", raising=False)
    assert run_toy(tmp_path, "answer", pid_file=tmp_path / "pids", module=ELSEWHERE).answer == 42
    assert gone(tmp_path / "pids")
    for deed, said in (("die", "signal 9"), ("quit", "status 3")):
        with pytest.raises(ChildLostError, match=said):
            run_toy(tmp_path, deed, module=ELSEWHERE)


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGTERM])
def test_when_the_parent_is_killed_child_and_workers_follow(tmp_path, blow):
    script = (
        "import sys; from pathlib import Path; from cspine_assets_tests.nnunet.test_process import run_toy;"
        "folder = Path(sys.argv[1]); run_toy(folder, 'sleep', pid_file=folder / 'pids')"
    )
    parent = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], env=environment())
    pids = tmp_path / "pids"
    assert within(20, lambda: pids.exists() and " " in pids.read_text())
    parent.send_signal(blow)
    parent.wait()
    assert gone(pids)


def test_an_interrupted_parent_ends_the_child(tmp_path):
    script = (
        # whoever starts the tests in the background may have told them to ignore it
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "import sys; from pathlib import Path; from cspine_assets_tests.nnunet.test_process import run_toy;"
        "folder = Path(sys.argv[1]); run_toy(folder, 'sleep', pid_file=folder / 'pids')"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], env=environment(), stderr=subprocess.DEVNULL
    )
    pids = tmp_path / "pids"
    assert within(20, lambda: pids.exists() and " " in pids.read_text())
    parent.send_signal(signal.SIGINT)
    assert parent.wait(timeout=600) != 0
    assert gone(pids)
