"""Views of the published database: questions that are asked so often that they have a name.

Add a view when the third person writes the same join. A view is described like a table (what a row is, what a column
says) and tells which tables it needs; how it is published is no matter of this module.
"""

from __future__ import annotations

from dataclasses import dataclass

from cspine_assets.domain.tables.base import Integer, Number, Table, Text, Truth, column
from cspine_assets.domain.tables.benchmark import History
from cspine_assets.domain.tables.cohort import AnnotationProvenance, Exams, Splits
from cspine_assets.domain.tables.evaluation import SET, ExamMetrics, LevelMetrics
from cspine_assets.domain.tables.group_names import AGE_BANDS, ALL, NOMINAL_PER_TESLA, NOT_REPORTED
from cspine_assets.domain.tables.imaging import Masks, Volumes
from cspine_assets.domain.tables.prediction import ExamPredictions, FoldEnsembles

_PREDICTOR = "2d, 3d_fullres or ensemble"
_PROFILE = "Profile of the model; demo numbers are no results"
_PROVENANCE = "Who drew the reference masks: expert, model or unknown"
_VOLUMETRIC = "Dice over the volume"
_SLICE_MEAN = "mean over sagittal slices, the published study's Dice"


@dataclass(frozen=True)
class View:
    """A view: its description and the SELECT behind it.

    Attributes:
        description: What a row is and what its columns say; the name begins with ``main.``.
        needs: Tables it reads; without one of them the view is not published.
        select: The statement.
    """

    description: type[Table]
    needs: tuple[type[Table], ...]
    select: str

    @property
    def name(self) -> str:
        """The name without a schema, as people write it."""
        return self.description.full_name().removeprefix("main.")


class DiceByGroup(Table):
    """One row per set, predictor, structure and group of exams: how the Dice is spread in it."""

    set: Text = column(SET)
    annotation_provenance: Text = column(_PROVENANCE)
    predictor: Text = column(_PREDICTOR)
    structure: Text = column("Segmented structure")
    profile: Text = column(_PROFILE)
    grouped_by: Text = column("all, sex, race, ethnicity, age_band, manufacturer or field_strength")
    group_value: Text = column(
        "The group, named as in evaluation.group_metrics: Female, 40-49, Siemens or 1.5 T; Not Reported where unknown"
    )
    exam_count: Integer = column("Exams of the group", unit="exams")
    patient_count: Integer = column("Patients of the group", unit="patients")
    missed_count: Integer = column("Exams whose prediction is empty although the reference is not", unit="exams")
    dice_volumetric_mean: Number = column(f"Mean {_VOLUMETRIC}", nullable=True)
    dice_volumetric_sd_sample: Number = column(
        f"Standard deviation of the {_VOLUMETRIC}, n - 1 in the denominator", nullable=True
    )
    dice_volumetric_median: Number = column(f"Median {_VOLUMETRIC}", nullable=True)
    dice_volumetric_q1: Number = column(f"First quartile of the {_VOLUMETRIC}", nullable=True)
    dice_volumetric_q3: Number = column(f"Third quartile of the {_VOLUMETRIC}", nullable=True)
    dice_slice_mean_mean: Number = column(f"Mean of the Dice as a {_SLICE_MEAN}", nullable=True)
    dice_slice_mean_median: Number = column(f"Median of the Dice as a {_SLICE_MEAN}", nullable=True)

    class Config:
        """Name and key."""

        name = "main.dice_by_group"
        unique = [
            "set",
            "annotation_provenance",
            "predictor",
            "structure",
            "profile",
            "grouped_by",
            "group_value",
        ]


