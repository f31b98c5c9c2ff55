"""Jobs: work that a person, a schedule or a sensor starts as a whole.

Add a job when several assets have to be made together and in order. What is stale is the driver's to find.
"""

from collections.abc import Callable

import dagster as dg
from pydantic import Field

from cspine_assets.defs.driver import StageReport, Watcher, carry_out, confirm
from cspine_assets.defs.fingerprints import Fingerprints
from cspine_assets.defs.imported_masks import imports_to_predict, predict_test_exams
from cspine_assets.defs.leaks import refuse_learned_test
from cspine_assets.defs.resources import Study, StudyResource
from cspine_assets.defs.stages import Order, known_tables, made_from, tables_named
from cspine_assets.defs.writer import sole_writer
from cspine_assets.domain.errors import CSpineError
from cspine_assets.domain.tables.base import Table
from cspine_assets.domain.tables.benchmark import ExternalPredictions
from cspine_assets.domain.tables.nnunet import Plans, RawDataset, TrainedFolds
from cspine_assets.nnunet.messages import described_message

WORK_TAG = "cspine/work"
"""Runs with this tag make a study as a whole, one at a time."""

TRAINING = frozenset({RawDataset, Plans, TrainedFolds})
"""What nothing but a person asks for: it decides what models learn from, and takes days of a GPU."""


class WorkConfig(dg.Config):
    """What a piece of work is asked for; the launchpad shows each field with its description."""

    force: bool = Field(default=False, description="Make everything anew, also what is up to date.")
    wait_minutes: float = Field(
        default=60, description="How long to wait for another writer, such as a person's `cspine materialize`."
    )


class RemakeConfig(dg.Config):
    """What is to be made again; the launchpad shows each field with its description."""

    names: list[str] = Field(
        description="Tables, such as evaluation.leaderboard, or whole schemas, such as evaluation. They are made again "
        "in their order although they are up to date; what is made from them follows where it has become stale."
    )
    wait_minutes: float = Field(default=60, description="How long to wait for another writer of this home.")


def reevaluated() -> frozenset[type[Table]]:
    """Returns what a re-evaluation makes: all that is made from models or from external masks."""
    return made_from({TrainedFolds, ExternalPredictions}) | {ExternalPredictions}


@dg.op
def reevaluate_study(context: dg.OpExecutionContext, config: WorkConfig, study: StudyResource) -> None:
    """Makes what is stale of predictions, metrics, summaries, database and report, each in a run of its own.

    Imported models that are new predict the test exams first. One run cannot hold assets cut by patient, by fold and
    not at all; so this op starts one after the other.
    """
    opened = study.open()
    if not models_stand(opened):
        raise dg.Failure("expected trained models, not all of them are there. Call `cspine materialize` first.")
    _work(context, opened, config, [reevaluated()])


@dg.op
def take_in_source(context: dg.OpExecutionContext, config: WorkConfig, study: StudyResource) -> None:
    """Takes in what is new or changed in the download: tables, volumes, masks; then, with models, all below them.

    Nothing is trained: a new patient is predicted and scored by the models that stand.
    """
    opened = study.open()
    below = reevaluated()
    above = frozenset(known_tables()) - below - TRAINING
    _work(context, opened, config, [above, below] if models_stand(opened) else [above])


@dg.op
def remake_tables(context: dg.OpExecutionContext, config: RemakeConfig, study: StudyResource) -> None:
    """Makes tables or schemas again although they are up to date, then what has become stale by it.

    Models are made only where they are named: nothing else starts a training.
    """
    opened = study.open()
    try:
        named = tables_named(config.names)
    except CSpineError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error
    orders = [Order(named, force=True, evaluation_id=context.run.run_id)]
    below = made_from(named) - TRAINING
    if below:
        orders.append(Order(below, evaluation_id=context.run.run_id))
    _carry_out(context, opened, orders, config.wait_minutes)


def models_stand(study: Study) -> bool:
    """Whether every model is there."""
    known_tables()  # loading the assets describes the tables
    return Fingerprints(study).whole(TrainedFolds) is not None


def _work(
    context: dg.OpExecutionContext,
    study: Study,
    config: WorkConfig,
    parts: list[frozenset[type[Table]]],
) -> None:
    """Makes some tables, part by part, and fails at the end with the list of what failed on the way.

    Before what is made from models, imported models predict the test exams that they have not seen yet.
    """
    orders = [
        Order(tables, force=config.force, retry_failed=config.force, evaluation_id=context.run.run_id)
        for tables in parts
    ]
    _carry_out(context, study, orders, config.wait_minutes, with_imports=True)


def _carry_out(
    context: dg.OpExecutionContext,
    study: Study,
    orders: list[Order],
    wait_minutes: float,
    *,
    with_imports: bool = False,
) -> None:
    """Carries out orders one after the other, as the only writer of the home."""
    watcher = Watcher(
        began=lambda stage: context.log.info(f"{stage.name}: {len(stage.keys) or len(stage.tables)} to make"),
        ended=lambda report: context.log.info(f"{report.stage.name}: {report.seconds:.1f} s"),
    )
    reports: list[StageReport] = []
    failures: list[str] = []
    try:
        with sole_writer(study.home, wait_seconds=60 * wait_minutes):
            for order in orders:
                if with_imports and (order.tables or frozenset()) & made_from({TrainedFolds}):
                    refuse_learned_test(study)
                    failures += predict_with_imports(study, context.log.info, force=order.force)
                reports += carry_out(order, study.home, instance=context.instance, watcher=watcher)
            confirm(study, context.instance, reports)
    except CSpineError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error
    made = [report.stage.name for report in reports] or ["everything was up to date"]
    context.add_output_metadata({"stages": made})
    failures += [failure for report in reports for failure in report.failures]
    if failures:
        raise dg.Failure(description="\n".join(failures), allow_retries=False)


def predict_with_imports(study: Study, say: Callable[[str], None], *, force: bool) -> list[str]:
    """Predicts the test exams by imported models that are trusted, where either is new, and returns what failed.

    Their masks become those of external predictors, which are scored with all others.
    """
    failures = []
    for name in imports_to_predict(study, force=force):
        say(f"{name}: the test exams are predicted by this imported model")
        try:
            failed = predict_test_exams(study, name, lambda message: say(described_message(message)), force=force)
            failures += [f"{name}, {failure.case_id}: {failure.reason}" for failure in failed]
        except CSpineError as error:
            failures.append(f"{name}: {error}")
    return failures


@dg.job(
    description="Predictions, metrics, statistics, database and report, as far as they are stale.",
    tags={WORK_TAG: "true"},
    executor_def=dg.in_process_executor,
)
def reevaluate() -> None:
    """Makes what is stale below the models."""
    reevaluate_study()


@dg.job(
    description="What is new or changed in the download, from its tables to the database; nothing is trained.",
    tags={WORK_TAG: "true"},
    executor_def=dg.in_process_executor,
)
def take_in() -> None:
    """Makes what is stale of everything but the models."""
    take_in_source()


@dg.job(
    description="Tables or schemas that you name, although they are up to date, and then what is made from them.",
    tags={WORK_TAG: "true"},
    executor_def=dg.in_process_executor,
)
def remake() -> None:
    """Makes what a person names again."""
    remake_tables()
