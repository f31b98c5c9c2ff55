"""Schedules: jobs that start by the clock, off until a person switches them on.

Add a schedule here. What it starts stands in ``jobs``, when it starts in ``automation.yaml`` of the home.
"""

import dagster as dg

from cspine_assets.defs.attention import at_work
from cspine_assets.defs.automation import Reevaluation, read_automation
from cspine_assets.defs.jobs import reevaluate
from cspine_assets.defs.resources import StudyResource
from cspine_assets.domain.home import Home, home_root


def reevaluation_schedule(settings: Reevaluation) -> dg.ScheduleDefinition:
    """Returns the schedule of re-evaluations."""

    @dg.schedule(
        name="reevaluation",
        job=reevaluate,
        cron_schedule=settings.cron,
        execution_timezone=settings.time_zone,
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description="Whatever of predictions, metrics, statistics, database and report is stale.",
    )
    def reevaluation(context: dg.ScheduleEvaluationContext, study: StudyResource) -> dg.RunRequest | dg.SkipReason:
        """Asks for a re-evaluation, unless one is under way or a person is making the study."""
        reason = at_work(context.instance, study.open().home)
        return dg.SkipReason(reason) if reason else dg.RunRequest()

    return reevaluation


@dg.definitions
def schedules() -> dg.Definitions:
    """The schedules, as the home's settings say when the code location is loaded."""
    return dg.Definitions(schedules=[reevaluation_schedule(read_automation(Home(home_root())).reevaluation)])
