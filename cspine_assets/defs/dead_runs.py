"""Runs whose process is gone: nobody else marks them as failed, and a pool slot of theirs stays taken.

Add here another kind of run that may be left so. What a driver runs is no matter of this module.
"""

import os
import socket

import dagster as dg

from cspine_assets.domain.workers import is_alive

# the page hides tags of this prefix
DRIVER_TAG = ".dagster/cspine_driver"
"""Host and process of the driver that a run is of; one without it was started by the daemon."""

_EARLIER_TAG = "cspine/driver"
"""The same in runs of earlier releases, which may have been killed before the home was updated."""


def driver_of(run: dg.DagsterRun) -> str:
    """Returns host and process of the driver that a run is of, joined by a colon; empty where the daemon started it."""
    return run.tags.get(DRIVER_TAG) or run.tags.get(_EARLIER_TAG, "")


def close_dead_runs(instance: dg.DagsterInstance, *, also_own: bool = False) -> list[str]:
    """Marks runs whose driver on this machine was killed as failed, frees their pool slots, and returns their ids.

    Nobody else would: to Dagster such a run is still going on, and the next one would wait for its slot for ever.

    Args:
        instance: Where the runs are recorded.
        also_own: Also those of this process, which is about to end.
    """
    running = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED]))
    closed = []
    for run in running:
        host, _, pid = driver_of(run).rpartition(":")
        if host != socket.gethostname():
            continue
        if not is_alive(int(pid)) or (also_own and int(pid) == os.getpid()):
            instance.report_run_failed(run, "Its driver was ended before the run was over; what was written stands.")
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
            closed.append(run.run_id)
    return closed


def close_orphaned_runs(instance: dg.DagsterInstance) -> list[str]:
    """Marks runs that a page had started as failed, and returns their ids; for when no code server of it is left.

    Dagster's own launcher does not notice that the process of a run is gone.
    """
    going = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
    closed = close_dead_runs(instance)
    for run in instance.get_runs(dg.RunsFilter(statuses=going)):
        if not driver_of(run):
            instance.report_run_failed(run, "Its code server ended before the run was over; what was written stands.")
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
            closed.append(run.run_id)
    return closed