_DICE_BY_GROUP = f"""
WITH attributes AS (
    SELECT
        exam_id,
        '{ALL}' AS "all",
        sex,
        race,
        ethnicity,
        CASE
            WHEN age_over_89 THEN '{AGE_BANDS[-1][2]}'
            {" ".join(f"WHEN age_years >= {low} AND age_years < {high} THEN '{name}'" for low, high, name in AGE_BANDS)}
            WHEN age_years IS NOT NULL THEN '{AGE_BANDS[-1][2]}'
            ELSE '{NOT_REPORTED}'
        END AS age_band,
        coalesce(manufacturer, '{NOT_REPORTED}') AS manufacturer,
        coalesce(
            printf('%g T', round_even(magnetic_field_strength_t * {NOMINAL_PER_TESLA}, 0) / {NOMINAL_PER_TESLA}),
            '{NOT_REPORTED}'
        ) AS field_strength
    FROM cohort.exams
),
grouped AS (
    UNPIVOT attributes
    ON "all", sex, race, ethnicity, age_band, manufacturer, field_strength
    INTO NAME grouped_by VALUE group_value
)
SELECT
    metrics."set",
    metrics.annotation_provenance,
    metrics.predictor,
    metrics.structure,
    metrics.profile,
    grouped.grouped_by,
    grouped.group_value,
    count(*) AS exam_count,
    count(DISTINCT metrics.patient_id) AS patient_count,
    count(*) FILTER (metrics.status = 'missed') AS missed_count,
    avg(metrics.dice_volumetric) AS dice_volumetric_mean,
    stddev_samp(metrics.dice_volumetric) AS dice_volumetric_sd_sample,
    median(metrics.dice_volumetric) AS dice_volumetric_median,
    quantile_cont(metrics.dice_volumetric, 0.25) AS dice_volumetric_q1,
    quantile_cont(metrics.dice_volumetric, 0.75) AS dice_volumetric_q3,
    avg(metrics.dice_slice_mean) AS dice_slice_mean_mean,
    median(metrics.dice_slice_mean) AS dice_slice_mean_median
FROM evaluation.exam_metrics AS metrics
JOIN grouped USING (exam_id)
GROUP BY ALL
"""  # noqa: S608 - the pieces are constants of the cohort


class WorstExams(Table):
    """One row per scored exam, predictor and structure, ranked from the worst, with what helps to look at it."""

    set: Text = column(SET)
    predictor: Text = column(_PREDICTOR)
    structure: Text = column("Segmented structure")
    rank_from_worst: Integer = column(
        "1 for the exam with the lowest volumetric Dice of its set, predictor and structure"
    )
    exam_id: Text = column("Exam: patient, study and series number")
    patient_id: Text = column("Patient")
    annotation_provenance: Text = column("Who drew the reference mask")
    profile: Text = column(_PROFILE)
    status: Text = column("ok, missed (prediction empty), spurious (reference empty) or both_empty")
    dice_volumetric: Number = column(f"{_VOLUMETRIC}; missing when both masks are empty", nullable=True)
    dice_slice_mean: Number = column(f"Dice as a {_SLICE_MEAN}")
    volume_difference_relative: Number = column("(prediction - reference) / reference, of the volume", nullable=True)
    manufacturer: Text = column("Manufacturer of the scanner", nullable=True)
    magnetic_field_strength_t: Number = column("Field strength", unit="T", nullable=True)
    slice_thickness_mm: Number = column("Slice thickness", unit="mm", nullable=True)
    volume_path: Text = column("Volume, relative to the home", nullable=True)
    reference_path: Text = column("Reference mask, relative to the home", nullable=True)
    prediction_path: Text = column("Predicted mask, relative to the home", nullable=True)

    class Config:
        """Name and key."""

        name = "main.worst_exams"
        unique = ["set", "predictor", "structure", "exam_id"]


