"""Tables of schema ``evaluation``: the scores of every exam and the summaries over them.

Add a column when the ruler measures something new. Definitions of the metrics stand in the evaluation wing.
"""

from __future__ import annotations

from cspine_assets.domain.anatomy import DISC_LEVELS, VERTEBRAE, Structure
from cspine_assets.domain.tables.base import Integer, Number, Table, Text, Truth, column

STRUCTURES = tuple(structure.value for structure in Structure)
SETS = ("cv", "test")
PROFILES = ("full", "demo")
PROVENANCES = ("expert", "model", "unknown")
_MEAN = (
    "Mean over the exams used; a missed or spurious one counts with 0 for an overlap, and with the diagonal of its "
    "volume for a distance (hd95_mm, assd_mm), in all statistics of the row"
)
_BOOTSTRAP = "the 95 % percentile bootstrap interval (9,999 draws of exams) of the"
SPLIT = "SHA-256 of the split that the model was trained by, as in cohort.splits"


class ExamMetrics(Table):
    """One row per scored exam, predictor and structure."""

    exam_id: Text = column("Exam: patient, study and series number")
    patient_id: Text = column("Patient")
    set: Text = column("cv: predicted by the fold that did not see the patient; test: by all folds", isin=SETS)
    fold: Integer = column("Fold that held the exam out; missing for the test set", nullable=True, ge=0)
    predictor: Text = column("2d, 3d_fullres, ensemble, or the name of an external predictor")
    structure: Text = column("Segmented structure", isin=STRUCTURES)
    profile: Text = column("Profile of the model; demo numbers are no results", isin=PROFILES)
    split_sha256: Text = column(SPLIT)
    annotation_provenance: Text = column("Who drew the reference mask", isin=PROVENANCES)
    status: Text = column(
        "ok, missed (prediction empty), spurious (reference empty) or both_empty",
        isin=("ok", "missed", "spurious", "both_empty"),
    )
    dice_volumetric: Number = column(
        "2 TP / (2 TP + FP + FN) over the volume; missing when both are empty", nullable=True, ge=0, le=1
    )
    dice_slice_mean: Number = column(
        "Mean over sagittal slices of the slice's Dice, 1 where both are empty: the published study's Dice", ge=0, le=1
    )
    iou: Number = column("TP / (TP + FP + FN) over the volume; missing when both are empty", nullable=True, ge=0, le=1)
    volume_reference_mm3: Number = column("Volume of the reference", unit="mm3", ge=0)
    volume_prediction_mm3: Number = column("Volume of the prediction", unit="mm3", ge=0)
    volume_difference_relative: Number = column(
        "(prediction - reference) / reference; missing when the reference is empty", nullable=True
    )
    hd95_mm: Number = column(
        "Larger of the two directed 95th percentiles of the distance between surfaces; infinite when one is empty, "
        "missing when both are",
        unit="mm",
        nullable=True,
        ge=0,
    )
    assd_mm: Number = column(
        "Mean of the two directed mean distances between surfaces; infinite when one is empty, missing when both are",
        unit="mm",
        nullable=True,
        ge=0,
    )
    nsd_1mm: Number = column(
        "Surface voxels of both masks within 1 mm of the other surface, divided by all; missing when both are empty",
        nullable=True,
        ge=0,
        le=1,
    )
    nsd_2mm: Number = column("The same within 2 mm", nullable=True, ge=0, le=1)
    diagonal_mm: Number = column(
        "Diagonal of the volume: stands for an infinite distance in a mean, as the worst case", unit="mm", gt=0
    )

    class Config:
        """Name and key."""

        name = "evaluation.exam_metrics"
        unique = ["exam_id", "predictor", "structure", "set"]


class LevelMetrics(Table):
    """One row per scored exam, predictor, level, view and protocol: a Dice, or the reason why there is none."""

    exam_id: Text = column("Exam: patient, study and series number")
    patient_id: Text = column("Patient")
    set: Text = column("cv: predicted by the fold that did not see the patient; test: by all folds", isin=SETS)
    fold: Integer = column("Fold that held the exam out; missing for the test set", nullable=True, ge=0)
    predictor: Text = column("2d, 3d_fullres, ensemble, or the name of an external predictor")
    structure: Text = column("Segmented structure", isin=STRUCTURES)
    level: Text = column("Body C2 to T1, or disc C2/C3 to C7/T1", isin=(*VERTEBRAE, *DISC_LEVELS))
    view: Text = column(
        "mid_sagittal: the middle slice, as in the published study; 3d: the volume", isin=("mid_sagittal", "3d")
    )
    protocol: Text = column(
        "anatomical: named by the bodies' frame; paper: the published rule, for discs in the middle slice alone",
        isin=("anatomical", "paper"),
    )
    profile: Text = column("Profile of the model; demo numbers are no results", isin=PROFILES)
    split_sha256: Text = column(SPLIT)
    annotation_provenance: Text = column("Who drew the reference mask", isin=PROVENANCES)
    dice: Number = column("Dice of the level; missing when it is excluded", nullable=True, ge=0, le=1)
    status: Text = column(
        "ok, missed, spurious, absent (not in the reference nor in the prediction) or excluded",
        isin=("ok", "missed", "spurious", "absent", "excluded"),
    )
    reason: Text = column("Why the level has no Dice; missing where it has one", nullable=True)
    flags: Text = column("Findings that bear on the level, joined by a comma", nullable=True)
    severity: Text = column(
        "none, note, or name_unsure: the level's name may be wrong", isin=("none", "note", "name_unsure")
    )

    class Config:
        """Name and key."""

        name = "evaluation.level_metrics"
        unique = ["exam_id", "predictor", "set", "structure", "level", "view", "protocol"]


