"""What was found over time: the history of evaluations, and the light that says what has become worse.

Add here what holds an evaluation against earlier ones. What a row holds and what a drop is, the evaluation wing says.
"""

import importlib.metadata
import json
import platform
import time
from datetime import UTC, datetime

import dagster as dg
import pandas as pd

from cspine_assets.defs.fingerprints import described_tables
from cspine_assets.defs.in_force import models_sha256
from cspine_assets.defs.io import BEGAN_TAG, EVALUATION_TAG, Made, asset_key, is_forced, table_asset
from cspine_assets.defs.resources import Study, StudyResource
from cspine_assets.defs.shown import inline_table, joined
from cspine_assets.domain.evaluation.drops import Drop, find_drops
from cspine_assets.domain.evaluation.external import masks_sha256
from cspine_assets.domain.evaluation.history import Evaluation, Ingredients, history_rows
from cspine_assets.domain.files import fingerprint_text
from cspine_assets.domain.tables.base import rows_of
from cspine_assets.domain.tables.benchmark import ExternalMetrics, ExternalPredictions, History
from cspine_assets.domain.tables.evaluation import ExamMetrics
from cspine_assets.domain.tables.imaging import Masks
from cspine_assets.domain.tables.nnunet import TrainedFolds

MOST_DROPS = 20
_SOFTWARE = ("cspine-assets", "dagster", "nnunetv2", "numpy", "pandas", "scipy", "torch")


@table_asset(History, deps=[ExamMetrics, ExternalMetrics, TrainedFolds], version="1", kinds=("scipy",), appended=True)
def history(context: dg.AssetExecutionContext, study: Study) -> Made:
    """What this evaluation found and with what, added to all that came before; nothing is ever rewritten.

    Where neither model, exams, data, split, code nor values have changed, no row is added.
    """
    metrics = joined([study.read(ExamMetrics), study.read(ExternalMetrics)])
    earlier = study.home.lake.read(History)
    frame = history_rows(
        metrics, _ingredients(study, metrics), _evaluation(context), earlier=earlier, forced=is_forced(context)
    )
    why = "nothing that a number is made from has changed" if frame.empty else ", ".join(sorted(set(frame["reason"])))
    return Made(frame, {"added_rows": len(frame), "standing_rows": len(earlier), "reason": why})


def _ingredients(study: Study, metrics: pd.DataFrame) -> Ingredients:
    """Returns the fingerprints of models and data behind metrics."""
    external = {str(name): masks_sha256(own) for name, own in study.read(ExternalPredictions).groupby("predictor")}
    nothing = {str(name): fingerprint_text() for name in metrics["predictor"].unique()}
    volumes, references = study.usable_volumes(), study.read(Masks).query("status == 'ok'")
    data = volumes.merge(references, on="exam_id", suffixes=("", "_mask"))
    return Ingredients(
        model_sha256={**nothing, **models_sha256(study), **external},
        data_sha256={row.exam_id: fingerprint_text(row.sha256, row.sha256_mask) for row in rows_of(data)},
    )


def _evaluation(context: dg.AssetExecutionContext) -> Evaluation:
    """Returns which evaluation this is; one that nobody named is that of the run."""
    tags = context.run.tags
    now = time.time()
    started = context.instance.get_run_stats(context.run.run_id).start_time
    versions = {name: importlib.metadata.version(name) for name in _SOFTWARE}
    return Evaluation(
        evaluation_id=tags.get(EVALUATION_TAG, context.run.run_id),
        evaluated_at=datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds"),
        duration_s=max(0.0, now - float(tags.get(BEGAN_TAG, started or now))),
        code_version=described_tables()[ExamMetrics].version,
        software=json.dumps({**versions, "python": platform.python_version()}, sort_keys=True),
    )


@dg.asset_check(
    asset=asset_key(History),
    description="No predictor is worse than at its last evaluation on the same exams: yellow beyond bootstrap noise, "
    "red beyond `too_much` of automation.yaml as well.",
)
def no_drop(study: StudyResource) -> dg.AssetCheckResult:
    """Yellow for a drop beyond noise; red for one that is also larger than the share set for the home."""
    opened = study.open()
    limit = opened.automation.too_much
    drops = sorted(find_drops(opened.home.lake.read(History), too_much=limit), key=lambda drop: not drop.large)
    large = sum(drop.large for drop in drops)
    return dg.AssetCheckResult(
        passed=not drops,
        severity=dg.AssetCheckSeverity.ERROR if large else dg.AssetCheckSeverity.WARN,
        description=f"{len(drops)} means are worse than before by more than noise, {large} of them by more than "
        f"{limit:.0%}."
        if drops
        else "Nothing is worse than before by more than noise.",
        metadata={
            "worse_than_noise": len(drops),
            "too_much_worse": large,
            # a number would be plotted over time
            "too_much": f"{limit:.0%} of the mean before",
            **({"drops": _drop_table(drops[:MOST_DROPS])} if drops else {}),
        },
    )


def _drop_table(drops: list[Drop]) -> dg.TableMetadataValue:
    """Returns what has become worse, a row each."""
    shown = [
        {
            "predictor": drop.predictor,
            "set": drop.set_name,
            "structure": drop.structure,
            "metric": drop.metric,
            "mean_before": f"{drop.before:.4g}",
            "mean_now": f"{drop.now:.4g}",
            "change": f"{(drop.now - drop.before) / abs(drop.before):+.1%}" if drop.before else "",
            "noise": f"{drop.noise:.2g}",
            "too_much": "yes" if drop.large else "",
        }
        for drop in drops
    ]
    return inline_table(pd.DataFrame(shown))
