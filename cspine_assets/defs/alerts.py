"""Alerts: whom to tell when a run has failed or a check is red, off until ``automation.yaml`` says whom.

Add a way of telling here. No alert holds a patient's data, nor an error's text, which may name a patient: it says
which run and which check, and the page says the rest.
"""

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime

import dagster as dg
import requests
from pydantic import BaseModel, ConfigDict

from cspine_assets.defs.automation import AutomationSettings, Email, read_automation
from cspine_assets.domain.home import Home, home_root

PASSWORD_VARIABLE = "CSPINE_SMTP_PASSWORD"  # noqa: S105 - the name of a variable
WILL_RETRY_TAG = "dagster/will_retry"
TIMEOUT_SECONDS = 10


class AlertBody(BaseModel):
    """What is posted to a webhook, as JSON.

    Attributes:
        event: ``run_failed`` or ``check_failed``.
        text: One sentence for people; a chat shows it as it is.
        time: When, ISO 8601 in UTC.
        run_id: The run; its page tells what happened.
        job: Job of the run.
        asset: Asset of the check, as ``schema/table``.
        check: Name of the check.
        severity: ``WARN`` or ``ERROR``.
    """

    model_config = ConfigDict(frozen=True)

    event: str
    text: str
    time: str
    run_id: str
    job: str | None = None
    asset: str | None = None
    check: str | None = None
    severity: str | None = None


def post_alert(webhook: str, body: AlertBody) -> None:
    """Posts an alert; a receiver that does not answer with success makes the sensor's tick fail, in sight.

    Raises:
        requests.RequestException: The receiver could not be reached, or refused.
    """
    requests.post(webhook, json=body.model_dump(exclude_none=True), timeout=TIMEOUT_SECONDS).raise_for_status()


def run_failed(run: dg.DagsterRun) -> AlertBody:
    """Returns the alert of a failed run; it says so where the run was killed and is started again."""
    again = " It was killed, and is started again by itself." if run.tags.get(WILL_RETRY_TAG) == "true" else ""
    return AlertBody(
        event="run_failed",
        text=f"cspine-assets: run {run.run_id} of {run.job_name} has failed.{again}",
        time=_now(),
        run_id=run.run_id,
        job=run.job_name,
    )


def failed_checks(instance: dg.DagsterInstance, keys: list[dg.AssetCheckKey]) -> Mapping[str, AlertBody | None]:
    """Returns an alert for each check, by its name, whose latest result is not a success.

    It is None for a check that was to look and has not: its run goes on, or ended before.
    """
    records = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    alerts: dict[str, AlertBody | None] = {}
    for key, record in records.items():
        evaluation = record.evaluation
        if not isinstance(evaluation, dg.AssetCheckEvaluation):
            alerts[key.to_user_string()] = None
            continue
        if evaluation.passed:
            continue
        asset, severity = key.asset_key.to_user_string(), evaluation.severity.value
        alerts[key.to_user_string()] = AlertBody(
            event="check_failed",
            text=f"cspine-assets: check {key.name} of {asset} has failed ({severity}).",
            time=_now(),
            run_id=record.run_id,
            asset=asset,
            check=key.name,
            severity=severity,
        )
    return alerts


def webhook_sensors(webhook: str | None, look_every_s: int) -> list[dg.SensorDefinition]:
    """Returns the sensors that post to a webhook; without an address they are off and say so."""
    status = dg.DefaultSensorStatus.RUNNING if webhook else dg.DefaultSensorStatus.STOPPED
    nobody = dg.SkipReason("no address: set alerts.webhook in automation.yaml of the home")

    @dg.run_failure_sensor(
        name="webhook_on_failed_run",
        default_status=status,
        minimum_interval_seconds=look_every_s,
        description="Posts to alerts.webhook of automation.yaml when a run has failed.",
    )
    def on_failed_run(context: dg.RunFailureSensorContext) -> dg.SkipReason | None:
        if webhook is None:
            return nobody
        post_alert(webhook, run_failed(context.dagster_run))
        return None

    @dg.sensor(
        name="webhook_on_failed_check",
        default_status=status,
        minimum_interval_seconds=look_every_s,
        description="Posts to alerts.webhook of automation.yaml when a check has failed; once, until it passes again.",
    )
    def on_failed_check(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        if webhook is None or context.repository_def is None:
            return nobody
        earlier: dict[str, str | None] = json.loads(context.cursor) if context.cursor else {}
        keys = sorted(context.repository_def.asset_graph.asset_check_keys)
        failed = failed_checks(context.instance, keys)
        told = {
            name: earlier[name] for name in earlier if name in failed and _says_the_same(failed[name], earlier[name])
        }
        try:
            for name, body in sorted(failed.items()):
                if body is not None and name not in told:
                    post_alert(webhook, body)
                    told[name] = body.severity
        finally:
            # what was told is not told again when the next post fails
            context.update_cursor(json.dumps(told))
        return dg.SkipReason(f"{len(told)} checks are red, and told")

    return [on_failed_run, on_failed_check]


def email_sensors(email: Email | None) -> list[dg.SensorDefinition]:
    """Returns Dagster's own mail sensor for failed runs, with a text of ours; none where nobody is to get mails."""
    if email is None:
        return []
    return [
        dg.make_email_on_run_failure_sensor(
            name="email_on_failed_run",
            email_from=email.sender,
            email_password=os.environ.get(PASSWORD_VARIABLE, ""),
            email_to=email.receivers,
            email_subject_fn=lambda context: f"cspine-assets: {context.dagster_run.job_name} has failed",
            email_body_fn=lambda context: run_failed(context.dagster_run).text + " See its page for the reason.",
            smtp_host=email.smtp_host,
            smtp_port=email.port,
            smtp_type=email.security,
            smtp_user=email.user,
            default_status=dg.DefaultSensorStatus.RUNNING,
        )
    ]


def alert_sensors(settings: AutomationSettings) -> list[dg.SensorDefinition]:
    """Returns all sensors that tell somebody."""
    webhook = settings.alerts.webhook
    return [
        *webhook_sensors(str(webhook) if webhook else None, settings.look_every_s),
        *email_sensors(settings.alerts.email),
    ]


@dg.definitions
def alerts() -> dg.Definitions:
    """The alerts, as the home's settings say when the code location is loaded."""
    return dg.Definitions(sensors=alert_sensors(read_automation(Home(home_root()))))


def _says_the_same(body: AlertBody | None, severity: str | None) -> bool:
    """Whether a check is as it was when it was told; one that has not looked since is."""
    return body is None or body.severity == severity


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
