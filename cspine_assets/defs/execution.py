"""One run: assets or checks executed in this process, and what failed.

Change it when Dagster is to be asked otherwise. Which assets are run, and in what order, is the driver's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import dagster as dg

from cspine_assets.defs.instance import index_kept_open, open_instance
from cspine_assets.defs.stages import loaded_definitions
from cspine_assets.domain.home import Home

_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True)
class Outcome:
    """The result of one run.

    Attributes:
        errors: The reasons of the steps that failed; empty when all went well.
    """

    errors: tuple[str, ...] = ()


def run_once(
    home: Home,
    instance: dg.DagsterInstance,
    assets: list[dg.AssetKey],
    tags: dict[str, str],
    partition_key: str | None = None,
    *,
    checked: bool = True,
    force: bool = False,
) -> Outcome:
    """Runs assets once, in this process, with their checks or without, and returns what failed.

    Args:
        home: Where the study is.
        instance: What records the run.
        assets: What to run.
        tags: Tags of the run; they may name a range of partitions.
        partition_key: Partition to run, or None.
        checked: Whether the assets' checks run with them.
        force: Whether what is up to date is made again, as a person sets it in the run's configuration.

    Raises:
        KeyboardInterrupt: The run was interrupted; it is recorded as cancelled.
    """
    job = (_job() if checked else _unchecked_job()).get_subset(asset_selection=set(assets))
    forced = {"ops": {"__".join(key.path): {"config": {"force": True}} for key in assets}} if force else {}
    return _execute(job, home, instance, tags, partition_key, shown=assets, config=forced)


def check_once(home: Home, instance: dg.DagsterInstance, assets: list[dg.AssetKey], tags: dict[str, str]) -> Outcome:
    """Looks at what stands of some assets, which are not made, by all their checks, and returns what failed."""
    keys = loaded_definitions().resolve_asset_graph().get_check_keys_for_assets(set(assets))
    job = _job().get_subset(asset_selection=set(), asset_check_selection=keys)
    return _execute(job, home, instance, tags)


def run_in_worker(
    home: str, assets: list[Sequence[str]], tags: dict[str, str], partition_keys: list[str]
) -> list[Outcome]:
    """Runs partitions in a worker process, and returns for each what failed.

    Dagster cannot run twice in one process, not even in two threads.
    """
    opened = Home(Path(home))
    with open_instance(opened) as instance:
        keys = [dg.AssetKey(list(path)) for path in assets]
        outcomes = [run_once(opened, instance, keys, tags, key) for key in partition_keys]
    return [
        Outcome(tuple(f"{key}: {error}" for error in outcome.errors))
        for key, outcome in zip(partition_keys, outcomes, strict=True)
    ]


@cache
def _job() -> dg.JobDefinition:
    return loaded_definitions().resolve_implicit_global_asset_job_def()


@cache
def _unchecked_job() -> dg.JobDefinition:
    """Returns all assets without their checks: a run that the page lists under its assets takes every check along."""
    everything = loaded_definitions()
    unchecked = dg.Definitions(everything.assets, resources=everything.resources, executor=everything.executor)
    return unchecked.resolve_implicit_global_asset_job_def()


def _execute(
    job: dg.JobDefinition,
    home: Home,
    instance: dg.DagsterInstance,
    tags: dict[str, str],
    partition_key: str | None = None,
    *,
    shown: Sequence[dg.AssetKey] | None = None,
    config: Mapping[str, Any] | None = None,
) -> Outcome:
    """Executes a job in this process, and returns what failed; the page lists the run under the assets shown."""
    with index_kept_open(instance):
        result = job.execute_in_process(
            run_config={**_QUIET, **(config or {}), "resources": {"study": {"config": {"home": str(home.root)}}}},
            instance=instance,
            partition_key=partition_key,
            asset_selection=shown,
            tags=tags,
            raise_on_error=False,
        )
    if result.success:
        return Outcome()
    if any(_is_interruption(event) for event in result.all_events if event.is_step_failure):
        # Dagster records a failure; the page must not look as if something were broken
        instance.report_run_canceled(result.dagster_run, "Interrupted. What was written is kept.")
        raise KeyboardInterrupt
    reasons = [_reason(event) for event in result.all_events if event.is_step_failure]
    return Outcome(tuple(reasons) or ("the run failed without a failed step; see it on the Dagster page",))


def _is_interruption(event: dg.DagsterEvent) -> bool:
    """Returns whether a step failed because a person or the system interrupted it."""
    source = event.step_failure_data.error_source
    return source is not None and source.value == "INTERRUPT"


def _reason(event: dg.DagsterEvent) -> str:
    """Returns why a step failed, in the words of the error that caused it."""
    data = event.step_failure_data
    if data.user_failure_data is not None and data.user_failure_data.description:
        return str(data.user_failure_data.description)
    error = data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return f"{event.step_key}: {error.message.strip() if error else 'no reason given'}"
