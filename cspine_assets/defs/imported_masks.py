"""An imported model on the study's test exams: its masks become those of an external predictor.

Change it when other exams are to be predicted. External predictors are scored and ranked in group ``evaluation``; how
a model is applied stands in ``cspine_assets.nnunet``.
"""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from cspine_assets.defs.resources import Study
from cspine_assets.domain.errors import CSpineError, ModelError
from cspine_assets.domain.evaluation.external import CARD_FILE, read_card, refusal_of_name
from cspine_assets.domain.files import fingerprint_text, fresh_folder_beside, write_text
from cspine_assets.domain.tables.base import rows_of
from cspine_assets.domain.tables.cohort import Splits
from cspine_assets.nnunet.application import Application, imported_application, provenance_of
from cspine_assets.nnunet.devices import leased_slot
from cspine_assets.nnunet.finished_cases import fingerprint_case, fingerprint_models, is_finished
from cspine_assets.nnunet.imported import RECORD_FILE, read_record, read_records
from cspine_assets.nnunet.messages import CaseFailed, ChildMessage
from cspine_assets.nnunet.postprocessing import Postprocessing, write_postprocessed
from cspine_assets.nnunet.prediction import (
    Prediction,
    PredictionCase,
    mask_path,
    predict_cases,
    predictors_of,
)
from cspine_assets.nnunet.process import Supervision

_TEST_EXAMS = "test_exams_sha256"


def predict_test_exams(
    study: Study, name: str, on_message: Callable[[ChildMessage], None], *, force: bool = False
) -> tuple[CaseFailed, ...]:
    """Predicts the test exams by an imported model, and hands its masks over as an external predictor.

    Finished exams are not predicted again, unless that is asked for. An exam that cannot be predicted has no mask, and
    counts as missed where predictors are ranked.

    Returns:
        The exams that failed.

    Raises:
        ModelError: The model is not trusted, its name is that of somebody's own masks or of the study's models, or the
            study has no test exams.
    """
    application = imported_application(study.home.imported_models, name, {})
    _refuse_taken_name(study, name)
    out = study.home.predictions / "imported" / name
    exams = _test_exams(study)
    cases = _cases(study, exams, application)
    left = [case for case in cases if force or not is_finished(out, case.case_id, str(case.inputs))]
    made = _predict(study, application, left, out, on_message) if left else Prediction(predicted=(), failed=())
    failed = {failure.case_id for failure in made.failed}
    predictor = predictors_of(application.models)[-1]
    with fresh_folder_beside(study.home.external_predictions / name) as folder:
        for case in cases:
            if case.case_id not in failed:
                mask = mask_path(out, predictor, case.case_id)
                write_postprocessed(Postprocessing.NONE, mask, folder / mask.name)
        write_text(folder / CARD_FILE, json.dumps(_card(study, name, application, exams), indent=2) + "\n")
    return made.failed


def imports_to_predict(study: Study, *, force: bool = False) -> list[str]:
    """Returns the imported models that a person trusts, and that have not predicted the test exams as they are now.

    Args:
        study: The study.
        force: Also those that have.
    """
    trusted = [record.name for record in read_records(study.home.imported_models) if record.trusted]
    return [name for name in trusted if force or not _has_predicted(study, name)]


def _has_predicted(study: Study, name: str) -> bool:
    """Whether a model has tried these very test exams since it was imported; those that failed included."""
    card = study.home.external_predictions / name / CARD_FILE
    record = study.home.imported_models / name / RECORD_FILE
    if not card.exists() or card.stat().st_mtime_ns < record.stat().st_mtime_ns:
        return False
    try:
        said = read_card(card.parent).settings
    except CSpineError:  # somebody has changed it
        return False
    return said.get(_TEST_EXAMS) == _fingerprint(_test_exams(study))


def _refuse_taken_name(study: Study, name: str) -> None:
    """Refuses to put a model's masks where a person has put others: the folder is replaced as a whole.

    Raises:
        ModelError: The folder of this name is not provably the model's own.
    """
    folder = study.home.external_predictions / name
    refusal = refusal_of_name(name)
    if refusal is None and folder.exists() and any(folder.iterdir()) and not _is_of_a_model(folder):
        refusal = f"{folder}: expected the masks of the imported model '{name}' or nothing, found others."
    if refusal is not None:
        raise ModelError(f"{refusal} Give that folder another name, or import the model under another --name.")


def _is_of_a_model(folder: Path) -> bool:
    """Whether a folder's card says that an imported model has filled it."""
    try:
        return _TEST_EXAMS in read_card(folder).settings
    except CSpineError:
        return False


def _test_exams(study: Study) -> pd.DataFrame:
    """Returns the test exams that have a volume: ``exam_id``, ``path``, ``sha256``."""
    tested = study.read(Splits).query("part == 'test'")[["exam_id"]]
    return tested.merge(study.usable_volumes(), on="exam_id").sort_values("exam_id")


def _fingerprint(exams: pd.DataFrame) -> str:
    """Returns one SHA-256 over the exams and their volumes."""
    return fingerprint_text(*(f"{row.exam_id} {row.sha256}" for row in rows_of(exams)))


def _cases(study: Study, exams: pd.DataFrame, application: Application) -> list[PredictionCase]:
    if exams.empty:
        raise ModelError("expected test exams with a volume, there are none. Call `cspine materialize` first.")
    common = fingerprint_models(application.models, application.settings, application.postprocessing)
    return [
        PredictionCase(
            case_id=row.exam_id,
            image=study.home.absolute(row.path),
            inputs=fingerprint_case(common, row.sha256),
        )
        for row in rows_of(exams)
    ]


def _predict(
    study: Study,
    application: Application,
    cases: list[PredictionCase],
    out: Path,
    on_message: Callable[[ChildMessage], None],
) -> Prediction:
    with leased_slot(study.home.leases, study.slots, what="prediction by an imported model") as slot:
        return predict_cases(
            application.models,
            cases,
            out,
            settings=application.settings,
            postprocessing=application.postprocessing,
            slot=slot,
            supervision=Supervision(
                log_path=study.home.logs / f"predict-imported-{slot.place}.log",
                on_message=on_message,
                heartbeat_timeout_s=study.prediction_choices.silence_s,
            ),
        )


def _card(study: Study, name: str, application: Application, exams: pd.DataFrame) -> dict[str, object]:
    """Returns what the external predictor says of itself."""
    record = read_record(study.home.imported_models, name)
    settings = {
        "disable_tta": application.settings.disable_tta,
        "step_size": application.settings.step_size,
        **{f"postprocessing_{predictor}": option.value for predictor, option in application.postprocessing.items()},
        "demo": application.is_demo,
        _TEST_EXAMS: _fingerprint(exams),
    }
    return {"title": record.dataset, "provenance": provenance_of(record)[:2000], "settings": settings}