_WORST_EXAMS = """
WITH predicted AS (
    SELECT exam_id, predictor, 'test' AS "set", path FROM prediction.exam_predictions WHERE "set" = 'test'
    UNION ALL
    SELECT exam_id, predictor, 'cv' AS "set", path FROM prediction.fold_ensembles
)
SELECT
    metrics."set",
    metrics.predictor,
    metrics.structure,
    row_number() OVER (
        PARTITION BY metrics."set", metrics.predictor, metrics.structure
        ORDER BY metrics.dice_volumetric NULLS LAST, metrics.dice_slice_mean, metrics.exam_id
    ) AS rank_from_worst,
    metrics.exam_id,
    metrics.patient_id,
    metrics.annotation_provenance,
    metrics.profile,
    metrics.status,
    metrics.dice_volumetric,
    metrics.dice_slice_mean,
    metrics.volume_difference_relative,
    exams.manufacturer,
    exams.magnetic_field_strength_t,
    exams.slice_thickness_mm,
    volumes.path AS volume_path,
    masks.path AS reference_path,
    predicted.path AS prediction_path
FROM evaluation.exam_metrics AS metrics
LEFT JOIN cohort.exams AS exams USING (exam_id)
LEFT JOIN imaging.volumes AS volumes USING (exam_id)
LEFT JOIN imaging.masks AS masks USING (exam_id)
LEFT JOIN predicted
    ON predicted.exam_id = metrics.exam_id
    AND predicted.predictor = metrics.predictor
    AND predicted."set" = split_part(metrics."set", '_', 1)
"""


class LevelProfile(Table):
    """One row per set, predictor, structure, level, view and protocol: how well each level is segmented."""

    set: Text = column(SET)
    annotation_provenance: Text = column(_PROVENANCE)
    predictor: Text = column(_PREDICTOR)
    structure: Text = column("Segmented structure")
    level: Text = column("Level, from C2 downwards")
    view: Text = column("mid_sagittal: the middle slice; 3d: the volume")
    protocol: Text = column("anatomical: named by the bodies' frame; paper: the published rule")
    profile: Text = column(_PROFILE)
    exam_count: Integer = column("Exams looked at", unit="exams")
    scored_count: Integer = column("Exams with a Dice at this level", unit="exams")
    missed_count: Integer = column("Exams whose prediction lacks the level", unit="exams")
    excluded_count: Integer = column("Exams where the level could not be judged; the reason stands in the rows")
    absent_count: Integer = column("Exams where neither mask has the level", unit="exams")
    dice_mean: Number = column("Mean Dice of the scored exams", nullable=True)
    dice_sd_sample: Number = column("Standard deviation, n - 1 in the denominator", nullable=True)
    dice_median: Number = column("Median Dice", nullable=True)
    dice_q1: Number = column("First quartile of the Dice", nullable=True)
    dice_q3: Number = column("Third quartile of the Dice", nullable=True)

    class Config:
        """Name and key."""

        name = "main.level_profile"
        unique = [
            "set",
            "annotation_provenance",
            "predictor",
            "structure",
            "level",
            "view",
            "protocol",
            "profile",
        ]


_LEVEL_PROFILE = """
SELECT
    "set",
    annotation_provenance,
    predictor,
    structure,
    "level",
    "view",
    protocol,
    profile,
    count(*) AS exam_count,
    count(dice) AS scored_count,
    count(*) FILTER (status = 'missed') AS missed_count,
    count(*) FILTER (status = 'excluded') AS excluded_count,
    count(*) FILTER (status = 'absent') AS absent_count,
    avg(dice) AS dice_mean,
    stddev_samp(dice) AS dice_sd_sample,
    median(dice) AS dice_median,
    quantile_cont(dice, 0.25) AS dice_q1,
    quantile_cont(dice, 0.75) AS dice_q3
FROM evaluation.level_metrics
GROUP BY ALL
"""


class LevelDoubts(Table):
    """One row per exam with levels whose name is in doubt: why, and by what the topmost body got its name."""

    exam_id: Text = column("Exam: patient, study and series number")
    patient_id: Text = column("Patient")
    set: Text = column(SET)
    level_count: Integer = column("Bodies and discs in doubt, of 13", unit="levels")
    named_by: Text = column("By what the topmost body got its name, in words", nullable=True)
    flags: Text = column("Findings at these levels, joined by a comma", nullable=True)
    reference_path: Text = column("Reference mask, relative to the home", nullable=True)

    class Config:
        """Name and key."""

        name = "main.level_doubts"
        unique = ["exam_id", "set"]


