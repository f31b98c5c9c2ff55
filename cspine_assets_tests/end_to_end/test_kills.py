"""Daemon, webserver, code server and runs are killed at ten moments, and the work completes by itself.

What stands is whole meanwhile.

The work is the taking in of patients whose volumes were lost, again and again, so that a killed run was in the middle
of a range of patients; nobody starts it a second time.
"""

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import psutil
import pyarrow.parquet as pq
import pytest
import yaml

from cspine_assets.defs.automation import SETTINGS_FILE as AUTOMATION_FILE
from cspine_assets.defs.dead_runs import DRIVER_TAG
from cspine_assets.defs.driver import materialize
from cspine_assets.defs.instance import GPU_POOL, open_instance
from cspine_assets.defs.io import asset_key
from cspine_assets.domain.home import Home, HomeSettings
from cspine_assets.domain.imaging.compression import read_nifti_bytes
from cspine_assets.domain.phantom.cohort import PROVENANCE_FILE, write_cohort
from cspine_assets.domain.phantom.settings import CohortSettings
from cspine_assets.domain.tables.base import validate
from cspine_assets.domain.tables.imaging import Masks, Volumes
from cspine_assets_tests.defs.test_alerts import Receiver, receiving
from cspine_assets_tests.end_to_end.by_itself import has_ticked
from cspine_assets_tests.end_to_end.conftest import CSPINE
from cspine_assets_tests.end_to_end.page import Page
from cspine_assets_tests.processes import alive, command_of, free_port, within

pytestmark = pytest.mark.slow
SEED_VARIABLE, SEED = "CSPINE_KILLS_SEED", 20251021
"""The same kinds in the same order in every run; a person who looks for other failures sets another seed."""
PROGRAMS = {
    "daemon": "dagster._daemon",
    "webserver": "cspine_assets.cli.webserver",
    "code_server": "code-server start",
    "run": "spawn_main",
}
"""What stands in the command of a process of each kind."""
KINDS, EACH, KILLS = tuple(PROGRAMS), 2, 10
PATIENTS = 24
FINISHED = {dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED}
GOING = [status for status in dg.DagsterRunStatus if status not in FINISHED]


MADE = ("midrc", "cohort", "imaging")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as server:
        yield server


@pytest.fixture
def home(tmp_path: Path, receiver: Receiver) -> Home:
    """A home with all but the models; it tells of failed runs, and looks after killed ones every few seconds."""
    download = tmp_path / "download"
    write_cohort(download, CohortSettings(patients=PATIENTS, seed=1, matrix=32, slices_min=5, slices_max=5))
    home = Home(tmp_path / "home")
    home.open(HomeSettings("demo", str(download), str(download / PROVENANCE_FILE)))
    with open_instance(home) as instance:
        assert not any(report.failures for report in materialize(home, instance=instance, schemas=MADE))
    (home.root / AUTOMATION_FILE).write_text(
        yaml.safe_dump({"alerts": {"webhook": receiver.address}, "look_every_s": 5})
    )
    path = home.dagster / "dagster.yaml"
    settings = yaml.safe_load(path.read_text())
    settings["run_monitoring"] |= {"poll_interval_seconds": 3, "free_slots_after_run_end_seconds": 3}
    settings["run_retries"]["max_retries"] = KILLS
    path.write_text(yaml.safe_dump(settings))
    return home


@dataclass
class Platform:
    """`cspine up` of a home, and what is done to it."""

    home: Home
    supervisor: psutil.Process
    page: Page
    instance: dg.DagsterInstance
    began: float = field(default_factory=time.time)
    in_the_middle: int = 0

    def say(self, what: str) -> None:
        print(f"{time.time() - self.began:6.1f} s: {what}", flush=True)

    def victim(self, kind: str) -> psutil.Process | None:
        """The process of a kind that lives now; a run is what the code server has started."""
        try:
            family = [child for child in self.supervisor.children(recursive=True) if alive(child)]
            for child in family:
                command = command_of(child)
                if PROGRAMS[kind] in command and (kind == "run" or child.ppid() == self.supervisor.pid):
                    return child
        except psutil.NoSuchProcess:
            pass
        return None

    def idle(self) -> bool:
        """Whether no run is going or about to be started again."""
        if self.instance.get_runs(dg.RunsFilter(statuses=GOING), limit=1):
            return False
        failed = self.instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE]))
        # a run is failed an instant before it says whether it will be tried again
        return all(
            run.tags.get("dagster/will_retry") == "false" or "dagster/auto_retry_run_id" in run.tags for run in failed
        )

    def written(self) -> int:
        """Patients whose volumes stand."""
        return len(list(self.home.lake.folder(Volumes).glob("[!.]*.parquet")))

    def start_work(self) -> None:
        """Loses every volume and its row, and asks for the taking in; not if the work before is still going on."""
        if not self.idle():
            return
        for path in self.home.lake.folder(Volumes).glob("*.parquet"):
            path.unlink()
        for path in self.home.volumes.rglob("*[0-9].nii.gz"):
            path.unlink()
        assert within(60, self.page.answers)
        self.say(f"asked for run {self.page.launch_job('take_in')}")

    def kill(self, kind: str, random_: random.Random) -> None:
        """Kills a process of a kind when a random number of patients is written; a run when others are not."""
        victim = None
        while victim is None:
            self.start_work()
            going = self._comes_to(random_.randrange(PATIENTS))
            if kind != "run":
                assert within(60, lambda: self.victim(kind))
            elif not going:
                assert within(120, self.idle)
                continue
            victim = self.victim(kind)
        if kind == "run":
            self._claim_a_slot()
        victim.kill()
        written = self.written()
        self.in_the_middle += kind == "run" and 0 < written < PATIENTS
        self.say(f"killed {kind} {victim.pid}, {written} of {PATIENTS} patients written")

    def _comes_to(self, patients: int) -> bool:
        """Whether a run comes to have written so many patients, with others still to do."""
        assert within(90, lambda: self.idle() or (self.victim("run") and self.written() >= patients))
        return self.written() < PATIENTS

    def _claim_a_slot(self) -> None:
        """Has the run hold a place on a device, as one that trains or predicts does."""
        for run in self.instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])):
            if run.job_name == "take_in":
                self.instance.event_log_storage.claim_concurrency_slot(GPU_POOL, run.run_id, "take_in_source")


