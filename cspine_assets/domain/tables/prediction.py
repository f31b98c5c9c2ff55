"""Tables of schema ``prediction``: the masks that the models drew.

Add a column when a prediction needs to say more of itself. Scores stand in schema ``evaluation``.
"""

from __future__ import annotations

from cspine_assets.domain.tables.base import Integer, Table, Text, column
from cspine_assets.domain.tables.evaluation import PROFILES

PREDICTORS = ("2d", "3d_fullres", "ensemble")


class ExamPredictions(Table):
    """One row per test or unannotated exam and predictor: a mask drawn by all folds together."""

    exam_id: Text = column("Exam: patient, study and series number")
    patient_id: Text = column("Patient")
    set: Text = column("test or unannotated", isin=("test", "unannotated"))
    predictor: Text = column("2d, 3d_fullres, or their ensemble", isin=PREDICTORS)
    profile: Text = column("Profile of the models; demo masks are no results", isin=PROFILES)
    status: Text = column("ok, or failed: then only the reason is given", isin=("ok", "failed"))
    reason: Text = column("Why there is no mask", nullable=True)
    path: Text = column("Mask file, relative to the home", nullable=True)
    sha256: Text = column("SHA-256 of the mask file", nullable=True)

    class Config:
        """Name and key."""

        name = "prediction.exam_predictions"
        unique = ["exam_id", "predictor"]


class FoldEnsembles(Table):
    """One row per development exam and predictor: a mask drawn by the fold that did not see the patient."""

    exam_id: Text = column("Exam: patient, study and series number")
    patient_id: Text = column("Patient")
    fold: Integer = column("Fold that held the exam out", ge=0)
    predictor: Text = column("2d, 3d_fullres, or their ensemble", isin=PREDICTORS)
    profile: Text = column("Profile of the models; demo masks are no results", isin=PROFILES)
    status: Text = column("ok, or failed: then only the reason is given", isin=("ok", "failed"))
    reason: Text = column("Why there is no mask", nullable=True)
    path: Text = column("Mask file, relative to the home", nullable=True)
    sha256: Text = column("SHA-256 of the mask file", nullable=True)

    class Config:
        """Name and key."""

        name = "prediction.fold_ensembles"
        unique = ["exam_id", "predictor"]
