"""Tables of schema ``evaluation``: the scores of every exam and the summaries over them.

Add a column when the ruler measures something new. Definitions of the metrics stand in the evaluation wing.
"""

from __future__ import annotations

from cspine_assets.domain.anatomy import DISC_LEVELS, VERTEBRAE, Structure
from cspine_assets.domain.tables.base import Integer, Number, Table, Text, Truth, column
from cspine_assets.domain.tables.cohort import PROVENANCES

STRUCTURES = tuple(structure.value for structure in Structure)
SETS = ("cv", "cv_model", "cv_unknown", "test", "test_model", "test_unknown")
SET = (
    "cv: predicted by the fold that did not see the patient; test: by all folds. Plain where experts drew the "
    "reference; cv_model, test_model or cv_unknown, test_unknown where a model or nobody known did: no test score"
)
PROFILES = ("full", "demo")
_OWN = "2d, 3d_fullres or ensemble; external predictors stand in external_metrics and leaderboard"
_MEAN = (
    "Mean over the exams used; a missed or spurious one counts with 0 for an overlap (its share of empty slices for "
    "dice_slice_mean), and with the diagonal of its volume for a distance, in all statistics of the row"
)
_BOOTSTRAP = "the 95 % percentile bootstrap interval (9,999 draws of exams) of the"
_GROUPED_SET = (
    "cv or test, with the provenance behind it where it is not expert; cv_mixed or test_mixed has every provenance, "
    "and is grouped by provenance alone"
)
_GROUPING = (
    "What groups are told by: all, sex, age_band, race, manufacturer, field_strength, provenance, or two crossed"
)
MODEL = (
    "SHA-256 of the models that drew the mask: of one trained fold its nnunet.trained_folds.checkpoint_sha256, of "
    "several the SHA-256 over theirs, as in evaluation.history; of an external predictor, that of all its masks"
)
SPLIT = "SHA-256 of the split that the model was trained by, as in cohort.splits"


class ExamMetrics(Table):
    """One row per scored exam, predictor and structure."""

    exam_id: Text = column("Exam: patient, study and series number")
    patient_id: Text = column("Patient")
    set: Text = column(SET, isin=SETS)
    fold: Integer = column("Fold that held the exam out; missing for the test set", nullable=True, ge=0)
    predictor: Text = column("2d, 3d_fullres or ensemble; in external_metrics the name of an external predictor")
    structure: Text = column("Segmented structure", isin=STRUCTURES)
    profile: Text = column("Profile of the model; demo numbers are no results", isin=PROFILES)
    model_sha256: Text = column(MODEL)
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
    set: Text = column(SET, isin=SETS)
    fold: Integer = column("Fold that held the exam out; missing for the test set", nullable=True, ge=0)
    predictor: Text = column(_OWN)
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
    model_sha256: Text = column(MODEL)
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
        "none, note, or name_unsure: the name of the level, or which voxels bear it, is in doubt",
        isin=("none", "note", "name_unsure"),
    )
    confidence: Text = column(
        "How sure the name is: stated by a person, high (two pieces of evidence agree), moderate (one), or low (in "
        "doubt); missing where the rule knows no doubt",
        nullable=True,
        isin=("stated", "high", "moderate", "low"),
    )
    named_by: Text = column("By what the topmost body got its name, in words", nullable=True)

    class Config:
        """Name and key."""

        name = "evaluation.level_metrics"
        unique = ["exam_id", "predictor", "set", "structure", "level", "view", "protocol"]


