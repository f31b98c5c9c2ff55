"""Assets of group ``prediction``: masks drawn by the models.

Add an asset when masks come from somewhere new. How a model is applied stands in ``cspine_assets.nnunet``, how masks
are scored in group ``evaluation``.
"""

import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import dagster as dg
import pandas as pd

from cspine_assets.defs.in_force import models_in_force, models_sha256
from cspine_assets.defs.instance import GPU_POOL
from cspine_assets.defs.io import Made, MadePatient, is_forced, patient_asset, table_asset
from cspine_assets.defs.leaks import refuse_learned_test, refuse_other_split
from cspine_assets.defs.partitions import lake_partition
from cspine_assets.defs.resources import Study, StudyResource
from cspine_assets.domain.files import fingerprint_file
from cspine_assets.domain.tables.base import empty_frame, rows_of
from cspine_assets.domain.tables.cohort import Splits
from cspine_assets.domain.tables.imaging import Volumes
from cspine_assets.domain.tables.nnunet import FOLDS, PostprocessingChoice, RawDataset, TrainedFolds
from cspine_assets.domain.tables.prediction import PREDICTORS, ExamPredictions, FoldEnsembles, FoldPredictions
from cspine_assets.nnunet.choosing import chosen_options
from cspine_assets.nnunet.devices import leased_slot
from cspine_assets.nnunet.finished_cases import fingerprint_case, fingerprint_models, is_finished
from cspine_assets.nnunet.messages import CaseFailed, CasePredicted, ChildMessage, Note
from cspine_assets.nnunet.pace import Pace
from cspine_assets.nnunet.postprocessing import Postprocessing, write_postprocessed
from cspine_assets.nnunet.prediction import (
    Model,
    Prediction,
    PredictionCase,
    Predictor,
    mask_path,
    predict_cases,
)
from cspine_assets.nnunet.process import Supervision

_PREDICTED_PARTS = ("test", "unannotated")
EXAMS, CROSS_VALIDATION, AS_PREDICTED = "exams", "cv", "cv_as_predicted"
"""Folders of masks under the home's predictions; the last holds those of the second without postprocessing."""


def _settings(study: Study, _key: str | None) -> str:
    """Returns what a person has chosen of the way masks are drawn, as part of what they are made from."""
    return study.prediction_settings.model_dump_json()


@patient_asset(
    ExamPredictions,
    deps=[Splits, Volumes, TrainedFolds, PostprocessingChoice],
    version="2",
    source=_settings,
    kinds=("nnunet", "pytorch", "nifti"),
    backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=250),
    pool=GPU_POOL,
)
def exam_predictions(context: dg.AssetExecutionContext, study: Study, patient_ids: list[str]) -> Iterator[MadePatient]:
    """Test and unannotated exams by 2d, 3d_fullres and their ensemble of all folds, models loaded once.

    A patient of the development set has no rows: the folds that saw the patient would score themselves.
    """
    refuse_learned_test(study)
    splits = study.read(Splits)
    wanted = splits[splits["part"].isin(_PREDICTED_PARTS) & splits["patient_id"].isin(patient_ids)]
    exams = wanted.merge(study.usable_volumes(), on="exam_id")
    for patient_id in sorted(set(patient_ids) - set(exams["patient_id"])):
        yield MadePatient(patient_id, empty_frame(ExamPredictions), {"exams": 0})
    work = _Work(study, exams, FOLDS, EXAMS, chosen_options(study.read(PostprocessingChoice)))
    rows: dict[str, list[dict[str, object]]] = {}
    by_exam = exams.set_index("exam_id")
    for message in work.done(context):
        exam = by_exam.loc[message.case_id]
        patient_id = str(exam["patient_id"])
        known = {"set": exam["part"], "patient_id": patient_id}
        rows.setdefault(patient_id, []).extend(
            {**row, **known, "postprocessing": work.option(row)} for row in work.rows(message)
        )
        if len(rows[patient_id]) == len(PREDICTORS) * int((exams["patient_id"] == patient_id).sum()):
            yield _made_patient(patient_id, rows.pop(patient_id))


