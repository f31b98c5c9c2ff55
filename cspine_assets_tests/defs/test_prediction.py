"""Predictions as assets: exams fail alone, what is finished is not predicted again. No network: the child is a fake."""

import os
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest

from cspine_assets.defs import prediction
from cspine_assets.defs.driver import carry_out, materialize
from cspine_assets.defs.execution import run_once
from cspine_assets.defs.io import asset_key
from cspine_assets.defs.partitions import lake_partition
from cspine_assets.defs.stages import Order
from cspine_assets.domain.errors import CSpineError
from cspine_assets.domain.files import fingerprint_text
from cspine_assets.domain.home import Home
from cspine_assets.domain.tables.base import empty_frame
from cspine_assets.domain.tables.cohort import Splits
from cspine_assets.domain.tables.nnunet import CONFIGURATIONS, FOLDS, PostprocessingChoice, RawDataset, TrainedFolds
from cspine_assets.domain.tables.prediction import PREDICTORS, ExamPredictions, FoldEnsembles, FoldPredictions
from cspine_assets.nnunet.dataset import ANNOTATED
from cspine_assets.nnunet.finished_cases import write_stamp
from cspine_assets.nnunet.fold_folder import FoldCases
from cspine_assets.nnunet.messages import CaseFailed, CasePredicted
from cspine_assets.nnunet.prediction import Prediction, Predictor, mask_path


