"""What a person sets for the work that runs by itself, in ``automation.yaml`` of the home.

Add a field when something of schedules, sensors or alerts should be a person's choice. The file is read when the code
location is loaded, and by the steps that need it; never when a module is imported.
"""

from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, HttpUrl, ValidationError

from cspine_assets.domain.errors import HomeError
from cspine_assets.domain.home import Home

SETTINGS_FILE = "automation.yaml"


class _Settings(BaseModel):
    """A part of the file; what is not known is refused, so that a misspelt word does not count as left out."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Reevaluation(_Settings):
    """When the schedule asks for a re-evaluation.

    Attributes:
        cron: Five fields of cron.
        time_zone: Name of the time zone that they are meant in, such as ``Europe/Berlin``.
    """

    cron: str = "0 3 * * 1"
    time_zone: str = "UTC"


class Email(_Settings):
    """Where mails about failed runs go; the password is taken from the environment, CSPINE_SMTP_PASSWORD.

    Attributes:
        sender: Address that mails come from.
        receivers: Addresses that they go to.
        smtp_host: Mail server.
        smtp_port: Its port; None for the usual one, 465 with SSL and 587 with STARTTLS.
        security: How the connection is made safe.
        user: Name to log in with; the sender's address by default.
    """

    sender: str
    receivers: list[str] = Field(min_length=1)
    smtp_host: str
    smtp_port: int | None = None
    security: Literal["SSL", "STARTTLS"] = "SSL"
    user: str | None = None

    @property
    def port(self) -> int:
        """The port to connect to."""
        return self.smtp_port or {"SSL": 465, "STARTTLS": 587}[self.security]


class Alerts(_Settings):
    """Whom to tell of failed runs and checks; nobody by default.

    Attributes:
        webhook: Address that a JSON body is posted to.
        email: Where mails go.
    """

    webhook: HttpUrl | None = None
    email: Email | None = None


class AutomationSettings(_Settings):
    """The whole file.

    Attributes:
        reevaluation: When the schedule fires.
        alerts: Whom to tell.
        look_every_s: How often sensors look at most, in seconds; each look costs some CPU.
        too_much: Share of the former mean; a predictor that drops by more makes the history's check red.
    """

    reevaluation: Reevaluation = Reevaluation()
    alerts: Alerts = Alerts()
    look_every_s: int = Field(default=60, ge=1)
    too_much: float = Field(default=0.05, gt=0, lt=1)


def read_automation(home: Home) -> AutomationSettings:
    """Returns what a home's ``automation.yaml`` says; without one, everything is as by default.

    Raises:
        HomeError: The file is no YAML, or says something that is not known.
    """
    path = home.root / SETTINGS_FILE
    if not path.exists():
        return AutomationSettings()
    try:
        return AutomationSettings.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    except (yaml.YAMLError, ValidationError, UnicodeDecodeError) as error:
        raise HomeError(
            f"{path}: expected the settings of docs/automation.md, got something else ({error}). "
            "Mend the file, or remove it to have everything as by default."
        ) from error
