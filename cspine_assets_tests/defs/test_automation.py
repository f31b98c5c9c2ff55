"""What runs by itself, by real ticks on an ephemeral instance."""

import datetime
from pathlib import Path

import dagster as dg
import pytest

from cspine_assets.definitions import defs
from cspine_assets.defs.resources import StudyResource
from cspine_assets.defs.schedules import weekly_reevaluation
from cspine_assets.defs.sensors import new_patients
from cspine_assets.domain.home import Home


@pytest.fixture
def ephemeral():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def tick(home: Home, instance: dg.DagsterInstance):
    context = dg.build_sensor_context(
        instance=instance,
        repository_def=defs().get_repository_def(),
        resources={"study": StudyResource(home=str(home.root))},
    )
    return new_patients(context)


def test_the_sensor_registers_the_patients_of_a_new_source(home: Home, ephemeral: dg.DagsterInstance):
    result = tick(home, ephemeral)
    assert isinstance(result, dg.SensorResult)
    (request,) = result.dynamic_partitions_requests
    assert len(request.partition_keys) == 8
    assert list(request.partition_keys) == sorted(request.partition_keys)
    assert len(result.run_requests) == 1


def test_the_sensor_says_nothing_when_nobody_is_new(home: Home, ephemeral: dg.DagsterInstance):
    (request,) = tick(home, ephemeral).dynamic_partitions_requests
    ephemeral.add_dynamic_partitions("patient", list(request.partition_keys))
    assert isinstance(tick(home, ephemeral), dg.SkipReason)


def test_the_sensor_names_only_who_is_new(home: Home, ephemeral: dg.DagsterInstance):
    (request,) = tick(home, ephemeral).dynamic_partitions_requests
    *known, new = request.partition_keys
    ephemeral.add_dynamic_partitions("patient", known)
    (again,) = tick(home, ephemeral).dynamic_partitions_requests
    assert list(again.partition_keys) == [new]


def test_a_source_that_is_gone_is_a_reason_not_a_failure(home: Home, ephemeral: dg.DagsterInstance, own_download: Path):
    own_download.rename(own_download.with_name("elsewhere"))
    skipped = tick(home, ephemeral)
    assert isinstance(skipped, dg.SkipReason)
    assert "download" in str(skipped.skip_message)


def test_the_schedule_asks_for_a_reevaluation_on_mondays(ephemeral: dg.DagsterInstance):
    monday = datetime.datetime(2026, 11, 23, 3, 0, tzinfo=datetime.UTC)
    context = dg.build_schedule_context(instance=ephemeral, scheduled_execution_time=monday)
    tick_data = weekly_reevaluation.evaluate_tick(context)
    assert len(tick_data.run_requests) == 1
    assert weekly_reevaluation.job_name == "reevaluate"
    assert weekly_reevaluation.cron_schedule == "0 3 * * 1"
