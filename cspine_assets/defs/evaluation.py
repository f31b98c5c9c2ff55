"""Assets of group ``evaluation``: the scores of every exam, and the summaries over them.

Add an asset when something new is measured or summed up. Definitions stand in the evaluation wing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import dagster as dg
import pandas as pd

from cspine_assets.defs.io import Made, MadePatient, asset_key, patient_asset, table_asset
from cspine_assets.defs.resources import Study, StudyResource
from cspine_assets.defs.shown import markdown_table, told
from cspine_assets.domain.cohort.strata import exam_strata
from cspine_assets.domain.evaluation.comparison import model_comparison as compare_models
from cspine_assets.domain.evaluation.flags import Flag
from cspine_assets.domain.evaluation.group_comparison import group_comparison as compare_groups
from cspine_assets.domain.evaluation.group_metrics import group_metrics as describe_groups
from cspine_assets.domain.evaluation.level_comparison import level_comparison as compare_levels
from cspine_assets.domain.evaluation.patient_score import PatientPairs, PatientScore, score_patients
from cspine_assets.domain.evaluation.score import Part, ScoredCase, ScoredPair
from cspine_assets.domain.evaluation.sets import set_name
from cspine_assets.domain.evaluation.summaries import fold_summary as summarise_folds
from cspine_assets.domain.evaluation.summaries import test_summary as summarise_test
from cspine_assets.domain.tables.base import Table, rows_of
from cspine_assets.domain.tables.cohort import AnnotationProvenance, Exams, Splits
from cspine_assets.domain.tables.evaluation import (
    STRUCTURES,
    ExamMetrics,
    FoldSummary,
    GroupComparison,
    GroupMetrics,
    LevelComparison,
    LevelMetrics,
    ModelComparison,
    Morphometry,
    SummaryOnTest,
)
from cspine_assets.domain.tables.imaging import Masks
from cspine_assets.domain.tables.nnunet import RawDataset
from cspine_assets.domain.tables.prediction import PREDICTORS, ExamPredictions, FoldEnsembles

_TOGETHER = dg.BackfillPolicy.multi_run(max_partitions_per_run=500)
"""Not that of the masks, which these come after: see ``patient_asset``."""

_SCORED = (ExamPredictions, FoldEnsembles, RawDataset, Masks, AnnotationProvenance, Splits)


@dataclass(frozen=True)
class _Pairs:
    """Reference and prediction of every scored exam and predictor: cross-validation and test set together.

    A fold is one of the split that the models learned from, which the cohort's may have outgrown since.
    """

    rows: pd.DataFrame

    @classmethod
    def of(cls, study: Study) -> "_Pairs":
        tested = study.read(ExamPredictions).query("set == 'test'")
        validated = study.read(FoldEnsembles).assign(set="cv")
        predicted = pd.concat([frame for frame in (tested, validated) if not frame.empty] or [tested])
        if "fold" not in predicted:
            predicted["fold"] = pd.array([None] * len(predicted), dtype="Int64")
        references = study.read(Masks).query("status == 'ok'")[["exam_id", "path"]]
        provenance = study.read(AnnotationProvenance)[["exam_id", "provenance"]]
        splits = [
            study.read(table)[["exam_id", "split_sha256"]].assign(set=name)
            for table, name in ((Splits, "test"), (RawDataset, "cv"))
        ]
        rows = (
            predicted.merge(references, on="exam_id", suffixes=("", "_reference"))
            .merge(provenance, on="exam_id")
            .merge(pd.concat(splits), on=["exam_id", "set"])
        )
        return cls(rows.sort_values(["exam_id", "predictor"]))

    def score(self, study: Study, patient_ids: list[str], part: Part) -> Iterator[PatientScore]:
        """Yields the metric rows of each patient; none for one without a reference or a prediction."""
        by_patient = {str(patient_id): rows for patient_id, rows in self.rows.groupby("patient_id")}
        patients = [
            PatientPairs(
                patient_id,
                tuple(_pair(study, row) for row in rows_of(by_patient.get(patient_id, self.rows.head(0)))),
            )
            for patient_id in patient_ids
        ]
        yield from score_patients(patients, parts=(part,))


def _pair(study: Study, row: Any) -> ScoredPair:  # noqa: ANN401 - a row of what was predicted
    """Returns the masks that a row names, and whose they are."""
    return ScoredPair(
        reference=study.home.absolute(row.path_reference),
        prediction=study.home.absolute(row.path) if row.status == "ok" else None,
        stated=study.stated_tops.of(row.exam_id),
        case=ScoredCase(
            exam_id=row.exam_id,
            patient_id=row.patient_id,
            set=set_name(row.set, row.provenance),
            fold=None if pd.isna(row.fold) else int(row.fold),
            predictor=row.predictor,
            profile=row.profile,
            split_sha256=row.split_sha256,
            annotation_provenance=row.provenance,
            model_sha256=row.model_sha256,
        ),
    )


def _said_of_levels(study: Study, patient_id: str | None) -> str:
    """Returns what people say about the levels of a patient's exams: part of what their measures are made from."""
    return study.stated_tops.text(exam.exam_id for exam in study.exams_by_patient.get(str(patient_id), []))


