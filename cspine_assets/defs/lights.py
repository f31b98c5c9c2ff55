"""Lights: the checks that did not pass when they last looked, for whoever does not have the page before them.

Add here what is said of checks outside the page. What a check looks at stands beside its asset.
"""

from dataclasses import dataclass

import dagster as dg

from cspine_assets.defs.io import asset_key
from cspine_assets.defs.stages import in_order, loaded_definitions


@dataclass(frozen=True)
class Light:
    """A check that did not pass.

    Attributes:
        asset: Table that it looked at, as the page names it.
        check: Name of the check.
        severe: Whether it is red on the page; else it is yellow.
        said: What it found and what to do, as far as it says so.
    """

    asset: str
    check: str
    severe: bool
    said: str


def failed_lights(instance: dg.DagsterInstance) -> list[Light]:
    """Returns the checks that did not pass when they last looked, in the order of the tables; no others."""
    graph = loaded_definitions().resolve_asset_graph()
    assets = [asset_key(item.table) for item in in_order()]
    keys = [key for asset in assets for key in sorted(graph.get_check_keys_for_assets({asset}))]
    records = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    lights = []
    for key in keys:
        evaluation = records[key].evaluation if key in records else None
        # of a check that was planned and has not looked there is an event of another kind
        if isinstance(evaluation, dg.AssetCheckEvaluation) and not evaluation.passed:
            severe = evaluation.severity == dg.AssetCheckSeverity.ERROR
            name = key.asset_key.to_user_string()
            lights.append(Light(name, key.name, severe, evaluation.description or ""))
    return lights
