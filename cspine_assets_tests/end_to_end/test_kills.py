"""Daemon, webserver and runs are killed at ten random moments: what stands is whole, and the work completes."""

import os
import random
import signal
import socket
import subprocess
import time
from pathlib import Path

import dagster as dg
import psutil
import pytest

from cspine_assets.defs.instance import open_instance
from cspine_assets.domain.home import Home, HomeSettings
from cspine_assets.domain.phantom.cohort import write_cohort
from cspine_assets.domain.phantom.settings import CohortSettings
from cspine_assets.domain.tables.base import validate
from cspine_assets.domain.tables.midrc import NODES
from cspine_assets_tests.end_to_end.conftest import CSPINE, within
from cspine_assets_tests.end_to_end.test_demo import Page, _answers

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
SEED, KILLS = 20251021, 10
TABLES = [node.table.full_name().split(".") for node in NODES]
FORCED = {"cspine/force": "true"}


def victims(supervisor: psutil.Process, kind: str) -> list[psutil.Process]:
    """The processes of a kind that live now; a run is what the daemon's code server has started."""
    family = [child for child in supervisor.children(recursive=True) if child.status() != psutil.STATUS_ZOMBIE]
    named = {"webserver": "dagster_webserver", "daemon": "dagster._daemon"}
    if kind in named:
        return [child for child in family if named[kind] in child.cmdline() and child.ppid() == supervisor.pid]
    return [child for child in family if "spawn_main" in " ".join(child.cmdline())]


def launch_all(page: Page) -> bool:
    try:
        for path in TABLES:
            page.launch(path, FORCED)
    except (OSError, KeyError, TypeError):  # the page is just being started again
        return False
    return True


def test_ten_kills_leave_what_stands_whole_and_the_work_completes(tmp_path: Path):
    home, random_ = Home(tmp_path / "home"), random.Random(SEED)
    source = write_cohort(tmp_path / "download", CohortSettings(patients=12, seed=1, tables_only=True)).destination
    home.open(HomeSettings(profile="demo", source=str(source)))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [CSPINE, "up", "--home", str(home.root), "--port", str(port)], stdout=(tmp_path / "said").open("w")
    )
    supervisor, page = psutil.Process(process.pid), Page(port, process)
    start = time.monotonic()
    try:
        assert within(120, lambda: _answers(page)), (tmp_path / "said").read_text()
        killed: list[str] = []
        while len(killed) < KILLS:
            launch_all(page)
            kind = random_.choice(["daemon", "webserver", "run"])
            time.sleep(random_.uniform(0.5, 4))
            if not within(30, lambda wanted=kind: victims(supervisor, wanted)):
                continue
            victim = victims(supervisor, kind)[:1]
            for one in victim:
                one.kill()
                killed.append(kind)
                print(f"{time.monotonic() - start:6.1f} s: killed {kind} {one.pid}")
        assert within(120, lambda: _answers(page) and launch_all(page))
        with open_instance(home) as instance:
            going = [s for s in dg.DagsterRunStatus if s.value not in ("SUCCESS", "FAILURE", "CANCELED")]
            assert within(240, lambda: not instance.get_runs(dg.RunsFilter(statuses=going)))
            last = instance.get_runs(limit=len(TABLES))
            print(f"{time.monotonic() - start:6.1f} s: {[run.status.value for run in last]}")
            assert {run.status for run in last} == {dg.DagsterRunStatus.SUCCESS}
        for node in NODES:
            validate(node.table, home.lake.read(node.table))
    finally:
        family = supervisor.children(recursive=True)
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        print((tmp_path / "said").read_text())
    assert within(20, lambda: not any(psutil.pid_exists(one.pid) and one.status() != "zombie" for one in family))
    assert os.listdir(home.lake.root)  # noqa: PTH208 - only whether there is anything
