"""A small study as rows: eight exams of seven patients, three of them tested on, with scores that follow a rule."""

from __future__ import annotations

import pandas as pd

from cspine_assets.domain.anatomy import DISC_LEVELS
from cspine_assets.domain.tables.base import Table, arrow_schema, column_names, empty_frame, validate
from cspine_assets.domain.tables.benchmark import History
from cspine_assets.domain.tables.catalog import all_tables
from cspine_assets.domain.tables.cohort import AnnotationProvenance, Exams, Patients, Splits
from cspine_assets.domain.tables.evaluation import STRUCTURES, ExamMetrics, LevelMetrics
from cspine_assets.domain.tables.imaging import Masks, Volumes
from cspine_assets.domain.tables.prediction import PREDICTORS, ExamPredictions, FoldEnsembles
from cspine_assets.domain.tables.warehouse import Database, Report

PATIENTS = [f"patient{n}" for n in range(7)]
EXAMS = [*(f"{patient}_01_01" for patient in PATIENTS), "patient6_02_01"]
TESTED = EXAMS[4:]
AGES = [30, 45, 59, 60, 79.5, None, None, 82]


def frames() -> dict[type[Table], pd.DataFrame]:
    """Returns every table to publish; those that nothing here needs are empty."""
    given = {table: empty_frame(table) for table in all_tables() if table not in (Database, Report)}
    made = {
        Patients: _patients(),
        Exams: _exams(),
        AnnotationProvenance: _per_exam(provenance=["expert"] * 7 + ["model"], source="none", part=None, reason=None),
        Splits: _per_exam(
            part=["development"] * 4 + ["test"] * 4,
            fold=[0, 1, 2, 3, None, None, None, None],
            annotation_provenance=["expert"] * 7 + ["model"],
            rule="published",
            split_sha256="s",
        ),
        Volumes: _per_exam(status="ok", series_uid="1.2", path=[f"volumes/{exam}.nii.gz" for exam in EXAMS]),
        Masks: _per_exam(status="ok", path=[f"masks/{exam}.nii.gz" for exam in EXAMS]),
        ExamPredictions: _predictions("test"),
        FoldEnsembles: _predictions("cv"),
        ExamMetrics: _metrics(),
        LevelMetrics: _levels(),
        History: _history(),
    }
    return {**given, **{table: _described(table, frame) for table, frame in made.items()}}


def patient_of(exam: str) -> str:
    return exam.split("_", maxsplit=1)[0]


def dice(exam: str, predictor: str, structure: str) -> float:
    """Later exams are worse, discs are worse than bodies, and the ensemble is the best."""
    return round(
        0.95 - 0.02 * EXAMS.index(exam) - 0.03 * STRUCTURES.index(structure) + 0.01 * PREDICTORS.index(predictor), 4
    )


def _described(table: type[Table], frame: pd.DataFrame) -> pd.DataFrame:
    usual = {"string": "x", "int64": 1, "double": 0.5, "bool": False}
    unsaid = {
        field.name: None if field.nullable else usual[str(field.type)]
        for field in arrow_schema(table)
        if field.name not in frame
    }
    return validate(table, frame.assign(**unsaid)[column_names(table)])


def _per_exam(**columns: object) -> pd.DataFrame:
    return pd.DataFrame({"exam_id": EXAMS, "patient_id": [patient_of(exam) for exam in EXAMS], **columns})


def _patients() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "patient_id": PATIENTS,
            "sex": ["Female", "Male", "Female", "Male", "Female", "Male", "Not Reported"],
            "race": "White",
            "ethnicity": "Not Reported",
            "age_years": AGES[:7],
            "age_over_89": [False] * 5 + [True, False],
            "exam_count": [1] * 6 + [2],
        }
    )


def _exams() -> pd.DataFrame:
    patients = _patients().set_index("patient_id")
    return _per_exam(
        study_uid="1.1",
        series_uid=[f"1.2.{n}" for n in range(len(EXAMS))],
        study_number=1,
        series_number=1,
        number_of_instances=15,
        age_years=AGES,
        age_over_89=[exam == EXAMS[5] for exam in EXAMS],
        sex=[patients.loc[patient_of(exam), "sex"] for exam in EXAMS],
        race="White",
        ethnicity="Not Reported",
        manufacturer=["Siemens", "GE"] * 4,
        magnetic_field_strength_t=[1.5, 1.5, 3.0, 3.0, 1.5, 3.0, None, 1.5],
        slice_thickness_mm=3.0,
    )


def _rows(exams: list[str]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"exam_id": exam, "patient_id": patient_of(exam), "predictor": predictor, "profile": "demo"}
            for exam in exams
            for predictor in PREDICTORS
        ]
    )


def _predictions(part: str) -> pd.DataFrame:
    rows = _rows(TESTED if part == "test" else EXAMS[:4])
    paths = [f"predictions/{part}/{row.predictor}/{row.exam_id}.nii.gz" for row in rows.itertuples()]
    folds = [EXAMS.index(exam) % 5 for exam in rows["exam_id"]]
    return rows.assign(set=part, fold=folds, postprocessing="none", status="ok", path=paths)


def _metrics() -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                **row,
                "set": "test_model" if row["exam_id"] == EXAMS[-1] else "test" if row["exam_id"] in TESTED else "cv",
                "structure": structure,
                "split_sha256": "s",
                "annotation_provenance": "model" if row["exam_id"] == EXAMS[-1] else "expert",
                "status": "ok",
                "dice_volumetric": dice(row["exam_id"], row["predictor"], structure),
                "dice_slice_mean": dice(row["exam_id"], row["predictor"], structure) - 0.01,
                "volume_reference_mm3": 1000.0,
                "volume_prediction_mm3": 990.0,
                "volume_difference_relative": -0.01,
            }
            for row in _rows(EXAMS).to_dict("records")
            for structure in STRUCTURES
        ]
    )


def _history() -> pd.DataFrame:
    same = {"predictor": "ensemble", "set_name": "test", "structure": STRUCTURES[0], "metric": "dice_volumetric"}
    rows = [("first", "2026-01-05T03:00:00+00:00", 0.90), ("second", "2026-01-12T03:00:00+00:00", 0.88)]
    return pd.DataFrame(
        [
            {**same, "profile": "demo", "evaluation_id": name, "evaluated_at": at, "mean": mean}
            for name, at, mean in rows
        ]
    )


def _levels() -> pd.DataFrame:
    metrics = _metrics()
    discs = metrics[metrics["structure"] == "intervertebral_disc"]
    rows = [
        {
            **row,
            "level": level,
            "view": view,
            "protocol": "anatomical",
            "dice": None if level == DISC_LEVELS[-1] else row["dice_volumetric"],
            "status": "absent" if level == DISC_LEVELS[-1] else "ok",
            "severity": "name_unsure" if level == DISC_LEVELS[0] else "none",
            "flags": "few_bodies" if level == DISC_LEVELS[0] else None,
        }
        for row in discs.to_dict("records")
        for level in DISC_LEVELS
        for view in ("mid_sagittal", "3d")
    ]
    return pd.DataFrame(rows)
