"""Patients are scored alone, in this process or in several."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from cspine_assets.domain.evaluation.patient_score import PatientPairs, score_patients
from cspine_assets.domain.evaluation.score import Part, ScoredCase, ScoredPair, score_pairs

AFFINE = np.diag([4.0, 0.5, 0.5, 1.0])


@pytest.fixture
def mask(tmp_path: Path) -> Path:
    array = np.zeros((4, 8, 8), np.uint8)
    array[1:3, 2:6, 2:6] = 1
    array[1:3, 2:6, 6:7] = 2
    nib.save(nib.Nifti1Image(array, AFFINE), tmp_path / "mask.nii.gz")
    return tmp_path / "mask.nii.gz"


def patient(number: int, mask: Path, *, predictions=None, exams=1) -> PatientPairs:
    pairs = [
        ScoredPair(
            mask,
            (predictions or {}).get((exam, predictor), mask),
            ScoredCase(f"p{number}_e{exam}", f"p{number}", "test", None, predictor, "demo", "s", "expert", "m"),
        )
        for exam in range(exams)
        for predictor in ("2d", "ensemble")
    ]
    return PatientPairs(f"p{number}", tuple(pairs))


def test_a_bad_exam_costs_its_patient_and_nobody_else(mask: Path, tmp_path: Path):
    moved = tmp_path / "moved.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((4, 8, 9), np.uint8), AFFINE), moved)
    patients = [
        patient(1, mask),
        patient(2, mask, predictions={(0, "ensemble"): moved}, exams=2),
        PatientPairs("p3", ()),
        patient(4, mask, predictions={(0, "2d"): tmp_path / "gone.nii.gz"}),
    ]
    scores = {score.patient_id: score for score in score_patients(patients, parts=[Part.EXAMS])}
    assert scores["p1"].failure is None
    assert scores["p3"].failure is None
    assert "p2_e0: " in str(scores["p2"].failure)
    assert "shape (4, 8, 8) against (4, 8, 9)" in str(scores["p2"].failure)
    assert "gone.nii.gz" in str(scores["p4"].failure)
    # of an exam that one predictor cannot be scored for there is no row: half an exam would count in no comparison
    assert {name: sorted(set(score.frames.exams["exam_id"])) for name, score in scores.items()} == {
        "p1": ["p1_e0"],
        "p2": ["p2_e1"],
        "p3": [],
        "p4": [],
    }


def test_an_exam_that_nobody_foresaw_costs_its_patient_and_nobody_else(mask: Path, monkeypatch: pytest.MonkeyPatch):
    def scored(pairs, **how):
        if pairs[0].case.exam_id == "p1_e0":
            raise ZeroDivisionError("Doe^Jane")
        return score_pairs(pairs, **how)

    monkeypatch.setattr("cspine_assets.domain.evaluation.patient_score.score_pairs", scored)
    first, second = score_patients([patient(1, mask), patient(2, mask)], parts=[Part.EXAMS])
    assert "p1_e0: unexpected ZeroDivisionError in test_patient_score.py" in str(first.failure)
    assert "Doe" not in str(first.failure)
    assert (second.failure, len(second.frames.exams)) == (None, 4)


def test_several_processes_give_the_same_rows(mask: Path, monkeypatch: pytest.MonkeyPatch):
    patients = [patient(number, mask) for number in range(9)]
    alone = {score.patient_id: score for score in score_patients(patients, parts=list(Part))}
    monkeypatch.setattr("cspine_assets.domain.evaluation.patient_score._PATIENTS_PER_WORKER", 3)
    monkeypatch.setattr("cspine_assets.domain.evaluation.patient_score.usable_cores", lambda: 2)
    together = {score.patient_id: score for score in score_patients(patients, parts=list(Part))}
    assert together.keys() == alone.keys()
    for name, score in together.items():
        pd.testing.assert_frame_equal(score.frames.exams, alone[name].frames.exams)
        pd.testing.assert_frame_equal(score.frames.levels, alone[name].frames.levels)