@pytest.fixture
def platform(home: Home, tmp_path: Path) -> Iterator[Platform]:
    port, said = free_port(), tmp_path / "said"
    process = subprocess.Popen([CSPINE, "up", "--home", str(home.root), "--port", str(port)], stdout=said.open("w"))
    supervisor = psutil.Process(process.pid)
    try:
        with open_instance(home) as instance:
            platform = Platform(home, supervisor, Page(home, port, process), instance)
            assert within(120, platform.page.answers), said.read_text()
            assert platform.page.addresses == {"127.0.0.1"}, "on this machine alone"
            # what has failed before the first look is not told: the sensor begins with the newest event
            assert within(90, lambda: has_ticked(platform.page.ask, "webhook_on_failed_run", since=0))
            yield platform
    finally:
        family = supervisor.children(recursive=True)
        process.send_signal(signal.SIGTERM)
        process.wait(600)
        print(said.read_text())
    assert within(20, lambda: not any(alive(one) for one in family))


def drawn_kinds(random_: random.Random) -> list[str]:
    """Ten kinds, each two times at least, in random order."""
    kinds = [*KINDS * EACH, *random_.choices(KINDS, k=KILLS - EACH * len(KINDS))]
    random_.shuffle(kinds)
    return kinds


def test_ten_kills_leave_what_stands_whole_and_the_work_completes_by_itself(platform: Platform, receiver: Receiver):
    seed = int(os.environ.get(SEED_VARIABLE) or SEED)
    random_ = random.Random(seed)
    kinds = drawn_kinds(random_)
    platform.say(f"{SEED_VARIABLE}={seed} kills {', '.join(kinds)}")
    for kind in kinds:
        platform.kill(kind, random_)
    assert platform.in_the_middle, "no run was killed in the middle of its range"
    assert within(240, platform.idle)
    platform.say("everything is done")

    each_one_completed(platform)
    nothing_is_lost_or_half_written(platform)
    killed = {run.run_id for run in platform.instance.get_runs() if run.job_name == "take_in" and not run.is_success}
    assert within(90, lambda: {body["run_id"] for body in receiver.bodies} == killed)
    assert {(body["event"], body["job"]) for body in receiver.bodies} == {("run_failed", "take_in")}
    assert within(30, lambda: not platform.instance.event_log_storage.get_concurrency_info(GPU_POOL).claimed_slots)


def each_one_completed(platform: Platform) -> None:
    """Every taking in that was asked for came to its end, however often its run was killed on the way."""
    runs = platform.instance.get_runs()
    asked: dict[str, list[str]] = {}
    for run in sorted(runs, key=lambda run: int(run.tags.get("dagster/retry_number", 0))):
        if run.job_name == "take_in":
            asked.setdefault(run.root_run_id or run.run_id, []).append(run.status.value)
    for run_id, statuses in asked.items():
        platform.say(f"run {run_id}: {', '.join(statuses)}")
        assert statuses[-1] == "SUCCESS"
        assert set(statuses[:-1]) <= {"FAILURE"}
    assert any(len(statuses) > 1 for statuses in asked.values())
    inner = [run for run in runs if DRIVER_TAG in run.tags]
    assert inner
    assert not any(run.tags.get("dagster/will_retry") == "true" for run in inner)
    assert {run.status for run in runs} <= {dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE}


def nothing_is_lost_or_half_written(platform: Platform) -> None:
    """Every patient's rows are there once, every file is whole, and nobody's leftovers are taken for either."""
    home, instance = platform.home, platform.instance
    everybody = set(instance.get_dynamic_partitions("patient"))
    assert len(everybody) == PATIENTS
    for table in (Volumes, Masks):
        rows = home.lake.read(table)
        validate(table, rows)
        assert set(rows["patient_id"]) == everybody == instance.get_materialized_partitions(asset_key(table))
        assert rows["exam_id"].is_unique
        assert rows["status"].eq("ok").all()
    for path in home.lake.root.rglob("[!.]*.parquet"):
        pq.read_table(path)
    volumes = {home.absolute(path) for path in home.lake.read(Volumes)["path"]}
    masks = {home.absolute(path) for path in home.lake.read(Masks)["path"].dropna()}
    assert set(home.volumes.rglob("[!.]*.nii.gz")) == volumes | masks
    for path in volumes | masks:
        assert read_nifti_bytes(path, subject=path.name)
    assert not list((home.root / "scratch").iterdir())
