"""What runs by itself, by real ticks: asked for once when something has changed, and never in a storm."""

import datetime
import os
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.sensor_definition import SensorExecutionData

from cspine_assets.definitions import defs
from cspine_assets.defs import jobs
from cspine_assets.defs.attention import at_work
from cspine_assets.defs.automation import SETTINGS_FILE, Reevaluation, read_automation
from cspine_assets.defs.io import asset_key
from cspine_assets.defs.jobs import TRAINING, WORK_TAG, reevaluate, reevaluated, remake, take_in
from cspine_assets.defs.resources import StudyResource
from cspine_assets.defs.schedules import reevaluation_schedule
from cspine_assets.defs.sensors import watching
from cspine_assets.defs.stages import Order
from cspine_assets.defs.writer import is_held, sole_writer
from cspine_assets.domain.errors import HomeError
from cspine_assets.domain.home import Home
from cspine_assets.domain.tables.imaging import Volumes
from cspine_assets_tests.defs.test_driver import spoil

EVERY_MINUTE = Reevaluation(cron="* * * * *", time_zone="Europe/Berlin")


@pytest.fixture
def ephemeral():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


class Ticks:
    """A sensor as the daemon calls it: again and again, with the cursor that it left."""

    def __init__(self, sensor: str, home: Home, instance: dg.DagsterInstance):
        self.sensor = next(one for one in watching(look_every_s=60) if one.name == sensor)
        self.home, self.instance = home, instance
        self.cursor: str | None = None

    def __call__(self) -> SensorExecutionData:
        with dg.build_sensor_context(
            instance=self.instance,
            cursor=self.cursor,
            repository_def=defs().get_repository_def(),
            resources={"study": StudyResource(home=str(self.home.root))},
        ) as context:
            data = self.sensor.evaluate_tick(context)
        self.cursor = data.cursor if data.cursor is not None else self.cursor
        return data


def asked(data: SensorExecutionData) -> list[str]:
    return [str(request.job_name) for request in data.run_requests or []]


def touch(download: Path, patient_id: str) -> None:
    for path in (download / "DukeCSpineSeg_imaging_files").rglob("*.zip"):
        if patient_id in str(path):
            os.utime(path, (1, 1))


def test_a_new_download_is_taken_in_when_it_has_come_to_rest(home: Home, ephemeral, own_download: Path):
    tick = Ticks("new_data", home, ephemeral)
    first = tick()
    assert asked(first) == []
    assert "come to rest" in str(first.skip_message)
    (own_download / "still copying").touch()
    assert asked(tick()) == []
    assert asked(tick()) == ["take_in"]
    assert asked(tick()) == []


def test_a_source_that_is_gone_is_a_reason_not_a_failure(home: Home, ephemeral, own_download: Path):
    own_download.rename(own_download.with_name("elsewhere"))
    data = Ticks("new_data", home, ephemeral)()
    assert asked(data) == []
    assert "download" in str(data.skip_message)


def test_nothing_is_asked_for_while_somebody_is_at_work_and_nothing_is_forgotten(home: Home, ephemeral):
    tick = Ticks("new_data", home, ephemeral)
    tick()
    with sole_writer(home):
        held = tick()
        assert asked(held) == []
        assert "at work" in str(held.skip_message)
        assert is_held(home)
    assert asked(tick()) == ["take_in"]


def test_nothing_is_asked_for_while_a_run_is_waiting(home: Home, ephemeral: dg.DagsterInstance):
    run = ephemeral.create_run_for_job(take_in, tags={WORK_TAG: "true"}, status=dg.DagsterRunStatus.STARTING)
    assert run.run_id in str(at_work(ephemeral, home))
    ephemeral.report_run_canceled(run)
    assert at_work(ephemeral, home) is None


def test_a_second_writer_is_refused(home: Home):
    with sole_writer(home), pytest.raises(HomeError, match="at work"), sole_writer(home, wait_seconds=0.1):
        pass


@pytest.mark.parametrize("sensor", ["new_models", "new_external_predictions"])
def test_without_models_nothing_is_evaluated(sensor, home: Home, ephemeral):
    data = Ticks(sensor, home, ephemeral)()
    assert asked(data) == []
    assert "models" in str(data.skip_message)


def test_no_work_that_runs_by_itself_trains_a_model():
    assert not reevaluated() & TRAINING
    names = {table.full_name() for table in reevaluated()}
    assert {"prediction.exam_predictions", "evaluation.history", "warehouse.database"} <= names
    assert {"prediction.external_predictions", "evaluation.leaderboard", "evaluation.exam_metrics"} <= names
    assert not any(name.startswith(("midrc.", "cohort.", "imaging.")) for name in names)


