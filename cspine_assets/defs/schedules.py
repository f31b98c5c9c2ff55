"""Schedules: jobs that start by the clock, off until a person switches them on.

Add a schedule here. What it starts stands in ``jobs``.
"""

import dagster as dg

from cspine_assets.defs.jobs import reevaluate

weekly_reevaluation = dg.ScheduleDefinition(
    name="weekly_reevaluation",
    job=reevaluate,
    cron_schedule="0 3 * * 1",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Every Monday at 3:00 UTC: whatever of predictions, metrics and database is stale.",
)
