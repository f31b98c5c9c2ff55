"""Alerts reach a receiver, once, and hold no patient's data."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import dagster as dg
import pytest
import requests

from cspine_assets.definitions import defs
from cspine_assets.defs.alerts import WILL_RETRY_TAG, alert_sensors, run_failed
from cspine_assets.defs.automation import AutomationSettings
from cspine_assets.defs.io import asset_key
from cspine_assets.domain.tables.benchmark import History

PATIENT = "593973-000072"


class Receiver(ThreadingHTTPServer):
    """A webhook's receiving end on this machine; it answers with a status that a test may change."""

    def __init__(self) -> None:
        self.bodies: list[dict] = []
        self.status = 200
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook"


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.server.status == 200:
            self.server.bodies.append(json.loads(body))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        pass


@contextmanager
def receiving() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join(5)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as server:
        yield server


@pytest.fixture
def ephemeral() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def sensors(webhook: str | None) -> dict[str, dg.SensorDefinition]:
    return {
        sensor.name: sensor
        for sensor in alert_sensors(AutomationSettings.model_validate({"alerts": {"webhook": webhook}}))
    }


@dg.op
def _fail_for_a_patient():
    raise dg.Failure(f"{PATIENT}: expected a mask")


@dg.job
def failing():
    _fail_for_a_patient()


def tell_of_a_failed_run(webhook: str | None, instance: dg.DagsterInstance):
    result = failing.execute_in_process(instance=instance, raise_on_error=False)
    context = dg.build_run_status_sensor_context(
        sensor_name="webhook_on_failed_run",
        dagster_instance=instance,
        dagster_run=result.dagster_run,
        dagster_event=result.get_run_failure_event(),
    ).for_run_failure()
    return result.dagster_run, sensors(webhook)["webhook_on_failed_run"](context)


def test_a_failed_run_is_told_without_its_reason(receiver: Receiver, ephemeral: dg.DagsterInstance):
    run, _ = tell_of_a_failed_run(receiver.address, ephemeral)
    (body,) = receiver.bodies
    assert (body["event"], body["job"], body["run_id"]) == ("run_failed", "failing", run.run_id)
    assert set(body) == {"event", "text", "time", "run_id", "job"}
    assert PATIENT not in json.dumps(body)


def test_a_killed_run_that_is_started_again_says_so(ephemeral: dg.DagsterInstance):
    for tags, told in (({}, False), ({WILL_RETRY_TAG: "false"}, False), ({WILL_RETRY_TAG: "true"}, True)):
        run = ephemeral.create_run_for_job(failing, tags=tags)
        assert ("is started again by itself" in run_failed(run).text) == told


def test_without_an_address_nobody_is_told(ephemeral: dg.DagsterInstance):
    _, skipped = tell_of_a_failed_run(None, ephemeral)
    assert "automation.yaml" in str(skipped.skip_message)


class Checks:
    """The sensor of failed checks as the daemon calls it, and a check that a test turns red and green."""

    def __init__(self, webhook: str, instance: dg.DagsterInstance):
        self.sensor, self.instance = sensors(webhook)["webhook_on_failed_check"], instance
        self.cursor: str | None = None

    def turn(self, passed: bool, severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.WARN) -> None:
        self.instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(
                asset_key=asset_key(History),
                check_name="no_drop",
                passed=passed,
                severity=severity,
                metadata={"drops": dg.MetadataValue.json([PATIENT])},
            )
        )

    def tick(self) -> None:
        with dg.build_sensor_context(
            instance=self.instance, cursor=self.cursor, repository_def=defs().get_repository_def()
        ) as context:
            try:
                self.sensor(context)
            finally:
                self.cursor = context.cursor


def test_a_failed_check_is_told_once_until_it_passes_again(receiver: Receiver, ephemeral: dg.DagsterInstance):
    checks = Checks(receiver.address, ephemeral)
    checks.tick()
    assert receiver.bodies == []
    checks.turn(False)
    for _ in range(20):
        checks.tick()
    (body,) = receiver.bodies
    assert (body["asset"], body["check"], body["severity"]) == ("evaluation/history", "no_drop", "WARN")
    assert PATIENT not in json.dumps(body)

    checks.turn(False, dg.AssetCheckSeverity.ERROR)
    checks.tick()
    checks.turn(True)
    checks.tick()
    checks.turn(False)
    checks.tick()
    assert [body["severity"] for body in receiver.bodies] == ["WARN", "ERROR", "WARN"]


def test_a_check_that_has_not_looked_stops_no_alert_and_is_not_told_twice(
    receiver: Receiver, ephemeral: dg.DagsterInstance
):
    """A run plans its checks before it makes anything; where the asset then fails, none of them ever looks."""

    @dg.asset(key=asset_key(History), check_specs=[dg.AssetCheckSpec("no_drop", asset=asset_key(History))])
    def failing_asset():
        raise dg.Failure("no")

    checks = Checks(receiver.address, ephemeral)
    dg.materialize([failing_asset], instance=ephemeral, raise_on_error=False)
    checks.tick()
    assert receiver.bodies == []
    checks.turn(False)
    checks.tick()
    dg.materialize([failing_asset], instance=ephemeral, raise_on_error=False)
    checks.tick()
    checks.turn(False)
    checks.tick()
    assert [body["severity"] for body in receiver.bodies] == ["WARN"]


def test_a_receiver_that_refuses_makes_the_tick_fail_and_is_told_later(
    receiver: Receiver, ephemeral: dg.DagsterInstance
):
    checks = Checks(receiver.address, ephemeral)
    checks.turn(False)
    receiver.status = 500
    with pytest.raises(requests.HTTPError):
        checks.tick()
    receiver.status = 200
    checks.tick()
    assert len(receiver.bodies) == 1


def test_an_address_switches_the_webhook_on_and_mail_settings_add_the_mail(monkeypatch: pytest.MonkeyPatch):
    off, on = sensors(None), sensors("https://example.org/hook")
    assert {sensor.default_status for sensor in off.values()} == {dg.DefaultSensorStatus.STOPPED}
    assert {sensor.default_status for sensor in on.values()} == {dg.DefaultSensorStatus.RUNNING}
    assert "email_on_failed_run" not in off
    mail = {"sender": "a@example.org", "receivers": ["b@example.org"], "smtp_host": "mail.example.org"}
    names = [sensor.name for sensor in alert_sensors(AutomationSettings.model_validate({"alerts": {"email": mail}}))]
    assert "email_on_failed_run" in names
