"""Tables of schema ``prediction``: the masks that the models drew.

Add a column when a prediction needs to say more of itself. Scores stand in schema ``evaluation``.
"""

from __future__ import annotations

from cspine_assets.domain.tables.base import Integer, Number, Table, Text, Truth, column
from cspine_assets.domain.tables.evaluation import MODEL, PROFILES

PREDICTORS = ("2d", "3d_fullres", "ensemble")
POSTPROCESSINGS = ("none", "keep_largest")
_POSTPROCESSING = "What was done to the mask after prediction, as chosen in nnunet.postprocessing"
_DISABLE_TTA = "Whether masks were predicted without averaging over mirrored copies; nnU-Net's name"
_STEP_SIZE = "Step of the sliding window as a share of the patch; nnU-Net's name"


class ExamPredictions(Table):
    """One row per test or unannotated exam and predictor: a mask drawn by all folds together."""

    exam_id: Text = column("Exam: patient, study and series number")
    patient_id: Text = column("Patient")
    set: Text = column("test or unannotated", isin=("test", "unannotated"))
    predictor: Text = column("2d, 3d_fullres, or their ensemble", isin=PREDICTORS)
    profile: Text = column("Profile of the models; demo masks are no results", isin=PROFILES)
    model_sha256: Text = column(MODEL)
    disable_tta: Truth = column(_DISABLE_TTA)
    step_size: Number = column(_STEP_SIZE, gt=0, le=1)
    postprocessing: Text = column(_POSTPROCESSING, isin=POSTPROCESSINGS)
    status: Text = column("ok, or failed: then only the reason is given", isin=("ok", "failed"))
    reason: Text = column("Why there is no mask", nullable=True)
    path: Text = column("Mask file, relative to the home", nullable=True)
    sha256: Text = column("SHA-256 of the mask file", nullable=True)

    class Config:
        """Name and key."""

        name = "prediction.exam_predictions"
        unique = ["exam_id", "predictor"]


class FoldPredictions(Table):
    """One row per development exam and predictor: a mask drawn by the fold that did not see the patient, as it came.

    No postprocessing: by these masks it is chosen.
    """

    exam_id: Text = column("Exam: patient, study and series number")
    patient_id: Text = column("Patient")
    fold: Integer = column("Fold that held the exam out", ge=0)
    predictor: Text = column("2d, 3d_fullres, or their ensemble", isin=PREDICTORS)
    profile: Text = column("Profile of the models; demo masks are no results", isin=PROFILES)
    model_sha256: Text = column(MODEL)
    disable_tta: Truth = column(_DISABLE_TTA)
    step_size: Number = column(_STEP_SIZE, gt=0, le=1)
    status: Text = column("ok, or failed: then only the reason is given", isin=("ok", "failed"))
    reason: Text = column("Why there is no mask", nullable=True)
    path: Text = column("Mask file, relative to the home", nullable=True)
    sha256: Text = column("SHA-256 of the mask file", nullable=True)

    class Config:
        """Name and key."""

        name = "prediction.fold_predictions"
        unique = ["exam_id", "predictor"]


class FoldEnsembles(Table):
    """One row per development exam and predictor: the mask of prediction.fold_predictions with its postprocessing.

    The choice of postprocessing was made on these very exams: what it gains here is a little too good.
    """

    exam_id: Text = column("Exam: patient, study and series number")
    patient_id: Text = column("Patient")
    fold: Integer = column("Fold that held the exam out", ge=0)
    predictor: Text = column("2d, 3d_fullres, or their ensemble", isin=PREDICTORS)
    profile: Text = column("Profile of the models; demo masks are no results", isin=PROFILES)
    model_sha256: Text = column(MODEL)
    postprocessing: Text = column(_POSTPROCESSING, isin=POSTPROCESSINGS)
    status: Text = column("ok, or failed: then only the reason is given", isin=("ok", "failed"))
    reason: Text = column("Why there is no mask", nullable=True)
    path: Text = column("Mask file, relative to the home", nullable=True)
    sha256: Text = column("SHA-256 of the mask file", nullable=True)

    class Config:
        """Name and key."""

        name = "prediction.fold_ensembles"
        unique = ["exam_id", "predictor"]
