"""Looking at something outside again and again, and asking for work once for each change.

Schedules and sensors share this; what they look at stands with them.
"""

import json
from dataclasses import asdict, dataclass

import dagster as dg

from cspine_assets.defs.jobs import WORK_TAG
from cspine_assets.defs.writer import is_held
from cspine_assets.domain.home import Home

_WAITING = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING]


@dataclass(frozen=True)
class Look:
    """What a sensor remembers from one look to the next.

    Attributes:
        seen: Fingerprint at the last look.
        asked: Fingerprint for which work was asked last.
    """

    seen: str | None = None
    asked: str | None = None

    @classmethod
    def read(cls, cursor: str | None) -> "Look":
        """Returns what was remembered; nothing before the first look."""
        return cls(**json.loads(cursor)) if cursor else cls()

    def cursor(self) -> str:
        """Returns the look as a sensor keeps it."""
        return json.dumps(asdict(self))


def ask_once(context: dg.SensorEvaluationContext, home: Home, fingerprint: str, job: str) -> dg.SensorResult:
    """Asks for a job once after a fingerprint has changed and come to rest; otherwise says why not.

    A fingerprint must be the same at two looks: files are still being copied while it changes. It is remembered when
    work is asked for, not when it has succeeded: what failed is not tried again until something changes.
    """
    last = Look.read(context.cursor)
    if fingerprint == last.asked:
        return _nothing(Look(fingerprint, last.asked), "nothing has changed since work was asked for")
    if fingerprint != last.seen:
        return _nothing(Look(fingerprint, last.asked), "it has changed; work is asked for when it has come to rest")
    if (reason := at_work(context.instance, home)) is not None:
        return _nothing(last, reason)
    return dg.SensorResult(run_requests=[dg.RunRequest(job_name=job)], cursor=Look(fingerprint, fingerprint).cursor())


def at_work(instance: dg.DagsterInstance, home: Home) -> str | None:
    """Returns who is making the study or about to, or None."""
    waiting = instance.get_runs(dg.RunsFilter(tags={WORK_TAG: "true"}, statuses=_WAITING), limit=1)
    if waiting:
        return f"run {waiting[0].run_id} is about to make the study; looked at again later"
    return "another cspine is at work in this home; looked at again later" if is_held(home) else None


def _nothing(look: Look, reason: str) -> dg.SensorResult:
    return dg.SensorResult(skip_reason=reason, cursor=look.cursor())