def take_in_now(home: Home, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    return take_in.execute_in_process(
        instance=instance, resources={"study": StudyResource(home=str(home.root))}, raise_on_error=False
    )


def test_twenty_ticks_with_a_broken_patient_ask_once_for_each_change_and_never_try_the_patient_again(
    home: Home, instance: dg.DagsterInstance, own_download: Path
):
    bad = sorted(path.name for path in (own_download / "DukeCSpineSeg_imaging_files" / "case_image").iterdir())[3]
    spoil(own_download, bad)
    tick, results = Ticks("new_data", home, instance), []
    for number in range(20):
        if number == 10:
            touch(own_download, min(path.name for path in home.volumes.iterdir()))
        results += [take_in_now(home, instance) for _ in asked(tick())]
        if number == 9:
            tried = home.lake.path(Volumes, bad).stat().st_mtime_ns
    assert [result.success for result in results] == [False, True]
    assert home.lake.path(Volumes, bad).stat().st_mtime_ns == tried
    assert home.lake.read(Volumes, [bad])["status"].unique().tolist() == ["failed"]
    standing = instance.get_materialized_partitions(asset_key(Volumes))
    assert len(standing) == 7
    assert bad not in standing


def schedule_tick(home: Home, instance: dg.DagsterInstance):
    with dg.build_schedule_context(
        instance=instance,
        scheduled_execution_time=datetime.datetime(2026, 11, 23, 3, 0, tzinfo=datetime.UTC),
        resources={"study": StudyResource(home=str(home.root))},
    ) as context:
        return reevaluation_schedule(EVERY_MINUTE).evaluate_tick(context)


def test_the_schedule_asks_for_a_reevaluation_unless_somebody_is_at_work(home: Home, instance: dg.DagsterInstance):
    assert len(schedule_tick(home, instance).run_requests) == 1
    with sole_writer(home):
        assert "at work" in str(schedule_tick(home, instance).skip_message)


def test_when_the_schedule_fires_is_set_in_the_home(home: Home, monkeypatch: pytest.MonkeyPatch):
    (home.root / SETTINGS_FILE).write_text("reevaluation: {cron: '30 4 * * *', time_zone: Europe/Berlin}\n")
    monkeypatch.setenv("CSPINE_HOME", str(home.root))
    (schedule,) = defs().get_repository_def().schedule_defs
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("30 4 * * *", "Europe/Berlin")
    assert schedule.job_name == "reevaluate"


@pytest.mark.parametrize(
    "text", ["reevaluation: {chron: '* * * * *'}", "too_much: 2", "look_every_s: 0", "a: [", "alerts: {webhook: x}"]
)
def test_a_setting_that_is_not_known_is_one_clear_error(home: Home, text: str):
    (home.root / SETTINGS_FILE).write_text(text)
    with pytest.raises(HomeError, match=SETTINGS_FILE):
        read_automation(home)


def test_how_often_sensors_look_is_set_in_the_home(home: Home, monkeypatch: pytest.MonkeyPatch):
    (home.root / SETTINGS_FILE).write_text("look_every_s: 5\n")
    monkeypatch.setenv("CSPINE_HOME", str(home.root))
    intervals = {one.name: one.minimum_interval_seconds for one in defs().get_repository_def().sensor_defs}
    assert intervals.pop("followers") == 30, "what is made in the meantime is followed by one run"
    assert len(intervals) > 4
    assert set(intervals.values()) == {5}


@pytest.mark.parametrize("force", [False, True])
def test_a_reevaluation_is_forced_by_its_configuration_and_not_otherwise(
    home: Home, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, force: bool
):
    orders: list[Order] = []
    monkeypatch.setattr(jobs, "models_stand", lambda _study: True)
    monkeypatch.setattr(jobs, "refuse_learned_test", lambda _study: None)
    monkeypatch.setattr(jobs, "carry_out", lambda order, *_, **__: orders.append(order) or [])
    result = reevaluate.execute_in_process(
        instance=instance,
        resources={"study": StudyResource(home=str(home.root))},
        run_config={"ops": {"reevaluate_study": {"config": {"force": force}}}},
    )
    assert [(order.force, order.retry_failed) for order in orders] == [(force, force)]
    assert orders[0].tables == reevaluated()
    assert orders[0].evaluation_id == result.run_id


def remake_named(home: Home, instance: dg.DagsterInstance, *names: str) -> dg.ExecuteInProcessResult:
    return remake.execute_in_process(
        instance=instance,
        resources={"study": StudyResource(home=str(home.root))},
        run_config={"ops": {"remake_tables": {"config": {"names": list(names)}}}},
        raise_on_error=False,
    )


def test_named_tables_and_schemas_are_made_again_and_what_is_made_from_them_where_it_is_stale(
    home: Home, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
):
    orders: list[Order] = []
    monkeypatch.setattr(jobs, "carry_out", lambda order, *_, **__: orders.append(order) or [])
    assert remake_named(home, instance, "evaluation.leaderboard", "imaging").success
    named, below = orders
    names = {table.full_name() for table in named.tables or ()}
    assert names == {"evaluation.leaderboard", "imaging.volumes", "imaging.masks", "imaging.header_findings"}
    assert (named.force, below.force) == (True, False)
    assert {"warehouse.database", "evaluation.exam_metrics"} <= {table.full_name() for table in below.tables or ()}
    assert not TRAINING & (below.tables or frozenset()), "a training starts only where it is named"
    for wrong in ("evaluation.leaderbord", ""):
        failed = remake_named(home, instance, *([wrong] if wrong else []))
        (step,) = [event for event in failed.all_events if event.is_step_failure]
        assert "expected names of tables" in str(step.step_failure_data.user_failure_data.description)