class FakeChild:
    """Stands in for ``predict_cases``: writes masks of a few bytes, fails where it is told to."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.broken: set[str] = set()
        self.postprocessing: dict[Predictor, str] = {}

    def __call__(self, models, cases, out_folder: Path, *, postprocessing, supervision, **how) -> Prediction:
        self.postprocessing = dict(postprocessing)
        for case in cases:
            self.asked.append(case.case_id)
            if case.case_id in self.broken:
                supervision.on_message(CaseFailed(case_id=case.case_id, reason="at stage 'the networks of 2d': hung"))
                continue
            masks = [mask_path(out_folder, predictor, case.case_id) for predictor in Predictor]
            for mask in masks:
                mask.parent.mkdir(parents=True, exist_ok=True)
                mask.write_bytes(f"{mask.parent.name} {case.case_id}".encode())
            write_stamp(out_folder, case.case_id, case.inputs, masks)
            supervision.on_message(CasePredicted(case_id=case.case_id, seconds=1))
        return Prediction(predicted=(), failed=())


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> FakeChild:
    fake = FakeChild()
    monkeypatch.setattr(prediction, "predict_cases", fake)
    return fake


@pytest.fixture
def trained(home: Home, instance: dg.DagsterInstance) -> Home:
    """A home with volumes, and with what looks like models and a choice of postprocessing."""
    materialize(home, instance=instance, schemas=("midrc", "cohort", "imaging"))
    for name in CONFIGURATIONS:
        folder = home.nnunet_results / str(ANNOTATED) / f"nnUNetTrainer__nnUNetPlans__{name}"
        for fold in FOLDS:
            (folder / f"fold_{fold}").mkdir(parents=True)
            (folder / f"fold_{fold}" / "checkpoint_final.pth").write_bytes(f"{name} {fold}".encode())
            path = home.relative(folder / f"fold_{fold}")
            values = {"path": path, "checkpoint_sha256": f"{name} {fold}"}
            row = _row(TrainedFolds, configuration=name, fold=fold, profile="demo", epochs=1, **values)
            home.lake.write(TrainedFolds, row, partition=f"{name}-{fold}", inputs="by hand")
        (folder / "plans.json").write_text("{}")
    rows = [
        _row(PostprocessingChoice, predictor=name, option=option, structure="macro", profile="demo", chosen=chosen)
        for name in PREDICTORS
        for option, chosen in (("none", name != "ensemble"), ("keep_largest", name == "ensemble"))
    ]
    home.lake.write(PostprocessingChoice, pd.concat(rows), inputs="by hand")
    learn_from(home, "nobody who is tested")
    return home


def learn_from(home: Home, patient_id: str, *, split: str = "x") -> None:
    """Says that the models learned from a patient; their rows say that they learned by split ``x``."""
    row = _row(RawDataset, patient_id=patient_id, part="imagesTr", split_sha256=split, fold=0)
    home.lake.write(RawDataset, row, inputs="by hand")


def _row(table, **values: object) -> pd.DataFrame:
    """A row with the values that matter here, and any in the other columns."""
    usual = {"string": "x", "Int64": 1, "Float64": 0.5, "boolean": False}
    dtypes = empty_frame(table).dtypes
    return pd.DataFrame([{name: values.get(name, usual[dtype.name]) for name, dtype in dtypes.items()}])


def make(home: Home, instance: dg.DagsterInstance) -> list[str]:
    reports = carry_out(Order(tables=frozenset({ExamPredictions})), home, instance=instance)
    return [failure for report in reports for failure in report.failures]


def predicted_exams(home: Home) -> list[str]:
    splits = home.lake.read(Splits)
    return sorted(splits.loc[splits["part"].isin(("test", "unannotated")), "exam_id"])


def test_test_and_unannotated_exams_are_predicted_and_development_exams_are_not(trained, instance, child):
    assert make(trained, instance) == []
    rows = trained.lake.read(ExamPredictions)
    assert sorted(child.asked) == sorted(rows["exam_id"].unique()) == predicted_exams(trained)
    assert rows.groupby("exam_id")["predictor"].agg(sorted).map(tuple).unique().tolist() == [PREDICTORS]
    chosen = rows.groupby("predictor")["postprocessing"].unique().map(list).to_dict()
    assert chosen == {"2d": ["none"], "3d_fullres": ["none"], "ensemble": ["keep_largest"]}
    assert child.postprocessing == {Predictor(name): options[0] for name, options in chosen.items()}
    assert rows["disable_tta"].all()


def test_every_row_names_the_models_that_drew_its_mask(trained, instance, child):
    make(trained, instance)
    sums = {name: [f"{name} {fold}" for fold in FOLDS] for name in CONFIGURATIONS}
    sums["ensemble"] = [one for of_one in sums.values() for one in of_one]
    named = trained.lake.read(ExamPredictions).groupby("predictor")["model_sha256"].agg(["nunique", "first"])
    assert named["nunique"].tolist() == [1, 1, 1]
    assert named["first"].to_dict() == {name: fingerprint_text(*sorted(own)) for name, own in sums.items()}

    exam = trained.lake.read(Splits).query("part == 'development'").iloc[0]
    learned = {"case_id": exam["exam_id"], "exam_id": exam["exam_id"], "patient_id": exam["patient_id"], "fold": 3}
    trained.lake.write(RawDataset, _row(RawDataset, **learned, part="imagesTr", split_sha256="x"), inputs="by hand")
    assert run_once(trained, instance, [asset_key(FoldPredictions)], {}, "3", checked=False).errors == ()
    drawn = trained.lake.read(FoldPredictions, ["3"]).set_index("predictor")["model_sha256"]
    assert drawn["3d_fullres"] == "3d_fullres 3", "of one fold it is the checkpoint's own"
    assert drawn["ensemble"] == fingerprint_text("2d 3", "3d_fullres 3")


def test_a_mask_that_somebody_changed_or_removed_is_drawn_again(trained, instance, child):
    make(trained, instance)
    changed, lost = predicted_exams(trained)[:2]
    paths = [mask_path(trained.predictions / "exams", Predictor.FLAT, exam) for exam in (changed, lost)]
    content = [path.read_bytes() for path in paths]
    paths[0].write_bytes(content[0][::-1])
    os.utime(paths[0], (1, 1))
    paths[1].unlink()
    child.asked = []
    assert make(trained, instance) == []
    assert sorted(child.asked) == sorted([changed, lost])
    assert [path.read_bytes() for path in paths] == content


def test_an_exam_that_hangs_costs_its_patient_and_comes_back_alone(trained, instance, child):
    bad = predicted_exams(trained)[0]
    patient = bad.split("_")[0]
    child.broken = {bad}
    failures = make(trained, instance)
    assert any(bad in failure and "the networks of 2d" in failure for failure in failures)
    rows = trained.lake.read(ExamPredictions).query("exam_id == @bad", local_dict={"bad": bad})
    assert rows["status"].unique().tolist() == ["failed"]
    everybody = set(instance.get_dynamic_partitions("patient"))
    assert set(instance.get_materialized_partitions(asset_key(ExamPredictions))) == everybody - {patient}

    child.broken, child.asked = set(), []
    assert make(trained, instance) == []
    assert child.asked == [bad]
    assert set(instance.get_materialized_partitions(asset_key(ExamPredictions))) == everybody


def test_masks_that_stand_are_not_predicted_again_when_their_rows_are_lost(trained, instance, child):
    make(trained, instance)
    before = trained.lake.read(ExamPredictions)
    for partition in trained.lake.partitions(ExamPredictions):
        trained.lake.remove(ExamPredictions, partition)
    lost = predicted_exams(trained)[-1]
    mask_path(trained.predictions / "exams", Predictor.FLAT, lost).unlink()
    child.asked = []
    assert make(trained, instance) == []
    assert child.asked == [lost]
    assert trained.lake.read(ExamPredictions).equals(before)


def test_another_way_of_drawing_masks_makes_them_anew(trained, instance, child):
    make(trained, instance)
    first = list(child.asked)
    (trained.root / "prediction.json").write_text('{"disable_tta": false}')
    assert make(trained, instance) == []
    assert sorted(child.asked) == sorted(first * 2)
    assert not trained.lake.read(ExamPredictions)["disable_tta"].any()
    assert make(trained, instance) == []
    assert len(child.asked) == 2 * len(first)


def test_models_are_not_tested_on_a_patient_they_have_learned_from(trained, instance, child):
    splits = trained.lake.read(Splits)
    learn_from(trained, splits.loc[splits["part"] == "test", "patient_id"].iloc[0])
    failures = make(trained, instance)
    assert failures
    assert all("were trained on: the split has changed" in failure for failure in failures)
    assert child.asked == []


def test_models_of_another_split_do_not_predict_what_they_may_have_seen(trained, instance, child):
    splits = trained.lake.read(Splits)
    learn_from(trained, splits.loc[splits["part"] == "development", "patient_id"].iloc[0], split="y")
    with pytest.raises(CSpineError, match="but 2d fold 0, 3d_fullres fold 0 learned by another"):
        carry_out(Order(tables=frozenset({FoldPredictions})), trained, instance=instance)
    failures = make(trained, instance)
    assert failures
    assert all("3d_fullres fold 4 learned by another" in failure for failure in failures)
    assert child.asked == []


def keep_cases(home: Home, *train: str) -> None:
    """Says beside every model from which cases it learned."""
    for place in home.lake.read(TrainedFolds)["path"]:
        cases = FoldCases(train=train, val=("held out",))
        (home.absolute(place) / "cspine_cases.json").write_text(cases.model_dump_json())


def test_models_of_another_split_test_those_that_they_did_not_learn_from(trained, instance, child):
    """The dataset has another split by now, as in a retraining that is not finished: what counts is what they saw."""
    splits = trained.lake.read(Splits)
    learn_from(trained, "somebody", split="y")
    keep_cases(trained, splits.loc[splits["part"] == "development", "exam_id"].iloc[0])
    assert make(trained, instance) == []
    assert sorted(child.asked) == predicted_exams(trained)


def test_models_are_not_tested_on_what_they_saw_by_a_split_of_before(trained, instance, child):
    splits = trained.lake.read(Splits)
    keep_cases(trained, splits.loc[splits["part"] == "test", "exam_id"].iloc[0])
    failures = make(trained, instance)
    assert failures
    assert all("1 of" in failure and "were trained on" in failure for failure in failures)
    assert child.asked == []


def test_an_exam_that_failed_in_cross_validation_has_no_mask_of_earlier_models(trained, instance, child):
    old = mask_path(trained.predictions / "cv", Predictor.FLAT, "exam 2")
    old.parent.mkdir(parents=True)
    old.write_bytes(b"of earlier models")
    patient_id = trained.lake.read(Splits)["patient_id"].iloc[0]
    failed = {"patient_id": patient_id, "predictor": "2d", "status": "failed", "profile": "demo"}
    for fold in FOLDS:
        row = _row(FoldPredictions, **failed, exam_id=f"exam {fold}", fold=fold, path=None, sha256=None)
        trained.lake.write(FoldPredictions, row, partition=lake_partition(str(fold)), inputs="by hand")
    carry_out(Order(tables=frozenset({FoldEnsembles})), trained, instance=instance)
    assert not old.exists()