def _made_patient(patient_id: str, rows: list[dict[str, object]]) -> MadePatient:
    frame = pd.DataFrame(rows)
    failures = frame.loc[frame["status"] == "failed", ["exam_id", "reason"]].drop_duplicates()
    reason = "; ".join(f"{row.exam_id}: {row.reason}" for row in rows_of(failures))
    return MadePatient(patient_id, frame, {"exams": frame["exam_id"].nunique()}, reason or None)


@table_asset(
    FoldPredictions,
    deps=[RawDataset, Volumes, TrainedFolds],
    version="1",
    source=_settings,
    kinds=("nnunet", "pytorch", "nifti"),
    pool=GPU_POOL,
)
def fold_predictions(context: dg.AssetExecutionContext, study: Study) -> Made:
    """Development exams by 2d, 3d_fullres and their ensemble of the one fold that did not see the patient."""
    fold = int(context.partition_key)
    refuse_other_split(study, [fold])
    cases = study.read(RawDataset)
    exams = cases[(cases["fold"] == fold).fillna(False)].merge(study.usable_volumes(), on="exam_id")
    patient_of = dict(zip(exams["exam_id"], exams["patient_id"], strict=True))
    work = _Work(study, exams, (fold,), AS_PREDICTED, {})
    rows = [
        {**row, "fold": fold, "patient_id": patient_of[message.case_id]}
        for message in work.done(context)
        for row in work.rows(message)
    ]
    frame = pd.DataFrame(rows, columns=list(empty_frame(FoldPredictions).columns))
    failed = sorted(frame.loc[frame["status"] == "failed", "exam_id"].unique())
    return Made(frame, {"exams": len(exams), "failed_exams": dg.MetadataValue.json(failed)})


@table_asset(FoldEnsembles, deps=[FoldPredictions, PostprocessingChoice], version="2", kinds=("nnunet", "nifti"))
def fold_ensembles(context: dg.AssetExecutionContext, study: Study) -> Made:
    """The masks of cross-validation with the postprocessing that was chosen; the same files where it is none."""
    predicted = study.read(FoldPredictions, [lake_partition(context.partition_key)])
    options = chosen_options(study.read(PostprocessingChoice))
    frame = predicted.drop(columns=["disable_tta", "step_size"])
    frame["postprocessing"] = [options[Predictor(name)].value for name in frame["predictor"]]
    for index, row in zip(frame.index, rows_of(frame), strict=True):
        place = mask_path(study.home.predictions / CROSS_VALIDATION, Predictor(row.predictor), row.exam_id)
        if row.status != "ok":
            place.unlink(missing_ok=True)
            continue
        write_postprocessed(Postprocessing(row.postprocessing), study.home.absolute(row.path), place)
        frame.loc[index, ["path", "sha256"]] = [study.home.relative(place), fingerprint_file(place)]
    shown = {str(name): option.value for name, option in sorted(options.items())}
    return Made(frame, {"exams": frame["exam_id"].nunique(), "postprocessing": dg.MetadataValue.json(shown)})


