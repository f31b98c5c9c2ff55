"""Dagster's instance of a home: where its runs are kept, pools, run queue, telemetry off.

Add an instance setting here. Nothing here runs an asset.
"""

import dagster as dg
import yaml

from cspine_assets.domain.files import write_text
from cspine_assets.domain.home import Home
from cspine_assets.nnunet.devices import training_slots

GPU_POOL = "gpu"
"""Trainings and predictions take a slot of it; it has as many as there are devices, or processes on a CPU."""


def instance_settings() -> dict[str, object]:
    """Returns what goes into ``dagster.yaml``."""
    return {
        "telemetry": {"enabled": False},
        "nux": {"enabled": False},  # no dialog that asks for an address at the first visit
        "concurrency": {
            "runs": {"max_concurrent_runs": max(2, len(training_slots()))},
            "pools": {"granularity": "op", "default_limit": 1},
        },
        "run_monitoring": {"enabled": True, "start_timeout_seconds": 300},
        "retention": {"sensor": {"purge_after_days": {"skipped": 7, "success": 90}}},
    }


def open_instance(home: Home) -> dg.DagsterInstance:
    """Opens the instance of a home, with its settings written first where there are none.

    A settings file that stands is the user's and stays as it is.
    """
    settings = home.dagster / "dagster.yaml"
    if not settings.exists():
        write_text(settings, yaml.safe_dump(instance_settings(), sort_keys=False))
    instance = dg.DagsterInstance.from_config(str(home.dagster))
    if GPU_POOL not in instance.event_log_storage.get_concurrency_keys():
        instance.event_log_storage.set_concurrency_slots(GPU_POOL, len(training_slots()))
    return instance
