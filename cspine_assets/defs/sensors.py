"""Sensors: work that starts when something outside changes, off until a person switches them on.

Add a sensor when the platform should notice something by itself, and no automation condition can say it. What is then
made stands in the jobs, which are given by name: given the job itself, Dagster 1.13 warns at every load. How often
they look is said in ``automation.yaml`` of the home.
"""

from collections.abc import Callable
from pathlib import Path

import dagster as dg

from cspine_assets.defs.attention import ask_once
from cspine_assets.defs.automation import read_automation
from cspine_assets.defs.fingerprints import Fingerprints
from cspine_assets.defs.jobs import models_stand, reevaluate, take_in
from cspine_assets.defs.resources import StudyResource
from cspine_assets.defs.stages import Order, known_tables, stale_keys
from cspine_assets.domain.errors import CSpineError
from cspine_assets.domain.evaluation.external import predictor_folders
from cspine_assets.domain.files import fingerprint_text
from cspine_assets.domain.home import Home, home_root
from cspine_assets.domain.tables.nnunet import TrainedFolds
from cspine_assets.nnunet.imported import read_records

FOLLOW_S = 30
"""What is made by hand within so many seconds is followed by one run."""

_OFF = dg.DefaultSensorStatus.STOPPED

Result = dg.SensorResult | dg.SkipReason


def new_data(context: dg.SensorEvaluationContext, study: StudyResource) -> Result:
    """Compares places, sizes and times of the download's files with those that were taken in last."""
    opened = study.open()
    try:
        files = opened.source.states
    except CSpineError as error:
        return dg.SkipReason(str(error))
    fingerprint = fingerprint_text(*files, _state(opened.settings.provenance))
    return ask_once(context, opened.home, fingerprint, take_in.name)


def new_models(context: dg.SensorEvaluationContext, study: StudyResource) -> Result:
    """Compares the models that stand, once all of them are up to date, with those that were evaluated last.

    Imported models count from when a person trusts them; they predict the test exams and are ranked. A single fold
    that was trained anew starts nothing: an ensemble of old and new folds is nobody's model.
    """
    opened = study.open()
    models = Fingerprints(opened).whole(TrainedFolds)
    if models is None:
        return dg.SkipReason("not all models are there yet")
    older = stale_keys(opened, known_tables()[TrainedFolds], context.instance, Order())
    if older:
        return dg.SkipReason(f"{len(older)} models are older than the data they are to be trained on")
    records = read_records(opened.home.imported_models)
    imported = [f"{record.name} {record.archive_sha256}" for record in records if record.trusted]
    return ask_once(context, opened.home, fingerprint_text(models, *imported), reevaluate.name)


def new_external_predictions(context: dg.SensorEvaluationContext, study: StudyResource) -> Result:
    """Compares names, sizes and times of the files in these folders with those that were scored last."""
    opened = study.open()
    if not models_stand(opened):
        return dg.SkipReason("expected the study's own models to compare with; call `cspine materialize` first")
    folders = predictor_folders(opened.home.external_predictions)
    states = [_state(path) for folder in folders for path in (folder, *sorted(folder.iterdir()))]
    return ask_once(context, opened.home, fingerprint_text(*states), reevaluate.name)


def watching(look_every_s: int) -> list[dg.SensorDefinition]:
    """Returns the sensors, each looking so often at most."""

    def sensor(look: Callable[..., Result], job: dg.JobDefinition, description: str) -> dg.SensorDefinition:
        return dg.sensor(
            job_name=job.name,
            minimum_interval_seconds=look_every_s,
            default_status=_OFF,
            description=description,
        )(look)

    return [
        sensor(
            new_data,
            take_in,
            "New patients or changed files in the download: partitions are added, and all below is made.",
        ),
        sensor(new_models, reevaluate, "New or imported models: predictions and evaluation are made with them."),
        sensor(
            new_external_predictions,
            reevaluate,
            "Folders under external_predictions: each becomes a predictor, scored and ranked beside our own.",
        ),
        dg.AutomationConditionSensorDefinition(
            name="followers",
            target=dg.AssetSelection.groups("evaluation", "warehouse"),
            default_status=_OFF,
            minimum_interval_seconds=max(look_every_s, FOLLOW_S),
            description="Evaluation and database follow by themselves what is made by hand above them; "
            "see their conditions.",
        ),
    ]


@dg.definitions
def sensors() -> dg.Definitions:
    """The sensors, as the home's settings say when the code location is loaded."""
    return dg.Definitions(sensors=watching(read_automation(Home(home_root())).look_every_s))


def _state(path: Path | str | None) -> str:
    """Returns name, size and time of a file; a folder's time says when a name came or went."""
    if path is None or not Path(path).exists():
        return f"no {path}"
    status = Path(path).stat()
    return f"{path} {status.st_size} {status.st_mtime_ns}"
