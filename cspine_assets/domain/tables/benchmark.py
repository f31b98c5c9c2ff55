"""Tables that set predictors side by side: masks from elsewhere, the leaderboard, and every evaluation ever made.

Add a table here when it compares across tools or over time. What is measured on one exam stands in ``evaluation``.
"""

from __future__ import annotations

from cspine_assets.domain.tables.base import Integer, Number, Table, Text, column
from cspine_assets.domain.tables.cohort import PROVENANCES
from cspine_assets.domain.tables.evaluation import PROFILES, STRUCTURES, ExamMetrics, ModelComparison

_SPLIT = "SHA-256 of the split that says which exams are tested on, as in cohort.splits"
_PROFILE = "Profile of the study; demo numbers are no results"


class ExternalPredictions(Table):
    """One row per external predictor and test exam: its mask, or why there is none that can be used."""

    exam_id: Text = column("Exam: patient, study and series number")
    patient_id: Text = column("Patient")
    predictor: Text = column("Name of the predictor: its folder under external_predictions")
    profile: Text = column(_PROFILE, isin=PROFILES)
    model_sha256: Text = column("SHA-256 of the predictor: that of all its masks together, as in evaluation.history")
    status: Text = column(
        "ok; missing (no file of the exam's name); refused (a file that cannot be used, see the reason)",
        isin=("ok", "missing", "refused"),
    )
    reason: Text = column("Why the mask is not used; missing where it is", nullable=True)
    path: Text = column("Mask file, relative to the home", nullable=True)
    sha256: Text = column("SHA-256 of the mask file", nullable=True)
    predictor_provenance: Text = column("What the predictor learned from, as its predictor.json says", nullable=True)
    predictor_settings: Text = column("Its settings, as its predictor.json says: a JSON object", nullable=True)

    class Config:
        """Name and key."""

        name = "prediction.external_predictions"
        unique = ["exam_id", "predictor"]


class ExternalMetrics(ExamMetrics):
    """One row per test exam, external predictor and structure; columns and ruler are those of evaluation.exam_metrics.

    Every exam of the test set has its rows: one without a usable mask is scored as an empty one, and so is missed.
    """

    class Config:
        """Name and key."""

        name = "evaluation.external_metrics"
        unique = ["exam_id", "predictor", "structure", "set"]


class ExternalComparison(ModelComparison):
    """One row per external predictor, structure, metric and protocol: how much it differs from the ensemble.

    The external predictor is always a and the ensemble b, whatever their names. Each predictor is a
    family of its own in Holm's correction, so that one more folder changes no other's p-value.
    """

    class Config:
        """Name and key."""

        name = "evaluation.external_comparison"
        unique = [
            "set_name",
            "predictor_a",
            "predictor_b",
            "structure",
            "metric",
            "protocol",
            "profile",
            "split_sha256",
        ]


class Leaderboard(Table):
    """One row per predictor and test set, ranked by the mean over exams of the macro dice_volumetric.

    An exam without a usable mask counts as missed, with a Dice of 0; coverage says how many there are with one.
    """

    set_name: Text = column("test where experts drew the reference; test_model or test_unknown otherwise")
    rank: Integer = column("Rank, 1 is best; equal means share one", ge=1)
    predictor: Text = column("2d, 3d_fullres, ensemble, or the name of an external predictor")
    origin: Text = column("own: a model of this study; external: masks from elsewhere", isin=("own", "external"))
    profile: Text = column(_PROFILE, isin=PROFILES)
    split_sha256: Text = column(_SPLIT)
    annotation_provenance: Text = column("Who drew the reference masks", isin=PROVENANCES)
    exams: Integer = column("Exams of the set that have a reference mask", unit="exams", ge=0)
    exams_predicted: Integer = column("Exams with a usable mask of the predictor", unit="exams", ge=0)
    coverage: Number = column("Share of the exams with a usable mask", ge=0, le=1)
    dice_macro_mean: Number = column(
        "Mean over exams of the mean dice_volumetric of both structures, missing exams as 0", nullable=True, ge=0, le=1
    )
    dice_macro_median: Number = column("Median over exams of the same", nullable=True, ge=0, le=1)
    dice_vertebral_body_mean: Number = column(
        "Mean dice_volumetric of vertebral bodies, missing exams as 0", nullable=True, ge=0, le=1
    )
    dice_intervertebral_disc_mean: Number = column(
        "Mean dice_volumetric of discs, missing exams as 0", nullable=True, ge=0, le=1
    )
    difference_to_ensemble: Number = column(
        "Median over exams of macro Dice minus the ensemble's on the same exam", nullable=True, ge=-1, le=1
    )
    ci_low: Number = column("Lower end of its 95 % paired bootstrap interval", nullable=True, ge=-1, le=1)
    ci_high: Number = column("Upper end of its 95 % paired bootstrap interval", nullable=True, ge=-1, le=1)
    predictions_sha256: Text = column("SHA-256 over the masks that were scored")
    predictor_provenance: Text = column("What an external predictor learned from, as it says itself", nullable=True)
    predictor_settings: Text = column("Settings of an external predictor, as it says itself", nullable=True)

    class Config:
        """Name and key."""

        name = "evaluation.leaderboard"
        unique = ["set_name", "predictor", "profile", "split_sha256"]


class History(Table):
    """One row per evaluation, predictor, set, structure and metric, kept for ever; macro is over both structures.

    An evaluation adds rows for those predictors alone whose model, exams, split, code or values have changed.
    """

    evaluation_id: Text = column("The evaluation: id of the run that asked for it")
    evaluated_at: Text = column("When the rows were added: ISO 8601, UTC")
    predictor: Text = column("2d, 3d_fullres, ensemble, or the name of an external predictor")
    set_name: Text = column("cv or test, with the provenance behind it where it is not expert")
    structure: Text = column("Segmented structure, or macro", isin=(*STRUCTURES, "macro"))
    metric: Text = column("Column of evaluation.exam_metrics that is summed up, an infinite distance as the diagonal")
    profile: Text = column(_PROFILE, isin=PROFILES)
    n: Integer = column("Exams", unit="exams", ge=0)
    n_used: Integer = column("Exams with a value", unit="exams", ge=0)
    n_missed: Integer = column("Exams whose prediction is empty or missing", unit="exams", ge=0)
    mean: Number = column("Mean over exams", nullable=True)
    median: Number = column("Median over exams", nullable=True)
    ci_low: Number = column("Lower end of the mean's 95 % bootstrap interval", nullable=True)
    ci_high: Number = column("Upper end of the mean's 95 % bootstrap interval", nullable=True)
    model_sha256: Text = column("Fingerprint of the models' checkpoints; of an external predictor, of its masks")
    exams_sha256: Text = column("Fingerprint of which exams were scored: values of one such set can be compared")
    data_sha256: Text = column("Fingerprint of the scans and reference masks of these exams")
    split_sha256: Text = column(_SPLIT)
    code_version: Text = column("Version of the metrics' code, as on the asset")
    software: Text = column("Versions of what computed it: a JSON object")
    reason: Text = column(
        "What has changed since the predictor's last row: first, model, exams, data, split, code, values or forced; "
        "several are joined by a comma"
    )
    duration_s: Number = column("From the evaluation's beginning until these rows", unit="s", ge=0)

    class Config:
        """Name and key."""

        name = "evaluation.history"
        unique = ["evaluation_id", "predictor", "set_name", "structure", "metric", "profile", "split_sha256"]