@dataclass(frozen=True)
class _Work:
    """Exams to be predicted by some folds.

    Attributes:
        study: The study.
        exams: ``exam_id``, ``path`` and ``sha256`` of the volumes.
        folds: Of the models that predict.
        set_name: Folder of the masks.
        postprocessing: Of each predictor.
    """

    study: Study
    exams: pd.DataFrame
    folds: tuple[int, ...]
    set_name: str
    postprocessing: Mapping[Predictor, Postprocessing]

    @cached_property
    def models_sha256(self) -> dict[str, str]:
        """The models of each predictor, as every row names them."""
        return models_sha256(self.study, self.folds)

    def done(self, context: dg.AssetExecutionContext) -> Iterator[CasePredicted | CaseFailed]:
        """Yields each exam as it is done, first those whose masks stand; says in the run's log how far it is.

        The child is heard in a thread of its own, so that rows can be written while it works; leaving the loop early
        ends the child.
        """
        if self.exams.empty:
            return
        pace = Pace(len(self.exams), "exams predicted")
        for message in self._outcomes(context):
            worked = not (isinstance(message, CasePredicted) and message.reused)
            if line := pace.step(worked=worked):
                context.log.info(line)
            yield message

    def _outcomes(self, context: dg.AssetExecutionContext) -> Iterator[CasePredicted | CaseFailed]:
        models = models_in_force(self.study, self.folds)
        cases = self._cases(models)
        standing = [] if is_forced(context) else [case for case in cases if self._stands(case)]
        for case in standing:
            yield CasePredicted(case_id=case.case_id, seconds=0, reused=True)
        left = [case for case in cases if case not in standing]
        if left:
            yield from self._predicted(context, models, left)

    def _predicted(
        self, context: dg.AssetExecutionContext, models: list[Model], cases: list[PredictionCase]
    ) -> Iterator[CasePredicted | CaseFailed]:
        done: queue.Queue[CasePredicted | CaseFailed | str | None] = queue.Queue()
        stop = threading.Event()

        def listen(message: ChildMessage) -> None:
            if isinstance(message, CasePredicted | CaseFailed):
                done.put(message)
            elif isinstance(message, Note):
                done.put(message.text)

        def work() -> Prediction:
            try:
                return self._predict(models, cases, listen, stop)
            finally:
                done.put(None)

        with ThreadPoolExecutor(1) as pool:
            prediction = pool.submit(work)
            try:
                while (message := done.get()) is not None:
                    if isinstance(message, str):
                        context.log.info(message)
                    else:
                        yield message
            finally:
                stop.set()
            prediction.result()

    def _predict(
        self,
        models: list[Model],
        cases: list[PredictionCase],
        listen: Callable[[ChildMessage], None],
        stop: threading.Event,
    ) -> Prediction:
        home = self.study.home
        label = "-".join(str(fold) for fold in self.folds)
        what = f"prediction of {self.set_name} by folds {label}"
        with leased_slot(home.leases, self.study.slots, what=what) as slot:
            listen(Note(text=f"predicting on {slot.name}"))
            return predict_cases(
                models,
                cases,
                home.predictions / self.set_name,
                settings=self.study.prediction_settings,
                postprocessing=self.postprocessing,
                slot=slot,
                supervision=Supervision(
                    log_path=home.logs / f"predict-{self.set_name}-{label}-{slot.place}.log",
                    on_message=listen,
                    heartbeat_timeout_s=self.study.prediction_choices.silence_s,
                    stop=stop,
                ),
            )

    def _cases(self, models: list[Model]) -> list[PredictionCase]:
        common = fingerprint_models(models, self.study.prediction_settings, self.postprocessing)
        return [
            PredictionCase(
                case_id=row.exam_id,
                image=self.study.home.absolute(row.path),
                inputs=fingerprint_case(common, row.sha256),
            )
            for row in rows_of(self.exams.sort_values("exam_id"))
        ]

    def _stands(self, case: PredictionCase) -> bool:
        folder = self.study.home.predictions / self.set_name
        return case.inputs is not None and is_finished(folder, case.case_id, case.inputs)

    def rows(self, message: CasePredicted | CaseFailed) -> Iterator[dict[str, object]]:
        """Yields a row per predictor of one exam."""
        settings = self.study.prediction_settings
        for predictor in Predictor:
            path = mask_path(self.study.home.predictions / self.set_name, predictor, message.case_id)
            ok = isinstance(message, CasePredicted)
            yield {
                "exam_id": message.case_id,
                "predictor": predictor.value,
                "profile": self.study.profile.name,
                "model_sha256": self.models_sha256[predictor.value],
                "disable_tta": settings.disable_tta,
                "step_size": settings.step_size,
                "status": "ok" if ok else "failed",
                "reason": message.reason if isinstance(message, CaseFailed) else None,
                "path": self.study.home.relative(path) if ok else None,
                "sha256": fingerprint_file(path) if ok else None,
            }

    def option(self, row: Mapping[str, object]) -> str:
        """Returns the postprocessing of a row's predictor."""
        return self.postprocessing[Predictor(str(row["predictor"]))].value


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
