"""Assets of group ``prediction``: masks drawn by the models.

Add an asset when masks come from somewhere new. How a model is applied stands in ``cspine_assets.nnunet``, how masks
are scored in group ``evaluation``.
"""

import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import dagster as dg
import pandas as pd

from cspine_assets.defs.instance import GPU_POOL
from cspine_assets.defs.io import Made, MadePatient, patient_asset, table_asset
from cspine_assets.defs.resources import Study, StudyResource
from cspine_assets.domain.files import fingerprint_file
from cspine_assets.domain.tables.base import empty_frame, rows_of
from cspine_assets.domain.tables.cohort import Splits
from cspine_assets.domain.tables.imaging import Volumes
from cspine_assets.domain.tables.nnunet import FOLDS, RawDataset, TrainedFolds
from cspine_assets.domain.tables.prediction import PREDICTORS, ExamPredictions, FoldEnsembles
from cspine_assets.nnunet import dataset
from cspine_assets.nnunet.devices import leased_slot
from cspine_assets.nnunet.messages import CaseFailed, CasePredicted, ChildMessage
from cspine_assets.nnunet.prediction import (
    Prediction,
    PredictionCase,
    Predictor,
    mask_path,
    model_of,
    predict_cases,
)
from cspine_assets.nnunet.process import Supervision
from cspine_assets.nnunet.profiles import Configuration

_PREDICTED_PARTS = ("test", "unannotated")


@patient_asset(
    ExamPredictions,
    deps=[Splits, Volumes, TrainedFolds],
    version="1",
    kinds=("nnunet", "pytorch", "nifti"),
    backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=250),
    pool=GPU_POOL,
)
def exam_predictions(_context: dg.AssetExecutionContext, study: Study, patient_ids: list[str]) -> Iterator[MadePatient]:
    """Test and unannotated exams by 2d, 3d_fullres and their ensemble of all folds, models loaded once.

    A patient of the development set has no rows: the folds that saw the patient would score themselves.
    """
    splits = study.read(Splits)
    wanted = splits[splits["part"].isin(_PREDICTED_PARTS) & splits["patient_id"].isin(patient_ids)]
    exams = wanted.merge(study.usable_volumes(), on="exam_id")
    for patient_id in sorted(set(patient_ids) - set(exams["patient_id"])):
        yield MadePatient(patient_id, empty_frame(ExamPredictions), {"exams": 0})
    rows: dict[str, list[dict[str, object]]] = {}
    by_exam = exams.set_index("exam_id")
    for message in _predicted(study, exams, FOLDS, "exams"):
        exam = by_exam.loc[message.case_id]
        patient_id = str(exam["patient_id"])
        rows.setdefault(patient_id, []).extend(_rows(study, message, "exams", set=exam["part"], patient_id=patient_id))
        if len(rows[patient_id]) == len(PREDICTORS) * int((exams["patient_id"] == patient_id).sum()):
            yield _made_patient(patient_id, rows.pop(patient_id))


def _made_patient(patient_id: str, rows: list[dict[str, object]]) -> MadePatient:
    frame = pd.DataFrame(rows)
    failures = frame.loc[frame["status"] == "failed", ["exam_id", "reason"]].drop_duplicates()
    reason = "; ".join(f"{row.exam_id}: {row.reason}" for row in rows_of(failures))
    return MadePatient(patient_id, frame, {"exams": frame["exam_id"].nunique()}, reason or None)


@table_asset(
    FoldEnsembles,
    deps=[RawDataset, Volumes, TrainedFolds],
    version="1",
    kinds=("nnunet", "pytorch", "nifti"),
    pool=GPU_POOL,
)
def fold_ensembles(context: dg.AssetExecutionContext, study: Study) -> Made:
    """Development exams by 2d, 3d_fullres and their ensemble of the one fold that did not see the patient."""
    fold = int(context.partition_key)
    cases = study.read(RawDataset)
    exams = cases[(cases["fold"] == fold).fillna(False)].merge(study.usable_volumes(), on="exam_id")
    patient_of = dict(zip(exams["exam_id"], exams["patient_id"], strict=True))
    rows: list[dict[str, object]] = []
    for message in _predicted(study, exams, (fold,), "cv"):
        rows += _rows(study, message, "cv", fold=fold, patient_id=patient_of[message.case_id])
    frame = pd.DataFrame(rows, columns=list(empty_frame(FoldEnsembles).columns))
    failed = sorted(frame.loc[frame["status"] == "failed", "exam_id"].unique())
    return Made(frame, {"exams": len(exams), "failed_exams": dg.MetadataValue.json(failed)})