_LEVEL_DOUBTS = """
WITH doubted AS (
    SELECT exam_id, patient_id, "set", "level", named_by, unnest(string_split(flags, ',')) AS flag
    FROM evaluation.level_metrics
    WHERE protocol = 'anatomical' AND severity = 'name_unsure'
)
SELECT
    doubted.exam_id,
    doubted.patient_id,
    doubted."set",
    count(DISTINCT doubted."level") AS level_count,
    any_value(doubted.named_by) AS named_by,
    string_agg(DISTINCT doubted.flag, ',' ORDER BY doubted.flag) AS flags,
    any_value(masks.path) AS reference_path
FROM doubted
LEFT JOIN imaging.masks AS masks USING (exam_id)
GROUP BY doubted.exam_id, doubted.patient_id, doubted."set"
"""


class ModelDeltas(Table):
    """One row per exam, structure and pair of predictors that both scored it: how far they differ on this exam."""

    set: Text = column(SET)
    exam_id: Text = column("Exam: patient, study and series number")
    patient_id: Text = column("Patient")
    structure: Text = column("Segmented structure")
    predictor_a: Text = column("First predictor; its name comes first in the alphabet")
    predictor_b: Text = column("Second predictor")
    annotation_provenance: Text = column("Who drew the reference mask")
    profile: Text = column(_PROFILE)
    dice_volumetric_a: Number = column(f"{_VOLUMETRIC}, first predictor", nullable=True)
    dice_volumetric_b: Number = column(f"{_VOLUMETRIC}, second predictor", nullable=True)
    dice_volumetric_difference: Number = column("First minus second; missing where either is", nullable=True)
    dice_slice_mean_difference: Number = column(f"First minus second, of the Dice as a {_SLICE_MEAN}", nullable=True)

    class Config:
        """Name and key."""

        name = "main.model_deltas"
        unique = ["set", "exam_id", "structure", "predictor_a", "predictor_b", "profile"]


_MODEL_DELTAS = """
SELECT
    a."set",
    a.exam_id,
    a.patient_id,
    a.structure,
    a.predictor AS predictor_a,
    b.predictor AS predictor_b,
    a.annotation_provenance,
    a.profile,
    a.dice_volumetric AS dice_volumetric_a,
    b.dice_volumetric AS dice_volumetric_b,
    a.dice_volumetric - b.dice_volumetric AS dice_volumetric_difference,
    a.dice_slice_mean - b.dice_slice_mean AS dice_slice_mean_difference
FROM evaluation.exam_metrics AS a
JOIN evaluation.exam_metrics AS b USING (exam_id, structure, "set", profile)
WHERE a.predictor < b.predictor
"""


class CohortFlow(Table):
    """One row per step of the study, from the exams of the release to those with a score: who is left, who is not."""

    step: Integer = column("Position in the flow, from 1")
    name: Text = column("What the exams of this row have")
    of_step: Integer = column("Step that these exams are a part of; missing for the first", nullable=True)
    exam_count: Integer = column("Exams", unit="exams")
    patient_count: Integer = column("Patients", unit="patients")
    lost_count: Integer = column("Exams of that other step that are not here", unit="exams", nullable=True)

    class Config:
        """Name and key."""

        name = "main.cohort_flow"
        unique = ["step"]