@patient_asset(
    ExamMetrics,
    deps=_SCORED,
    version="3",
    kinds=("numpy",),
    backfill_policy=_TOGETHER,
)
def exam_metrics(_context: dg.AssetExecutionContext, study: Study, patient_ids: list[str]) -> Iterator[MadePatient]:
    """Overlap, volumes and surface distances of every predictor, by cross-validation and on the test set."""
    for scored in _Pairs.of(study).score(study, patient_ids, Part.EXAMS):
        frame = scored.frames.exams
        yield MadePatient(scored.patient_id, frame, {"exams": frame["exam_id"].nunique()}, scored.failure)


@patient_asset(
    LevelMetrics,
    deps=_SCORED,
    version="7",
    source=_said_of_levels,
    kinds=("numpy",),
    backfill_policy=_TOGETHER,
)
def level_metrics(_context: dg.AssetExecutionContext, study: Study, patient_ids: list[str]) -> Iterator[MadePatient]:
    """Dice per body, C2 to T1, and per disc, C2/C3 to C7/T1: scored, or listed with the reason why not."""
    for scored in _Pairs.of(study).score(study, patient_ids, Part.LEVELS):
        frame = scored.frames.levels
        yield MadePatient(scored.patient_id, frame, {"not_scored": int(frame["dice"].isna().sum())}, scored.failure)


@patient_asset(
    Morphometry,
    deps=_SCORED,
    version="8",
    source=_said_of_levels,
    kinds=("numpy",),
    backfill_policy=_TOGETHER,
)
def morphometry(_context: dg.AssetExecutionContext, study: Study, patient_ids: list[str]) -> Iterator[MadePatient]:
    """Height, depth and volume per level, disc-height index and Cobb angle of both masks, with the difference."""
    for scored in _Pairs.of(study).score(study, patient_ids, Part.MORPHOMETRY):
        frame = scored.frames.morphometry
        not_measured = int((frame["status"] != "ok").sum())
        yield MadePatient(scored.patient_id, frame, {"not_measured": not_measured}, scored.failure)


def _shown(frame: pd.DataFrame, profile: str) -> dict[str, object]:
    """Returns a small table as metadata, with the profile that made it."""
    return {
        "profile": profile,
        "table": markdown_table(frame, ".3f"),
    }


@table_asset(FoldSummary, deps=[ExamMetrics], version="2", kinds=("pandas",))
def fold_summary(_context: dg.AssetExecutionContext, study: Study) -> Made:
    """Mean and median with their bootstrap intervals, SD with n and n - 1, quartiles; every fold, and all together."""
    frame = summarise_folds(study.read(ExamMetrics))
    brief = frame.query("metric == 'dice_volumetric'")[["fold", "predictor", "structure", "n", "mean", "median"]]
    return Made(frame, _shown(brief, study.settings.profile))


@table_asset(SummaryOnTest, deps=[ExamMetrics], version="2", kinds=("pandas",))
def test_summary(_context: dg.AssetExecutionContext, study: Study) -> Made:
    """Mean and median with bootstrap intervals, SD with n and n - 1, quartiles; apart by who drew the reference."""
    frame = summarise_test(study.read(ExamMetrics))
    brief = frame[["set_name", "predictor", "structure", "metric", "n", "mean", "sd", "median"]]
    return Made(frame, _shown(brief, study.settings.profile))


@table_asset(ModelComparison, deps=[ExamMetrics], version="2", kinds=("scipy",))
def model_comparison(_context: dg.AssetExecutionContext, study: Study) -> Made:
    """Every pair of predictors on the same exams: paired first, the published protocol beside it."""
    frame = compare_models(study.read(ExamMetrics))
    brief = frame.query("protocol == 'paired' and metric == 'dice_volumetric'")
    columns = [
        "set_name",
        "predictor_a",
        "predictor_b",
        "structure",
        "n",
        "median_difference",
        "p_value_holm",
    ]
    return Made(frame, _shown(brief[columns], study.settings.profile))


