"""Version tags of a materialization, by which Dagster tells on the page what is out of sync.

Change it with Dagster alone: it holds the one use of what Dagster keeps to itself about versions. What this project
takes for stale is decided by ``fingerprints``.
"""

import dagster as dg
from dagster._core.definitions.data_version import compute_logical_data_version
from dagster._core.execution.plan.execute_step import _build_data_version_tags, _get_input_provenance_data


def version_tags(context: dg.AssetExecutionContext) -> dict[str, str]:
    """Returns the tags that Dagster gives to a materialization by itself where a step succeeds, and only there.

    A step that fails for some of its patients records the others as events of its own. Without these tags the page
    would call all of them out of sync as soon as anything that they are made from is looked at again.
    """
    step = context.op_execution_context.get_step_execution_context()
    inputs = _get_input_provenance_data(context.asset_key, step)
    code_version = step.job_def.asset_layer.get(context.asset_key).code_version or context.run_id
    version = compute_logical_data_version(code_version, {key: seen["data_version"] for key, seen in inputs.items()})
    return _build_data_version_tags(version, code_version, inputs, data_version_is_user_provided=False)
