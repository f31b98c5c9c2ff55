"""The mail about a failed run arrives: one, over a connection made safe either way, without what a step has said."""

import ssl
from collections.abc import Iterator
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import dagster as dg
import pytest
import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

from cspine_assets.defs.alerts import PASSWORD_VARIABLE, alert_sensors
from cspine_assets.defs.automation import AutomationSettings, Email
from cspine_assets_tests.defs.test_alerts import PATIENT, failing
from cspine_assets_tests.processes import free_port

# the server knows the first kind of connection as one that is in clear, which it is not
pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
SENDER, RECEIVERS, PASSWORD = "cspine@example.org", ["lab@example.org", "night@example.org"], "open sesame"


class Mailbox:
    """What a mail server has accepted."""

    def __init__(self) -> None:
        self.mails: list[Message] = []
        self.receivers: list[list[str]] = []

    async def handle_DATA(self, _server: object, _session: object, envelope) -> str:
        self.mails.append(message_from_bytes(envelope.content))
        self.receivers.append(envelope.rcpt_tos)
        return "250 OK"


def authenticate(_server: object, _session: object, _envelope: object, _mechanism: str, data: object) -> AuthResult:
    known = isinstance(data, LoginPassword) and (data.login, data.password) == (SENDER.encode(), PASSWORD.encode())
    return AuthResult(success=known)


@pytest.fixture(params=["SSL", "STARTTLS"])
def server(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Controller]:
    """A mail server on this machine that asks for a password and speaks in clear to nobody."""
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    safe = {"ssl_context": context} if request.param == "SSL" else {"tls_context": context, "require_starttls": True}
    controller = Controller(
        Mailbox(),
        hostname="127.0.0.1",
        port=free_port(),
        authenticator=authenticate,
        auth_required=True,
        auth_require_tls=request.param == "STARTTLS",
        **safe,
    )
    controller.security = request.param
    controller.start()
    yield controller
    controller.stop()


def tell_of_a_failed_run(server: Controller) -> dg.DagsterRun:
    mail = {"sender": SENDER, "receivers": RECEIVERS, "smtp_host": "127.0.0.1", "smtp_port": server.port}
    sensors = alert_sensors(
        AutomationSettings.model_validate({"alerts": {"email": {**mail, "security": server.security}}})
    )
    (sensor,) = [sensor for sensor in sensors if sensor.name == "email_on_failed_run"]
    with dg.DagsterInstance.ephemeral() as instance:
        result = failing.execute_in_process(instance=instance, raise_on_error=False)
        sensor(
            dg.build_run_status_sensor_context(
                sensor_name=sensor.name,
                dagster_instance=instance,
                dagster_run=result.dagster_run,
                dagster_event=result.get_run_failure_event(),
            ).for_run_failure()
        )
    return result.dagster_run


def test_a_failed_run_is_told_by_one_mail_without_its_reason(server: Controller, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(PASSWORD_VARIABLE, PASSWORD)
    run = tell_of_a_failed_run(server)
    (mail,), (receivers,) = server.handler.mails, server.handler.receivers
    assert receivers == RECEIVERS
    assert (mail["From"], mail["To"]) == (SENDER, ",".join(RECEIVERS))
    assert mail["Subject"] == "cspine-assets: failing has failed"
    assert run.run_id in mail.get_payload()
    assert PATIENT not in mail.as_string()


@pytest.mark.parametrize(("security", "port"), [("SSL", 465), ("STARTTLS", 587)])
def test_the_port_is_the_usual_one_of_the_connection(security: str, port: int):
    mail = {"sender": SENDER, "receivers": RECEIVERS, "smtp_host": "127.0.0.1", "security": security}
    assert Email.model_validate(mail).port == port
