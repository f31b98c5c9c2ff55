"""What the study's report says, section by section: each is a question to the published database and how it is shown.

Add a section when the study can answer something new. Answers are counts and summaries alone: no row of a patient or an
exam may be asked for here, since a report is made to be passed on. How a page looks stands in ``page``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import pandas as pd

from cspine_assets.domain.report.charts import balance_png, dice_png, groups_png, level_png


@dataclass(frozen=True)
class Section:
    """One part of the report.

    Attributes:
        name: Anchor and key.
        title: Heading.
        text: What a reader has to know to read it; a sentence or two.
        statement: SQL on the published database; its answer is the table.
        draw: Makes a PNG of the answer to ``drawn``, where a picture tells more than the table.
        drawn: SQL of what the picture shows; the table's own where it is empty.
    """

    name: str
    title: str
    text: str
    statement: str
    draw: Callable[[pd.DataFrame], bytes] | None = None
    drawn: str = ""


_MEAN_SD: Final = "printf('%.3f ± %.3f', mean, sd_sample)"

SECTIONS: Final[tuple[Section, ...]] = (
    Section(
        "cohort",
        "Who is in the study",
        "Every patient is on one side with all exams. A score on masks that no expert drew is no test score. How many "
        "patients a part holds is no trait of a person and is shown however few they are.",
        "select part, annotation_provenance as masks_by, count(distinct patient_id) as patients, count(*) as exams "
        "from cohort.splits group by all order by all",
    ),
    Section(
        "demographics",
        "Patients",
        "Counts of patients with at least one exam in the part; ages are those at the index event, over patients whose "
        "age is not withheld. Counts under five are not shown, nor the smallest other one beside them, nor those of "
        "all patients where they less one part's would tell the other's.",
        """
        with cells as (
          select variable, value, group_value as part, patient_count as patients, share, mean, sd_sample,
                 patient_count between 1 and 4 as is_few
          from cohort.demographics where grouped_by in ('all', 'part')
        ), placed as (
          select *, not is_few and patients > 0 and bool_or(is_few) over column_of_variable and row_number() over (
                      column_of_variable order by is_few or patients = 0, patients, value) = 1 as tells_the_few
          from cells window column_of_variable as (partition by variable, part)
        ), variables_told as (
          -- of all patients and both parts two tell the third, but for five or more who are elsewhere
          select distinct variable from placed where mean is null group by variable, value
          having count(*) filter ((is_few or tells_the_few) and part in ('all', 'development', 'test')) = 1
             and sum(patients) filter (part = 'all') - sum(patients) filter (part in ('development', 'test')) < 5
        ), shown as (
          select variable, value, part,
                 case when is_few then '< 5' when tells_the_few then 'withheld'
                      when part = 'all' and variable in (from variables_told) then 'withheld'
                      when mean is null then printf('%d (%.0f %%)', patients, 100 * share)
                      else printf('%.1f ± %.1f', mean, sd_sample) end as shown
          from placed
        )
        select variable, value, max(shown) filter (where part = 'all') as all_patients,
               max(shown) filter (where part = 'development') as development,
               max(shown) filter (where part = 'test') as test
        from shown group by all order by variable, value
        """,
    ),
    Section(
        "balance",
        "How alike test set and folds are",
        "Standardized difference of each stratum against all other annotated patients; within ±0.1, the grey band, "
        "parts are taken as balanced. The picture leaves out values of sex, age and race that fewer than five patients "
        "of a part have, and the smallest other value beside them; the table counts them.",
        "select part, count(*) as strata, max(abs(standardized_difference)) as largest_difference, "
        "count(*) filter (where abs(standardized_difference) > 0.1) as over_one_tenth "
        "from cohort.split_balance group by all order by part",
        balance_png,
        """
        with personal as (
          select variable, value, sum(patient_count) filter (part in ('development', 'test')) as patients,
                 bool_or(patient_count between 1 and 4) as is_few
          from cohort.split_balance where variable in ('sex', 'age_band', 'race_group') group by variable, value
        ), left_out as (
          select variable, value from personal
          qualify is_few or (bool_or(is_few) over (partition by variable)
                             and row_number() over (partition by variable order by is_few, patients, value) = 1)
        )
        select variable, value, part, standardized_difference from cohort.split_balance
        where (variable, value) not in (from left_out) order by all
        """,
    ),
    Section(
        "integrity",
        "The download",
        "Every check that the tables and files were put to; what was found stands in cohort.findings.",
        "select check_name, checked_count as checked, checked_what as of_what, blocking_count as to_mend, "
        "warning_count as to_look_at from cohort.integrity",
    ),
    Section(
        "imaging",
        "Volumes and masks",
        "An exam that is not ok stays out with its reason in imaging.volumes or imaging.masks; the others go on.",
        """
        select 'volume' as made, status, origin, equals_shipped as against_shipped, count(*) as exams
        from imaging.volumes group by all
        union all
        select 'mask', status, null, null, count(*) from imaging.masks group by all order by all
        """,
    ),
    Section(
        "test",
        "Test set",
        "Mean ± standard deviation (n - 1) over exams. dice_slice_mean is the published study's Dice, in which an "
        "empty slice counts as 1; dice_volumetric is the Dice over the volume. Macro is each exam's mean of both.",
        f"""
        select set_name, predictor, structure, max(n) as exams, max(n_missed) as missed,
               max({_MEAN_SD}) filter (metric = 'dice_volumetric') as dice_volumetric,
               max(median) filter (metric = 'dice_volumetric') as median_volumetric,
               max({_MEAN_SD}) filter (metric = 'dice_slice_mean') as dice_slice_mean,
               max(median) filter (metric = 'dice_slice_mean') as median_slice_mean,
               max(median) filter (metric = 'hd95_mm') as median_hd95_mm,
               max(median) filter (metric = 'nsd_1mm') as median_nsd_1mm
        from evaluation.test_summary group by all order by set_name, structure, predictor
        """,  # noqa: S608 - the pieces are this module's own
        dice_png,
        "select set, predictor, structure, dice_volumetric from evaluation.exam_metrics where set = 'test'",
    ),
    Section(
        "folds",
        "Cross-validation",
        "Mean Dice over the volume (dice_volumetric) of each fold's exams, scored by the fold that did not see their "
        "patients, and mean ± standard deviation (n - 1) over all exams.",
        f"""
        select set_name, structure, predictor, max(n) filter (fold = 'all') as exams,
               {", ".join(f"max(mean) filter (fold = '{fold}') as fold_{fold}" for fold in range(5))},
               max({_MEAN_SD}) filter (fold = 'all') as all_folds
        from evaluation.fold_summary where metric = 'dice_volumetric'
        group by all order by set_name, structure, predictor
        """,  # noqa: S608 - the pieces are this module's own
    ),
    Section(
        "comparison",
        "Are the models different?",
        "Differences a - b of dice_volumetric. Paired: the same exams under both models, Wilcoxon signed-rank, "
        "corrected after Holm; the effect is the matched-pairs rank-biserial correlation. paper: the published, "
        "unpaired protocol.",
        "select set_name, structure, predictor_a as a, predictor_b as b, protocol, n as exams, median_difference, "
        "ci_low, ci_high, coalesce(p_value_holm, p_value) as p, effect_size as effect, significant "
        "from evaluation.model_comparison where metric = 'dice_volumetric' "
        "order by protocol = 'paper', set_name, structure, a, b",
    ),
    Section(
        "leaderboard",
        "Leaderboard",
        "Own models and masks of other tools on the same test exams, by the mean over exams of both structures' "
        "dice_volumetric; differences are paired medians. "
        "An exam without a mask counts as missed; coverage says how many have one.",
        "select set_name, rank, predictor, origin, exams, coverage, dice_macro_mean, "
        "dice_vertebral_body_mean as bodies, dice_intervertebral_disc_mean as discs, difference_to_ensemble, "
        "ci_low, ci_high from evaluation.leaderboard "
        "order by set_name, rank, predictor",
    ),
    Section(
        "groups",
        "Group by group",
        "Median dice_volumetric of the ensemble with its 95 % bootstrap interval, and the share of exams with a Dice "
        "of 0.85 or more. Hollow marks are groups of fewer than ten exams, on which no verdict hangs; groups of fewer "
        "than five patients are left out, and with them the smallest other one of their grouping, for all patients "
        "less those shown would tell how many they are. Tests between groups, at equal volumes too, stand in "
        "evaluation.group_comparison.",
        """
        with marked as (
          select *, n_patients < 5 as is_few, row_number() over smallest_first as place,
                 bool_or(n_patients < 5) over of_grouping as has_few
          from evaluation.group_metrics
          where predictor = 'ensemble' and metric = 'dice_volumetric' and not contains(grouping, ' x ')
          window of_grouping as (partition by set_name, split_sha256, profile, grouping, structure),
                 smallest_first as (of_grouping order by n_patients < 5, n_patients, group_value)
        )
        select set_name, grouping, group_value, structure, n_patients as patients, n as exams, median,
               median_ci_low as ci_low, median_ci_high as ci_high, success_rate, is_small as small
        from marked where not is_few and not (has_few and place = 1)
        order by set_name desc, structure, grouping, group_value
        """,
        groups_png,
    ),
    Section(
        "levels",
        "Disc by disc",
        "Median Dice of each disc level with its quartiles, by the ensemble, set by set; the picture shows the test "
        "set, or the cross-validation where no expert drew one. A level that could not be scored is listed with its "
        "reason in evaluation.level_metrics; unsure counts levels whose name may be wrong.",
        """
        select set, view, level, count(dice) as scored, count(*) - count(dice) as not_scored,
               count(*) filter (severity = 'name_unsure') as unsure, median(dice) as median_dice,
               quantile_cont(dice, 0.25) as q1, quantile_cont(dice, 0.75) as q3
        from evaluation.level_metrics
        where predictor = 'ensemble' and protocol = 'anatomical' and structure = 'intervertebral_disc'
        group by all order by set desc, view, level
        """,
        level_png,
        """
        select view, level, median(dice) as median_dice,
               quantile_cont(dice, 0.25) as q1, quantile_cont(dice, 0.75) as q3
        from evaluation.level_metrics
        where predictor = 'ensemble' and protocol = 'anatomical' and structure = 'intervertebral_disc' and set = (
            select coalesce(max(set) filter (set = 'test'), max(set) filter (set = 'cv'), max(set))
            from evaluation.level_metrics)
        group by all
        """,
    ),
    Section(
        "names",
        "By what levels are named",
        "Exams by how sure the names of their levels are in the reference. Levels in doubt count in no comparison and "
        "in no median of sizes. To decide one: look at its mask (level_doubts lists them), then say what the topmost "
        "body is with cspine levels.",
        """
        with exams as (
          select set, exam_id, min(confidence) filter (severity <> 'name_unsure') as confidence,
                 regexp_replace(any_value(named_by), '[0-9]+ mm ', '') as named_by,
                 count(distinct level) filter (severity = 'name_unsure') as doubted, count(distinct level) as levels
          from evaluation.level_metrics
          where predictor = 'ensemble' and protocol = 'anatomical' and view = '3d' group by set, exam_id
        )
        select set, coalesce(confidence, 'low') as confidence, named_by, count(*) as exams,
               count(*) filter (doubted > 0) as with_a_level_in_doubt,
               count(*) filter (doubted = levels) as all_in_doubt
        from exams group by all order by set desc, confidence, exams desc, named_by
        """,
    ),
    Section(
        "morphometry",
        "What the masks are used for",
        "Heights, depths, volumes, disc-height index and C2-C7 Cobb angle in the ensemble's masks against the "
        "reference, over levels whose name is sure; unsure counts the others, which are left out. Of C2, whose dens "
        "stands where others have an endplate, the volume alone. Units are in the measure's name; what could not be "
        "measured has its reason in evaluation.morphometry. No measure is finer than the grid: in voxels of 2 mm and "
        "more few plates have enough of them, and angles are mostly noise.",
        """
        select set, measure,
               case when level = 'C2-C7' then 'spine' when contains(level, '/') then 'intervertebral_disc'
                    else 'vertebral_body' end as structure,
               count(*) filter (severity <> 'name_unsure') as levels,
               count(*) filter (severity = 'name_unsure') as unsure,
               count(difference) filter (severity <> 'name_unsure') as measured_in_both,
               median(value_reference) filter (difference is not null and severity <> 'name_unsure')
                   as median_reference,
               round(median(difference) filter (severity <> 'name_unsure'), 3) as median_difference,
               median(abs(difference)) filter (severity <> 'name_unsure') as median_absolute_difference
        from evaluation.morphometry
        where predictor = 'ensemble'
              and not (level = 'C2' and measure in ('height_mm', 'depth_mm'))
        group by all order by set desc, measure, structure
        """,
    ),
    Section(
        "history",
        "Over time",
        "Every evaluation of the test set: the mean over exams of the macro Dice, and what had changed since the "
        "predictor's last row.",
        "select evaluated_at, predictor, set_name, n as exams, mean, ci_low, ci_high, reason "
        "from evaluation.history where structure = 'macro' and metric = 'dice_volumetric' and set_name like 'test%' "
        "order by evaluated_at, predictor",
    ),
    Section(
        "models",
        "Models",
        "Ten models: two configurations, five folds. The validation Dice is nnU-Net's own.",
        "select configuration, fold, profile, epochs, case when seconds < 3600 then printf('%.0f s', seconds) "
        "else printf('%.1f h', seconds / 3600) end as last_run, device, "
        "validation_dice_vertebral_body as dice_bodies, validation_dice_intervertebral_disc as dice_discs, "
        "left(checkpoint_sha256, 8) as checkpoint, left(data_fingerprint, 8) as data from nnunet.trained_folds "
        "order by configuration, fold",
    ),
)
"""In the order of the study."""
