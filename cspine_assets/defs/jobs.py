"""Jobs: work that a person or a schedule starts as a whole.

Add a job when several assets have to be made together and in order. What is stale is the driver's to find.
"""

import dagster as dg

from cspine_assets.defs.driver import Watcher
from cspine_assets.defs.driver import materialize as materialize_study
from cspine_assets.defs.io import FORCE_TAG
from cspine_assets.defs.resources import StudyResource
from cspine_assets.domain.errors import CSpineError

REEVALUATED = ("prediction", "evaluation", "warehouse")


class ReevaluateConfig(dg.Config):
    """What a re-evaluation is asked for.

    Attributes:
        force: Make everything anew, also what is up to date.
    """

    force: bool = False


@dg.op
def reevaluate_study(context: dg.OpExecutionContext, config: ReevaluateConfig, study: StudyResource) -> None:
    """Makes what is stale of predictions, metrics, summaries and the database, each in a run of its own.

    One run cannot hold assets cut by patient, by fold and not at all; so this op starts one after the other.
    """
    opened = study.open()
    watcher = Watcher(
        began=lambda stage: context.log.info(f"{stage.name}: {len(stage.keys) or len(stage.tables)} to make"),
        ended=lambda report: context.log.info(f"{report.stage.name}: {report.seconds:.1f} s"),
    )
    try:
        reports = materialize_study(
            opened.home, instance=context.instance, schemas=REEVALUATED, force=config.force, watcher=watcher
        )
    except CSpineError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error
    failures = [failure for report in reports for failure in report.failures]
    context.add_output_metadata({"stages": [report.stage.name for report in reports] or ["everything was up to date"]})
    if failures:
        raise dg.Failure(description="\n".join(failures), allow_retries=False)


@dg.job(
    description="Predictions, metrics, summaries and database, as far as they are stale.",
    tags={FORCE_TAG: "false"},
    executor_def=dg.in_process_executor,
)
def reevaluate() -> None:
    """Makes what is stale below the models."""
    reevaluate_study()