@table_asset(LevelComparison, deps=[LevelMetrics], version="3", kinds=("scipy",))
def level_comparison(_context: dg.AssetExecutionContext, study: Study) -> Made:
    """Every pair of levels in the same exams: paired first, the published protocol beside it."""
    frame = compare_levels(study.read(LevelMetrics))
    brief = frame.query("protocol == 'paired' and view == '3d'")
    columns = ["set_name", "predictor", "level_a", "level_b", "n_a", "n_unsure", "median_difference", "p_value_holm"]
    return Made(frame, _shown(brief[columns], study.settings.profile))


@table_asset(GroupMetrics, deps=[ExamMetrics, Exams], version="2", kinds=("scipy",))
def group_metrics(_context: dg.AssetExecutionContext, study: Study) -> Made:
    """Every metric by sex, age band, race, manufacturer and field strength, and by two of them crossed."""
    frame = describe_groups(study.read(ExamMetrics), exam_strata(study.read(Exams)))
    brief = frame.query("metric == 'dice_volumetric' and predictor == 'ensemble'")
    brief = brief[~brief["grouping"].str.contains(" x ", regex=False)]
    columns = ["set_name", "grouping", "group_value", "structure", "n", "median", "median_ci_low", "median_ci_high"]
    return Made(frame, _shown(brief[columns], study.settings.profile))


@table_asset(GroupComparison, deps=[ExamMetrics, Exams], version="2", kinds=("scipy",))
def group_comparison(_context: dg.AssetExecutionContext, study: Study) -> Made:
    """Every group against the largest of its kind: rank test, effect size, at equal volumes, and success rates."""
    frame = compare_groups(study.read(ExamMetrics), exam_strata(study.read(Exams)))
    brief = frame[(frame["significant"] | frame["significant_at_equal_volume"]).fillna(False)]
    columns = ["set_name", "grouping", "group_value", "reference_value", "predictor", "structure", "metric"]
    found = ["effect_size", "p_value_bh", "effect_size_at_equal_volume", "p_value_bh_at_equal_volume"]
    return Made(frame, _shown(brief[[*columns, *found]].head(50), study.settings.profile))


def _rows_check(table: type[Table], per_predictor: int, description: str) -> dg.AssetChecksDefinition:
    """Returns the check that every scored exam has all its rows."""

    @dg.asset_check(asset=asset_key(table), name="all_rows_there", blocking=True, description=description)
    def check(study: StudyResource) -> dg.AssetCheckResult:
        frame = study.open().read(table)
        expected = frame["exam_id"].nunique() * len(PREDICTORS) * per_predictor
        counts = frame.groupby("exam_id").size()
        wrong = counts[counts != len(PREDICTORS) * per_predictor]
        return dg.AssetCheckResult(
            passed=len(frame) == expected and wrong.empty,
            description=told(
                len(wrong),
                len(counts),
                "exams",
                "Not all rows of them are there: cspine materialize --only evaluation --force.",
            ),
            metadata={
                "rows": len(frame),
                "expected": expected,
                "wrong_exams": dg.MetadataValue.json(sorted(wrong.index)),
            },
        )

    return check


exam_rows = _rows_check(ExamMetrics, len(STRUCTURES), "Rows are exams x predictors x structures.")
measurement_rows = _rows_check(Morphometry, 46, "Rows are exams x predictors x measures of levels.")
level_rows = _rows_check(LevelMetrics, 32, "Rows are exams x predictors x levels x views and protocols.")


@dg.asset_check(
    asset=asset_key(LevelMetrics),
    name="levels_named",
    description="No mask contradicts what was said of its topmost body, and in most exams levels have their names.",
)
def levels_named(study: StudyResource) -> dg.AssetCheckResult:
    """Warns of names that are contradicted, and of levels in doubt in so many exams that tables by level are empty."""
    frame = study.open().read(LevelMetrics).query("protocol == 'anatomical' and view == '3d'")
    in_doubt = frame["severity"] == "name_unsure"
    contradicted = frame.loc[frame["flags"].fillna("").str.contains(Flag.STATED_CONTRADICTED), "exam_id"]
    whole = frame.assign(in_doubt=in_doubt).groupby("exam_id")["in_doubt"].all() if len(frame) else in_doubt
    exams, unsure, against = frame["exam_id"].nunique(), int(whole.sum()), contradicted.nunique()
    how = 'See them with cspine sql "from level_doubts", then say what the topmost body is: cspine levels.'
    return dg.AssetCheckResult(
        passed=against == 0 and 2 * unsure <= exams,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{told(unsure, exams, 'exams have no level with a sure name', how)} In {against:,} exams the mask "
        "contradicts what was said of its topmost body.",
        metadata={"exams": exams, "exams_without_a_sure_name": unsure, "contradicted_exams": against},
    )
