"""The instance of a home loads with the settings written for it, and with the user's own."""

from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import TickStatus

from cspine_assets.defs.driver import MAX_RETRIES_TAG
from cspine_assets.defs.instance import CRASH_RETRIES, GPU_POOL, TICK_DAYS, index_kept_open, open_instance
from cspine_assets.domain.errors import HomeError
from cspine_assets.domain.home import Home, home_root


def test_the_written_settings_are_those_that_dagster_goes_by(instance: dg.DagsterInstance, home: Home):
    queue = instance.get_concurrency_config()
    assert queue.run_queue_config.max_concurrent_runs >= 2
    assert queue.pool_config.default_pool_limit == 1
    assert instance.event_log_storage.get_concurrency_info(GPU_POOL).slot_count >= 1
    assert instance.run_monitoring_enabled
    assert instance.run_monitoring_settings["free_slots_after_run_end_seconds"] == 60
    assert (instance.run_retries_enabled, instance.run_retries_max_retries) == (True, CRASH_RETRIES)
    assert not instance.telemetry_enabled
    for kind in (InstigatorType.SENSOR, InstigatorType.SCHEDULE, InstigatorType.AUTO_MATERIALIZE):
        kept = instance.get_tick_retention_settings(kind)
        assert {status.value.lower(): days for status, days in kept.items()} == TICK_DAYS
    assert (home.dagster / "dagster.yaml").exists()


@dg.op
def _fail():
    raise dg.Failure("no mask")


@dg.job
def failing():
    _fail()


def test_a_run_that_was_killed_is_started_again_and_one_that_failed_by_its_own_doing_is_not(
    instance: dg.DagsterInstance,
):
    killed, driven = (
        instance.create_run_for_job(failing, tags=tags, status=dg.DagsterRunStatus.STARTED)
        for tags in ({}, {MAX_RETRIES_TAG: "0"})
    )
    for run in (killed, driven):
        instance.report_run_failed(run)
    failed = failing.execute_in_process(instance=instance, raise_on_error=False).dagster_run
    retried = [instance.get_run_by_id(run.run_id).tags["dagster/will_retry"] for run in (killed, driven, failed)]
    assert retried == ["true", "false", "false"]


def test_settings_that_stand_are_the_users(home: Home):
    home.dagster.mkdir(parents=True)
    (home.dagster / "dagster.yaml").write_text(
        yaml.safe_dump({"telemetry": {"enabled": False}, "retention": {"schedule": {"purge_after_days": 5}}})
    )
    with open_instance(home) as instance:
        kept = instance.get_tick_retention_settings(InstigatorType.SCHEDULE)
    assert kept[TickStatus.SUCCESS] == 5


def test_events_are_there_at_once_while_the_index_is_kept_open_and_their_log_is_gone_after(
    instance: dg.DagsterInstance, home: Home
):
    log = Path(instance.event_log_storage.path_for_shard("index")).with_suffix(".db-wal")
    with index_kept_open(instance):
        for key in ("a", "b"):
            instance.report_runless_asset_event(dg.AssetMaterialization("scan", partition=key))
        assert log.stat().st_size > 0
        with open_instance(home) as another:
            assert another.get_materialized_partitions(dg.AssetKey("scan")) == {"a", "b"}
    assert not log.exists()
    assert instance.get_materialized_partitions(dg.AssetKey("scan")) == {"a", "b"}


def test_an_instance_without_files_has_no_index_to_keep_open():
    with dg.DagsterInstance.ephemeral() as instance, index_kept_open(instance):
        instance.report_runless_asset_event(dg.AssetMaterialization("scan"))


def test_damaged_databases_are_told_with_the_way_back(tmp_path: Path):
    home = Home(tmp_path / "home")
    open_instance(home).dispose()
    for file in home.dagster.rglob("*.db"):
        file.write_bytes(b"no database" * 500)
    with pytest.raises(HomeError, match=r"Move the folder aside and call `cspine materialize`"):
        open_instance(home)


@pytest.mark.parametrize("content", [b"a: [", b"just text", b"telemetry: {enabled: 7}", b"\xff\xfe\x00"])
def test_damaged_settings_are_told_with_the_way_back(tmp_path: Path, content: bytes):
    home = Home(tmp_path / "home")
    home.dagster.mkdir(parents=True)
    (home.dagster / "dagster.yaml").write_bytes(content)
    with pytest.raises(HomeError, match=r"dagster\.yaml: expected Dagster's settings.*delete it"):
        open_instance(home)


@pytest.mark.parametrize("name", ["a b", "ü", "#", '"', "'", "&=;", "{x}", "[a]", "$HOME", "漢"])
def test_a_home_may_have_any_printable_name(tmp_path: Path, name: str):
    root = home_root(tmp_path / "in" / f"home {name}")
    with open_instance(Home(root)) as instance:
        instance.add_dynamic_partitions("patient", ["p"])
        assert instance.get_dynamic_partitions("patient") == ["p"]
    assert [path.name for path in (tmp_path / "in").iterdir()] == [root.name]