class Morphometry(Table):
    """One row per scored exam, predictor, level and measure: its value in both masks, or why there is none."""

    exam_id: Text = column("Exam: patient, study and series number")
    patient_id: Text = column("Patient")
    set: Text = column(SET, isin=SETS)
    fold: Integer = column("Fold that held the exam out; missing for the test set", nullable=True, ge=0)
    predictor: Text = column(_OWN)
    level: Text = column(
        "Body C2 to T1, disc C2/C3 to C7/T1, or C2-C7 for the Cobb angle", isin=(*VERTEBRAE, *DISC_LEVELS, "C2-C7")
    )
    measure: Text = column(
        "height_mm: between the middles of both endplates; depth_mm: front to back at half the height in the middle "
        "slices; volume_mm3; "
        "disc_height_index: height of the disc over the mean height of the bodies beside it; cobb_deg: between the "
        "lower endplates of C2 and C7, positive for lordosis",
        isin=("height_mm", "depth_mm", "volume_mm3", "disc_height_index", "cobb_deg"),
    )
    profile: Text = column("Profile of the model; demo numbers are no results", isin=PROFILES)
    model_sha256: Text = column(MODEL)
    split_sha256: Text = column(SPLIT)
    annotation_provenance: Text = column("Who drew the reference mask", isin=PROVENANCES)
    value_reference: Number = column("In the reference, in the measure's unit", nullable=True)
    value_prediction: Number = column("In the prediction", nullable=True)
    difference: Number = column("Prediction minus reference", nullable=True)
    status: Text = column(
        "ok, reference_only, prediction_only or neither: in which of both masks it could be measured",
        isin=("ok", "reference_only", "prediction_only", "neither"),
    )
    reason: Text = column("Why a value is missing; missing where both are there", nullable=True)
    flags: Text = column("Findings that bear on the level, joined by a comma", nullable=True)
    severity: Text = column(
        "none, note, or name_unsure: the name of the level, or which voxels bear it, is in doubt",
        isin=("none", "note", "name_unsure"),
    )
    confidence: Text = column(
        "How sure the name is: stated by a person, high (two pieces of evidence agree), moderate (one), or low (in "
        "doubt); missing where the rule knows no doubt",
        nullable=True,
        isin=("stated", "high", "moderate", "low"),
    )
    named_by: Text = column("By what the topmost body got its name, in words", nullable=True)

    class Config:
        """Name and key."""

        name = "evaluation.morphometry"
        unique = ["exam_id", "predictor", "set", "level", "measure"]


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
    predictor: Text = column(_OWN)
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
    statistic: Number = column("paired: the smaller sum of ranks, W; paper: Mann-Whitney's U of a", nullable=True)
    p_value: Number = column("Two-sided p-value, uncorrected", nullable=True, ge=0, le=1)
    p_value_holm: Number = column(
        "p-value after Holm's correction over the family; paired only", nullable=True, ge=0, le=1
    )
    effect_size: Number = column(
        "Matched-pairs rank-biserial correlation, above 0 where a is higher; paired only", nullable=True, ge=-1, le=1
    )
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

    A level whose anatomical name may be wrong (severity name_unsure) is not compared; by the published naming every
    exam that its rule scores is. n_a of the paired protocol, n_unsure and n_without make n_exams.
    """

    set_name: Text = column("cv or test, with the provenance behind it where it is not expert")
    predictor: Text = column(_OWN)
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
    n_unsure: Integer = column(
        "Exams with a Dice at both levels, not compared: a level's name may be wrong; 0 by the published naming", ge=0
    )
    n_without: Integer = column("Exams without a Dice at one of the levels; level_metrics has the reason", ge=0)
    median_a: Number = column("Median Dice of the upper level", nullable=True, ge=0, le=1)
    median_b: Number = column("Median Dice of the lower level", nullable=True, ge=0, le=1)
    median_difference: Number = column(
        "paired: median of a - b over exams; paper: median of a - median of b", nullable=True
    )
    ci_low: Number = column("Lower end of the 95 % bootstrap interval of the median difference", nullable=True)
    ci_high: Number = column("Upper end of the 95 % bootstrap interval of the median difference", nullable=True)
    statistic: Number = column("paired: the smaller sum of ranks, W; paper: Mann-Whitney's U of a", nullable=True)
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


class GroupMetrics(Table):
    """One row per group of exams, predictor, structure, metric and set: how well the group is segmented.

    A group of fewer than ten exams is listed with is_small: no verdict hangs on it. Exams of one patient count each;
    n_patients says how many people they are.
    """

    set_name: Text = column(_GROUPED_SET)
    grouping: Text = column(_GROUPING)
    group_value: Text = column("The group, such as Female, or Female x White; Not Reported where nobody knows")
    predictor: Text = column(_OWN)
    structure: Text = column("Segmented structure", isin=STRUCTURES)
    metric: Text = column("Column of evaluation.exam_metrics that is described")
    profile: Text = column("Profile of the model; demo numbers are no results", isin=PROFILES)
    split_sha256: Text = column(SPLIT)
    n_patients: Integer = column("Patients", unit="patients", ge=0)
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
    volume_median_mm3: Number = column("Median volume of the structure in the reference", unit="mm3", ge=0)
    success_criterion: Text = column("What counts as a success; missing for a metric without one", nullable=True)
    n_success: Integer = column("Exams that are a success; a missed one is none", nullable=True, ge=0)
    success_rate: Number = column("Successes / exams used", nullable=True, ge=0, le=1)
    success_ci_low: Number = column("Lower end of Wilson's 95 % interval of the rate", nullable=True)
    success_ci_high: Number = column("Upper end of Wilson's 95 % interval of the rate", nullable=True)
    is_small: Truth = column("Whether fewer than ten exams have a value: no verdict hangs on them")

    class Config:
        """Name and key."""

        name = "evaluation.group_metrics"
        unique = [
            "set_name",
            "grouping",
            "group_value",
            "predictor",
            "structure",
            "metric",
            "profile",
            "split_sha256",
        ]


class GroupComparison(Table):
    """One row per group against the largest group of its grouping, or per test of all groups at once.

    Rows are by predictor, structure, metric and set. A group of fewer than ten exams, or one that is not reported,
    has its reason and no verdict. Structures of men are about a quarter larger than those of women, and larger
    structures score a higher Dice: the columns at_equal_volume say what is left of a difference when the volume of
    the reference is set aside.
    """

    set_name: Text = column(_GROUPED_SET)
    grouping: Text = column(_GROUPING)
    test: Text = column(
        "mann_whitney: the group against the reference group; kruskal_wallis: all groups of ten exams or more at once, "
        "where they are at least three",
        isin=("mann_whitney", "kruskal_wallis"),
    )
    group_value: Text = column("The group; all for a test of all groups")
    reference_value: Text = column("The largest group of the grouping; all for a test of all groups")
    predictor: Text = column(_OWN)
    structure: Text = column("Segmented structure", isin=STRUCTURES)
    metric: Text = column("Column of evaluation.exam_metrics that is compared")
    profile: Text = column("Profile of the model; demo numbers are no results", isin=PROFILES)
    split_sha256: Text = column(SPLIT)
    reason: Text = column("Why there is no verdict; missing where there is one", nullable=True)
    n_groups: Integer = column("Groups compared", ge=2)
    n: Integer = column("Exams of the group with a value, or of all groups", ge=0)
    n_reference: Integer = column("Exams of the reference group with a value", nullable=True, ge=0)
    median_difference: Number = column("Median of the group - median of the reference group", nullable=True)
    ci_low: Number = column("Lower end of its 95 % bootstrap interval, each group drawn by itself", nullable=True)
    ci_high: Number = column("Upper end of its 95 % bootstrap interval", nullable=True)
    effect_size: Number = column(
        "mann_whitney: Cliff's delta, P(group higher) - P(group lower); kruskal_wallis: epsilon squared",
        nullable=True,
        ge=-1,
        le=1,
    )
    statistic: Number = column("Mann-Whitney's U of the group, or Kruskal-Wallis's H", nullable=True)
    p_value: Number = column("p-value, uncorrected", nullable=True, ge=0, le=1)
    p_value_bh: Number = column(
        "p-value after Benjamini and Hochberg's correction over all groupings and both structures of one set, "
        "predictor, metric and test",
        nullable=True,
        ge=0,
        le=1,
    )
    significant: Truth = column("Whether p_value_bh is below 0.05", nullable=True)
    volume_effect_size: Number = column(
        "Effect size of the groups' reference volumes themselves: how far the volumes differ",
        nullable=True,
        ge=-1,
        le=1,
    )
    effect_size_at_equal_volume: Number = column(
        "mann_whitney: Cliff's delta that is left at equal volumes; beyond 1 in size the groups' volumes hardly "
        "overlap, and it is an extrapolation; kruskal_wallis: partial eta squared of the groups",
        nullable=True,
    )
    statistic_at_equal_volume: Number = column(
        "F of the groups in the rank analysis of covariance with the volume of the reference (Conover and Iman 1982)",
        nullable=True,
        ge=0,
    )
    p_value_at_equal_volume: Number = column("Its p-value, uncorrected", nullable=True, ge=0, le=1)
    p_value_bh_at_equal_volume: Number = column("The same, corrected as p_value_bh", nullable=True, ge=0, le=1)
    significant_at_equal_volume: Truth = column("Whether the corrected one is below 0.05", nullable=True)
    success_rate: Number = column(
        "Share of the group's exams that are a success (Dice >= 0.85, HD95 < 5 mm); missing for other metrics",
        nullable=True,
        ge=0,
        le=1,
    )
    success_rate_reference: Number = column("The same of the reference group", nullable=True, ge=0, le=1)
    success_difference: Number = column("Rate of the group - rate of the reference group", nullable=True)
    success_difference_ci_low: Number = column(
        "Lower end of its 95 % interval (Newcombe 1998, from Wilson's)", nullable=True
    )
    success_difference_ci_high: Number = column("Upper end of its 95 % interval", nullable=True)
    success_ratio: Number = column(
        "Rate of the group / rate of the reference group; missing where the latter is 0", nullable=True, ge=0
    )
    success_ratio_ci_low: Number = column(
        "Lower end of its 95 % interval (Donner and Zou 2012, from Wilson's)", nullable=True, ge=0
    )
    success_ratio_ci_high: Number = column(
        "Upper end of its 95 % interval; missing where there is none", nullable=True, ge=0
    )

    class Config:
        """Name and key."""

        name = "evaluation.group_comparison"
        unique = [
            "set_name",
            "grouping",
            "test",
            "group_value",
            "predictor",
            "structure",
            "metric",
            "profile",
            "split_sha256",
        ]
