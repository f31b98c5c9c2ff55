"""Assets that set predictors side by side: masks from other tools, and the leaderboard.

Add an asset when something more is compared across tools; over time is ``history``. How masks are scored stands in the
evaluation wing, what other tools may hand in too.
"""

from pathlib import Path

import dagster as dg
import pandas as pd

from cspine_assets.defs.io import Made, asset_key, table_asset
from cspine_assets.defs.resources import Study, StudyResource
from cspine_assets.defs.shown import inline_table, joined, told
from cspine_assets.domain.errors import CSpineError
from cspine_assets.domain.evaluation.comparison import model_comparison
from cspine_assets.domain.evaluation.external import PredictorCard, find_masks, masks_sha256, read_card, refusal_of_mask
from cspine_assets.domain.evaluation.leaderboard import leaderboard as rank_predictors
from cspine_assets.domain.evaluation.score import Part, ScoredCase, ScoredPair, score_pairs
from cspine_assets.domain.evaluation.sets import set_name, sides
from cspine_assets.domain.files import fingerprint_file, fingerprint_text
from cspine_assets.domain.tables.base import TEXT, empty_frame, rows_of
from cspine_assets.domain.tables.benchmark import (
    ExternalComparison,
    ExternalMetrics,
    ExternalPredictions,
    Leaderboard,
)
from cspine_assets.domain.tables.cohort import AnnotationProvenance, Splits
from cspine_assets.domain.tables.evaluation import ExamMetrics
from cspine_assets.domain.tables.imaging import Masks
from cspine_assets.domain.tables.prediction import ExamPredictions

_SAID = ["predictor_provenance", "predictor_settings"]


def _test_references(study: Study) -> pd.DataFrame:
    """Returns every test exam that has a reference mask: its patient, mask, split, and who drew the mask."""
    tested = study.read(Splits).query("part == 'test'")[["exam_id", "patient_id", "split_sha256"]]
    masks = study.read(Masks).query("status == 'ok'")[["exam_id", "path", "sha256"]]
    provenance = study.read(AnnotationProvenance)[["exam_id", "provenance"]]
    rows = tested.merge(masks, on="exam_id").merge(provenance, on="exam_id")
    return rows.rename(columns={"provenance": "annotation_provenance"}).sort_values("exam_id", ignore_index=True)


def _folder_fingerprint(study: Study, name: str | None) -> str:
    """Fingerprint of a predictor's folder: names, sizes and times of change; links are followed."""
    folder = study.home.external_predictions / str(name)
    files = sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []
    states = [(path.name, path.stat()) for path in files]
    return fingerprint_text(*(f"{name} {state.st_size} {state.st_mtime_ns}" for name, state in states))


@table_asset(
    ExternalPredictions,
    deps=[Splits, Masks, AnnotationProvenance],
    version="1",
    kinds=("nifti",),
    source=_folder_fingerprint,
)
def external_predictions(context: dg.AssetExecutionContext, study: Study) -> Made:
    """The masks of one folder under ``external_predictions``, checked; every test exam has a row.

    It has a partition for each folder that was handed in, and none before the first.

    A mask on another grid, with other labels, or that cannot be read is refused with its reason, as is all of a
    predictor whose ``predictor.json`` cannot be understood.
    """
    name = context.partition_key
    folder = study.home.external_predictions / name
    references = _test_references(study)
    found = find_masks(folder, references["exam_id"].tolist())
    for unknown in found.unknown:
        context.log.warning(f"{folder / unknown}: names no exam of the test set; expected EXAM.nii.gz")
    card, refusal = _card(folder)
    rows = []
    for exam in rows_of(references):
        mask = found.masks.get(exam.exam_id)
        reason = refusal or found.refused.get(exam.exam_id)
        reason = reason or (refusal_of_mask(mask, study.home.absolute(exam.path)) if mask else "no file of this name")
        missing = refusal is None and mask is None and exam.exam_id not in found.refused
        rows.append(
            {
                "exam_id": exam.exam_id,
                "patient_id": exam.patient_id,
                "predictor": name,
                "profile": study.settings.profile,
                "status": "missing" if missing else "refused" if reason else "ok",
                "reason": reason,
                "path": None if reason else f"{folder.relative_to(study.home.root).as_posix()}/{Path(str(mask)).name}",
                "sha256": None if reason else fingerprint_file(Path(str(mask))),
                "predictor_provenance": card.provenance,
                "predictor_settings": card.settings_text(),
            }
        )
    frame = pd.DataFrame(rows, columns=list(empty_frame(ExternalPredictions).columns))
    frame["model_sha256"] = masks_sha256(frame)
    counts = frame["status"].value_counts().to_dict()
    shown = {f"{status}_masks": int(counts.get(status, 0)) for status in ("ok", "missing", "refused")}
    return Made(frame, {**shown, "unknown_files": len(found.unknown)})


