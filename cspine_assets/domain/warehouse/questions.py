"""Worked questions: SQL that people begin with, each of them run by the tests.

Add a question when somebody asked it and the answer was not obvious. What tables and columns say stands in their
descriptions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Question:
    """A question and the statement that answers it.

    Attributes:
        asked: The question, as a person asks it.
        select: The statement.
        read: How to read the answer.
    """

    asked: str
    select: str
    read: str


QUESTIONS: Final[tuple[Question, ...]] = (
    Question(
        "What is in the database, and how much of it?",
        "select table_name, kind, rows, foreign_keys from warehouse.database order by table_name",
        "One row per table and view. The same rows say when it was published and from what.",
    ),
    Question(
        "What does a column mean?",
        "select column_name, data_type, comment from duckdb_columns()\n"
        "where schema_name = 'evaluation' and table_name = 'exam_metrics' order by column_index",
        "The comment carries the unit in brackets, and the table whose key the column is.",
    ),
    Question(
        "Who is in the study, and where are exams lost?",
        "select step, name, of_step, exam_count, lost_count from cohort_flow order by step",
        "lost_count is against the step that of_step names, not against the row above.",
    ),
    Question(
        "How old are the patients, by sex?",
        "select sex, count(*) as patients, round(avg(age_years), 1) as mean_age,\n"
        "       count(*) - count(age_years) as no_age\n"
        "from cohort.patients group by sex order by sex",
        "Ages over 89 are withheld: they are missing, and age_over_89 says so.",
    ),
    Question(
        "Which scanners made the exams?",
        "select manufacturer, magnetic_field_strength_t, count(*) as exams\n"
        "from cohort.exams group by all order by exams desc",
        "Manufacturers are in one spelling; manufacturer_raw has the scanner's own.",
    ),
    Question(
        "Who drew the reference masks?",
        "select provenance, source, count(*) as exams from cohort.annotation_provenance group by all order by all",
        "Only masks drawn by experts make a test score; masks of a model measure how far two models agree.",
    ),
    Question(
        "Which exams could not be used, and why?",
        "select status, coalesce(reason, '-') as reason, count(*) as exams\n"
        "from imaging.volumes group by all order by exams desc",
        "A failed conversion keeps its row and its reason.",
    ),
    Question(
        "How well does each model do on the test set?",
        "select predictor, structure, count(*) as exams, round(avg(dice_volumetric), 4) as dice_volumetric,\n"
        "       round(avg(dice_slice_mean), 4) as dice_slice_mean\n"
        "from evaluation.exam_metrics where set = 'test' group by all order by all",
        "Two definitions of Dice: compare with the paper by dice_slice_mean, with most others by dice_volumetric.",
    ),
    Question(
        "How far do the folds differ?",
        "select fold, predictor, structure, count(*) as exams, round(avg(dice_volumetric), 4) as dice\n"
        "from evaluation.exam_metrics where set = 'cv' group by all order by all",
        "Every exam was predicted by the fold that had not seen its patient.",
    ),
    Question(
        "Does the Dice differ between groups of patients?",
        "select grouped_by, group_value, exam_count, round(dice_volumetric_median, 4) as median\n"
        "from dice_by_group where predictor = 'ensemble' and structure = 'intervertebral_disc' and set = 'test'\n"
        "order by all",
        "Look at exam_count first: a median of three exams says nothing.",
    ),
    Question(
        "Does it differ between scanner and sex together?",
        "select manufacturer, sex, predictor, structure, count(*) as exams, avg(dice_volumetric) as mean_dice,\n"
        "       median(dice_volumetric) as median_dice\n"
        "from evaluation.exam_metrics join cohort.exams using (exam_id) where set = 'cv' group by all order by all",
        "Cross-validation has four times the exams of the test set; never put both into one mean. "
        "Any column of cohort.exams will do as a group.",
    ),
    Question(
        "Which exams are the worst, and where are their files?",
        "select exam_id, set, structure, status, round(dice_volumetric, 4) as dice, volume_path, prediction_path\n"
        "from worst_exams where predictor = 'ensemble' and rank_from_worst <= 5\n"
        "order by structure, set, rank_from_worst",
        "Paths are relative to the home.",
    ),
    Question(
        "Which disc level is the hardest?",
        "select set, level, scored_count, missed_count, excluded_count, round(dice_median, 4) as median\n"
        "from level_profile\n"
        "where predictor = 'ensemble' and structure = 'intervertebral_disc' and view = 'mid_sagittal'\n"
        "  and protocol = 'anatomical' order by set, level",
        "A level that is excluded has its reason in evaluation.level_metrics; none is dropped.",
    ),
    Question(
        "Which exams have levels whose name is in doubt, and why?",
        "select exam_id, level_count, named_by, flags, reference_path\n"
        "from level_doubts order by level_count desc, exam_id",
        "Look at the mask, then say what its topmost body is: cspine levels top=C2, or table=FILE for single exams.",
    ),
    Question(
        "On how many exams is the ensemble better than its parts?",
        "select set, predictor_a, structure, count(*) as exams,\n"
        "       count(*) filter (dice_volumetric_difference < 0) as better,\n"
        "       median(dice_volumetric_difference) as median_difference\n"
        "from model_deltas where predictor_b = 'ensemble' group by all order by all",
        "A difference is first minus second: below zero the ensemble is better. evaluation.model_comparison tests it.",
    ),
    Question(
        "Has a model become better or worse since the last evaluation?",
        "select predictor, structure, evaluated_at, round(mean, 4) as mean, round(change, 4) as change,\n"
        "       same_exams, reason\n"
        "from history_trend where set_name = 'test' and metric = 'dice_volumetric'\n"
        "order by predictor, structure, evaluation_number",
        "Compare values with same_exams alone; a change within ci_low and ci_high is noise.",
    ),
)