def _predicted(
    study: Study, exams: pd.DataFrame, model_folds: tuple[int, ...], set_name: str
) -> Iterator[CasePredicted | CaseFailed]:
    """Predicts exams in a child process and yields each as it is done.

    The child is heard in a thread of its own, so that rows can be written while it works; leaving the loop early
    ends the child.
    """
    if exams.empty:
        return
    done: queue.Queue[CasePredicted | CaseFailed | None] = queue.Queue()
    stop = threading.Event()

    def listen(message: ChildMessage) -> None:
        if isinstance(message, CasePredicted | CaseFailed):
            done.put(message)

    def work() -> Prediction:
        try:
            return _predict(study, exams, model_folds, set_name, listen, stop)
        finally:
            done.put(None)

    with ThreadPoolExecutor(1) as pool:
        prediction = pool.submit(work)
        try:
            while (message := done.get()) is not None:
                yield message
        finally:
            stop.set()
        prediction.result()


def _predict(
    study: Study,
    exams: pd.DataFrame,
    model_folds: tuple[int, ...],
    set_name: str,
    listen: Callable[[ChildMessage], None],
    stop: threading.Event,
) -> Prediction:
    folders = study.nnunet_folders
    models = [model_of(folders, str(dataset.ANNOTATED), configuration, model_folds) for configuration in Configuration]
    cases = [
        PredictionCase(case_id=row.exam_id, image=study.home.absolute(row.path))
        for row in rows_of(exams.sort_values("exam_id"))
    ]
    label = "-".join(str(fold) for fold in model_folds)
    with leased_slot(study.home.leases, study.slots, what=f"prediction of {set_name} by folds {label}") as slot:
        return predict_cases(
            models,
            cases,
            study.home.predictions / set_name,
            disable_tta=study.profile.disable_tta,
            step_size=study.profile.step_size,
            slot=slot,
            supervision=Supervision(
                log_path=study.home.logs / f"predict-{set_name}-{label}.log", on_message=listen, stop=stop
            ),
        )


def _rows(
    study: Study, message: CasePredicted | CaseFailed, set_name: str, **known: object
) -> Iterator[dict[str, object]]:
    """Yields a row per predictor of one exam."""
    for predictor in Predictor:
        path = mask_path(study.home.predictions / set_name, predictor, message.case_id)
        ok = isinstance(message, CasePredicted)
        yield {
            **known,
            "exam_id": message.case_id,
            "predictor": predictor.value,
            "profile": study.profile.name,
            "status": "ok" if ok else "failed",
            "reason": message.reason if isinstance(message, CaseFailed) else None,
            "path": study.home.relative(path) if ok else None,
            "sha256": fingerprint_file(path) if ok else None,
        }


@dg.asset_check(
    asset=dg.AssetKey(["prediction", "exam_predictions"]),
    description="Every predicted exam has one mask of each predictor.",
)
def one_prediction_per_exam(study: StudyResource) -> dg.AssetCheckResult:
    """Counts masks per exam among those that stand."""
    frame = study.open().read(ExamPredictions)
    counts = frame.groupby("exam_id")["predictor"].agg(["nunique", "size"])
    wrong = counts[(counts["nunique"] != len(PREDICTORS)) | (counts["size"] != len(PREDICTORS))]
    return dg.AssetCheckResult(
        passed=wrong.empty,
        metadata={"exams": len(counts), "wrong_exams": dg.MetadataValue.json(sorted(wrong.index))},
    )