class FoldSummary(Table):
    """One row per fold, predictor, structure, metric and provenance of the cross-validation; macro is over both.

    Structure macro is each exam's mean of both structures. Its mean is the published macro-average (the mean of the
    two structures' means); its spread is over exams, where the published one is between those two means.
    """

    set_name: Text = column("cv where experts drew the reference; cv_model or cv_unknown otherwise")
    fold: Text = column("Fold, or all: every cross-validation exam together")
    predictor: Text = column("2d, 3d_fullres or ensemble")
    structure: Text = column("Segmented structure, or macro", isin=(*STRUCTURES, "macro"))
    metric: Text = column("Column of evaluation.exam_metrics that is summed up")
    profile: Text = column("Profile of the model; demo numbers are no results", isin=PROFILES)
    split_sha256: Text = column(SPLIT)
    annotation_provenance: Text = column("Who drew the reference masks", isin=PROVENANCES)
    n: Integer = column("Exams", ge=0)
    n_used: Integer = column("Exams with a value", ge=0)
    n_missed: Integer = column("Exams whose prediction is empty", ge=0)
    n_spurious: Integer = column("Exams whose reference is empty and prediction is not", ge=0)
    mean: Number = column(_MEAN, nullable=True)
    mean_ci_low: Number = column(f"Lower end of {_BOOTSTRAP} mean", nullable=True)
    mean_ci_high: Number = column(f"Upper end of {_BOOTSTRAP} mean", nullable=True)
    sd: Number = column("Standard deviation with n in the denominator, as published", nullable=True, ge=0)
    sd_sample: Number = column("Standard deviation with n - 1 in the denominator", nullable=True, ge=0)
    median: Number = column("Median", nullable=True)
    median_ci_low: Number = column(f"Lower end of {_BOOTSTRAP} median", nullable=True)
    median_ci_high: Number = column(f"Upper end of {_BOOTSTRAP} median", nullable=True)
    q1: Number = column("First quartile", nullable=True)
    q3: Number = column("Third quartile", nullable=True)

    class Config:
        """Name and key."""

        name = "evaluation.fold_summary"
        unique = ["set_name", "fold", "predictor", "structure", "metric", "profile", "split_sha256"]


class SummaryOnTest(Table):
    """One row per predictor, structure, metric and provenance of the test set; structure macro is over both.

    Structure macro is each exam's mean of both structures. Its mean is the published macro-average (the mean of the
    two structures' means); its spread is over exams, where the published one is between those two means.
    """

    set_name: Text = column("test where experts drew the reference; test_model or test_unknown otherwise")
    predictor: Text = column("2d, 3d_fullres, ensemble, or the name of an external predictor")
    structure: Text = column("Segmented structure, or macro", isin=(*STRUCTURES, "macro"))
    metric: Text = column("Column of evaluation.exam_metrics that is summed up")
    profile: Text = column("Profile of the model; demo numbers are no results", isin=PROFILES)
    split_sha256: Text = column(SPLIT)
    annotation_provenance: Text = column("Who drew the reference masks", isin=PROVENANCES)
    n: Integer = column("Exams", ge=0)
    n_used: Integer = column("Exams with a value", ge=0)
    n_missed: Integer = column("Exams whose prediction is empty", ge=0)
    n_spurious: Integer = column("Exams whose reference is empty and prediction is not", ge=0)
    mean: Number = column(_MEAN, nullable=True)
    mean_ci_low: Number = column(f"Lower end of {_BOOTSTRAP} mean", nullable=True)
    mean_ci_high: Number = column(f"Upper end of {_BOOTSTRAP} mean", nullable=True)
    sd: Number = column("Standard deviation with n in the denominator, as published", nullable=True, ge=0)
    sd_sample: Number = column("Standard deviation with n - 1 in the denominator", nullable=True, ge=0)
    median: Number = column("Median", nullable=True)
    median_ci_low: Number = column(f"Lower end of {_BOOTSTRAP} median", nullable=True)
    median_ci_high: Number = column(f"Upper end of {_BOOTSTRAP} median", nullable=True)
    q1: Number = column("First quartile", nullable=True)
    q3: Number = column("Third quartile", nullable=True)

    class Config:
        """Name and key."""

        name = "evaluation.test_summary"
        unique = ["set_name", "predictor", "structure", "metric", "profile", "split_sha256"]