_COHORT_FLOW = """
WITH steps(step, name, of_step) AS (
    VALUES
        (1, 'in the release, with all links', NULL),
        (2, 'converted to a volume', 1),
        (3, 'with a usable mask', 2),
        (4, 'with a usable mask drawn by experts', 3),
        (5, 'developed on, in folds', 1),
        (6, 'tested on', 1),
        (7, 'predicted only: no reference mask', 1),
        (8, 'withheld from both sides', 1),
        (9, 'developed on and scored', 5),
        (10, 'tested on and scored', 6)
),
members AS (
    SELECT 1 AS step, exam_id, patient_id FROM cohort.exams
    UNION ALL
    SELECT 2, exam_id, patient_id FROM imaging.volumes WHERE status = 'ok'
    UNION ALL
    SELECT 3, exam_id, patient_id FROM imaging.masks WHERE status = 'ok'
    UNION ALL
    SELECT 4, exam_id, masks.patient_id
    FROM imaging.masks AS masks JOIN cohort.annotation_provenance USING (exam_id)
    WHERE status = 'ok' AND provenance = 'expert'
    UNION ALL
    SELECT CASE part WHEN 'development' THEN 5 WHEN 'test' THEN 6 WHEN 'unannotated' THEN 7 ELSE 8 END,
        exam_id, patient_id
    FROM cohort.splits
    UNION ALL
    SELECT CASE WHEN starts_with("set", 'cv') THEN 9 ELSE 10 END, exam_id, patient_id FROM evaluation.exam_metrics
),
counts AS (
    SELECT step, count(DISTINCT exam_id) AS exam_count, count(DISTINCT patient_id) AS patient_count
    FROM steps LEFT JOIN members USING (step)
    GROUP BY step
)
SELECT
    steps.step::BIGINT AS step,
    steps.name,
    steps.of_step::BIGINT AS of_step,
    counts.exam_count,
    counts.patient_count,
    earlier.exam_count - counts.exam_count AS lost_count
FROM steps
JOIN counts USING (step)
LEFT JOIN counts AS earlier ON earlier.step = steps.of_step
ORDER BY steps.step
"""


class HistoryTrend(Table):
    """One row per evaluation, predictor, set, structure and metric, beside the evaluation before it."""

    predictor: Text = column(_PREDICTOR)
    set_name: Text = column("cv or test, with the provenance behind it where it is not expert")
    structure: Text = column("Segmented structure, or macro")
    metric: Text = column("Column of evaluation.exam_metrics that is summed up")
    profile: Text = column(_PROFILE)
    split_sha256: Text = column("Split that the model was trained by")
    evaluation_number: Integer = column("1 for the first evaluation of this predictor, set, structure and metric")
    evaluation_id: Text = column("The evaluation: id of the run that asked for it")
    evaluated_at: Text = column("When: ISO 8601, UTC")
    n: Integer = column("Exams", unit="exams")
    mean: Number = column("Mean over exams", nullable=True)
    ci_low: Number = column("Lower end of the mean's 95 % bootstrap interval", nullable=True)
    ci_high: Number = column("Upper end of the mean's 95 % bootstrap interval", nullable=True)
    mean_before: Number = column("Mean of the evaluation before; missing for the first", nullable=True)
    change: Number = column("Mean minus the mean before", nullable=True)
    same_exams: Truth = column("Whether both were scored on the same exams; missing for the first", nullable=True)
    reason: Text = column("What had changed, so that it was evaluated again")

    class Config:
        """Name and key."""

        name = "main.history_trend"
        unique = ["predictor", "set_name", "structure", "metric", "profile", "split_sha256", "evaluation_id"]


_HISTORY_TREND = """
SELECT
    predictor,
    set_name,
    structure,
    metric,
    profile,
    split_sha256,
    row_number() OVER series AS evaluation_number,
    evaluation_id,
    evaluated_at,
    n,
    mean,
    ci_low,
    ci_high,
    lag(mean) OVER series AS mean_before,
    mean - lag(mean) OVER series AS change,
    exams_sha256 = lag(exams_sha256) OVER series AS same_exams,
    reason
FROM evaluation.history
WINDOW series AS (
    PARTITION BY predictor, set_name, structure, metric, profile, split_sha256
    ORDER BY evaluated_at, evaluation_id
)
"""

VIEWS = (
    View(DiceByGroup, (ExamMetrics, Exams), _DICE_BY_GROUP),
    View(WorstExams, (ExamMetrics, Exams, Volumes, Masks, ExamPredictions, FoldEnsembles), _WORST_EXAMS),
    View(LevelProfile, (LevelMetrics,), _LEVEL_PROFILE),
    View(LevelDoubts, (LevelMetrics, Masks), _LEVEL_DOUBTS),
    View(ModelDeltas, (ExamMetrics,), _MODEL_DELTAS),
    View(HistoryTrend, (History,), _HISTORY_TREND),
    View(CohortFlow, (Exams, Volumes, Masks, AnnotationProvenance, Splits, ExamMetrics), _COHORT_FLOW),
)