def _card(folder: Path) -> tuple[PredictorCard, str | None]:
    """Returns what a predictor says of itself, and why nothing of it is taken if that cannot be understood."""
    try:
        return read_card(folder), None
    except CSpineError as error:
        return PredictorCard(), str(error)


@table_asset(
    ExternalMetrics, deps=[ExternalPredictions, Masks, AnnotationProvenance, Splits], version="2", kinds=("numpy",)
)
def external_metrics(context: dg.AssetExecutionContext, study: Study) -> Made:
    """One external predictor by the ruler of our own models, on the same test exams; a missing mask is missed.

    It has a partition for each folder under ``external_predictions``, and none before the first is handed in.
    """
    predicted = study.read(ExternalPredictions, [context.partition_key])
    pairs = predicted.merge(_test_references(study), on="exam_id", suffixes=("", "_reference"))
    scored = [
        ScoredPair(
            reference=study.home.absolute(row.path_reference),
            prediction=study.home.absolute(row.path) if row.status == "ok" else None,
            case=ScoredCase(
                exam_id=row.exam_id,
                patient_id=row.patient_id,
                set=set_name("test", row.annotation_provenance),
                fold=None,
                predictor=row.predictor,
                profile=row.profile,
                split_sha256=row.split_sha256,
                annotation_provenance=row.annotation_provenance,
                model_sha256=row.model_sha256,
            ),
        )
        for row in rows_of(pairs)
    ]
    frames = score_pairs(scored, parts=[Part.EXAMS])
    return Made(frames.exams, {"exams": len(pairs), "missed_exams": int((pairs["status"] != "ok").sum())})


@table_asset(ExternalComparison, deps=[ExamMetrics, ExternalMetrics], version="2", kinds=("scipy",))
def external_comparison(_context: dg.AssetExecutionContext, study: Study) -> Made:
    """Every external predictor against the ensemble on the same exams, each a family of its own."""
    scored = study.read(ExamMetrics).query("predictor == 'ensemble'")
    ensemble = scored[sides(scored["set"]) == "test"]
    compared = [
        model_comparison(pd.concat([ensemble, own], ignore_index=True), baseline="ensemble")
        for _, own in study.read(ExternalMetrics).groupby("predictor", sort=True)
        if not ensemble.empty
    ]
    frame = pd.concat(compared, ignore_index=True) if compared else empty_frame(ExternalComparison)
    return Made(frame, {"predictors": len(compared)})


@table_asset(
    Leaderboard,
    deps=[ExamMetrics, ExternalMetrics, ExamPredictions, ExternalPredictions, Splits, Masks, AnnotationProvenance],
    version="1",
    kinds=("pandas",),
)
def leaderboard(_context: dg.AssetExecutionContext, study: Study) -> Made:
    """Our own models and masks from elsewhere on the same test exams, ranked by mean macro Dice."""
    own = study.read(ExamPredictions).query("set == 'test'").assign(origin="own")
    for name in _SAID:
        own[name] = pd.array([None] * len(own), dtype=TEXT)
    external = study.read(ExternalPredictions).assign(origin="external")
    columns = ["exam_id", "predictor", "origin", "status", "sha256", *_SAID]
    frame = rank_predictors(
        joined([study.read(ExamMetrics), study.read(ExternalMetrics)]),
        joined([own[columns], external[columns]]),
        _test_references(study),
        profile=study.settings.profile,
    )
    brief = frame[["set_name", "rank", "predictor", "origin", "exams", "coverage", "dice_macro_mean"]]
    return Made(frame, {"profile": study.settings.profile, "table": inline_table(brief.round(3))})


@dg.asset_check(
    asset=asset_key(ExternalPredictions),
    description="Every mask that was handed in can be scored, and none is missing.",
)
def masks_usable(study: StudyResource) -> dg.AssetCheckResult:
    """Counts masks that are missing or were refused, predictor by predictor, with the first reasons."""
    frame = study.open().read(ExternalPredictions)
    bad = frame[frame["status"] != "ok"]
    counts = {
        str(name): {str(status): int(count) for status, count in rows["status"].value_counts().items()}
        for name, rows in frame.groupby("predictor")
    }
    return dg.AssetCheckResult(
        passed=bad.empty,
        severity=dg.AssetCheckSeverity.WARN,
        description=told(
            len(bad), len(frame), "masks", "They count as missed: put usable ones into external_predictions/NAME/."
        ),
        metadata={"predictors": dg.MetadataValue.json(counts), "reasons": dg.MetadataValue.json(_reasons(bad))},
    )


def _reasons(bad: pd.DataFrame) -> list[str]:
    return [f"{row.predictor}, {row.exam_id}: {row.reason}" for row in rows_of(bad.head(20))]