class ModelComparison(Table):
    """One row per pair of predictors, structure, metric, set and protocol: how much one differs from the other."""

    set_name: Text = column("cv or test, with the provenance behind it where it is not expert")
    predictor_a: Text = column("First predictor")
    predictor_b: Text = column("Second predictor")
    structure: Text = column("Segmented structure, or macro: each exam's mean of both", isin=(*STRUCTURES, "macro"))
    metric: Text = column("Column of evaluation.exam_metrics that is compared")
    protocol: Text = column(
        "paired: Wilcoxon signed-rank on the same exams, Holm over the pairs and structures of one set and metric "
        "(macro by itself); paper: Mann-Whitney U and the unpaired bootstrap",
        isin=("paired", "paper"),
    )
    profile: Text = column("Profile of the models; demo numbers are no results", isin=PROFILES)
    split_sha256: Text = column(SPLIT)
    n: Integer = column("Exams that both predictors have", ge=0)
    median_difference: Number = column(
        "paired: median of a - b over exams; paper: median of a - median of b", nullable=True
    )
    ci_low: Number = column("Lower end of the 95 % bootstrap interval of the median difference", nullable=True)
    ci_high: Number = column("Upper end of the 95 % bootstrap interval of the median difference", nullable=True)
    statistic: Number = column("Test statistic", nullable=True)
    p_value: Number = column("Two-sided p-value, uncorrected", nullable=True, ge=0, le=1)
    p_value_holm: Number = column(
        "p-value after Holm's correction over the family; paired only", nullable=True, ge=0, le=1
    )
    effect_size: Number = column("Matched-pairs rank-biserial correlation; paired only", nullable=True, ge=-1, le=1)
    significant: Truth = column("Whether the (corrected) p-value is below 0.05", nullable=True)

    class Config:
        """Name and key."""

        name = "evaluation.model_comparison"
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


class LevelComparison(Table):
    """One row per pair of levels, structure, predictor, view, naming, set and protocol: how much the two differ.

    A level whose name may be wrong (severity name_unsure) is not compared. n_a of the paired protocol, n_unsure and
    n_without make n_exams.
    """

    set_name: Text = column("cv or test, with the provenance behind it where it is not expert")
    predictor: Text = column("2d, 3d_fullres, ensemble, or the name of an external predictor")
    structure: Text = column("Segmented structure", isin=STRUCTURES)
    view: Text = column(
        "mid_sagittal: the middle slice, as in the published study; 3d: the volume", isin=("mid_sagittal", "3d")
    )
    naming: Text = column(
        "Protocol of evaluation.level_metrics. anatomical: named by the bodies' frame; paper: the published rule",
        isin=("anatomical", "paper"),
    )
    level_a: Text = column("Upper level")
    level_b: Text = column("Lower level")
    protocol: Text = column(
        "paired: Wilcoxon signed-rank on exams that have both levels, Holm over the pairs of one set, predictor, "
        "structure, view and naming; paper: Mann-Whitney U and the unpaired bootstrap on exams that have either",
        isin=("paired", "paper"),
    )
    profile: Text = column("Profile of the model; demo numbers are no results", isin=PROFILES)
    split_sha256: Text = column(SPLIT)
    n_exams: Integer = column("Exams of the set", ge=0)
    n_a: Integer = column("Exams compared at the upper level", ge=0)
    n_b: Integer = column("Exams compared at the lower level", ge=0)
    n_unsure: Integer = column("Exams with a Dice at both levels, not compared: a level's name may be wrong", ge=0)
    n_without: Integer = column("Exams without a Dice at one of the levels; level_metrics has the reason", ge=0)
    median_a: Number = column("Median Dice of the upper level", nullable=True, ge=0, le=1)
    median_b: Number = column("Median Dice of the lower level", nullable=True, ge=0, le=1)
    median_difference: Number = column(
        "paired: median of a - b over exams; paper: median of a - median of b", nullable=True
    )
    ci_low: Number = column("Lower end of the 95 % bootstrap interval of the median difference", nullable=True)
    ci_high: Number = column("Upper end of the 95 % bootstrap interval of the median difference", nullable=True)
    statistic: Number = column("Test statistic", nullable=True)
    p_value: Number = column("Two-sided p-value, uncorrected", nullable=True, ge=0, le=1)
    p_value_holm: Number = column(
        "p-value after Holm's correction over the family; paired only", nullable=True, ge=0, le=1
    )
    effect_size: Number = column(
        "Matched-pairs rank-biserial correlation, above 0 where the upper level is higher; paired only",
        nullable=True,
        ge=-1,
        le=1,
    )
    significant: Truth = column("Whether the (corrected) p-value is below 0.05", nullable=True)

    class Config:
        """Name and key."""

        name = "evaluation.level_comparison"
        unique = [
            "set_name",
            "predictor",
            "structure",
            "view",
            "naming",
            "level_a",
            "level_b",
            "protocol",
            "profile",
            "split_sha256",
        ]
