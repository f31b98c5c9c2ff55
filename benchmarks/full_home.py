"""A home with every table of a full study, as many rows in it as such a study has, for benchmarks of the lake.

Change a number of rows when a table begins to hold others. Values are drawn and mean nothing; names, types, keys and
files are real, and every table is held against its description before it is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.ingest import examine_all, ingest, split
from cspine_assets.domain.anatomy import DISC_LEVELS, VERTEBRAE
from cspine_assets.domain.evaluation.morphometry import COBB_LEVEL, Measure
from cspine_assets.domain.home import Home
from cspine_assets.domain.lake import Lake, Stamp, described_columns, stored_schema
from cspine_assets.domain.phantom.cohort import write_cohort
from cspine_assets.domain.phantom.settings import CohortSettings
from cspine_assets.domain.tables.base import Table, arrow_schema, column_names, validate
from cspine_assets.domain.tables.benchmark import (
    ExternalComparison,
    ExternalMetrics,
    ExternalPredictions,
    History,
    Leaderboard,
)
from cspine_assets.domain.tables.cohort import Demographics, Exams, ImagingParameters
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
from cspine_assets.domain.tables.imaging import HeaderFindings, Masks, Volumes
from cspine_assets.domain.tables.nnunet import (
    CONFIGURATIONS,
    FOLDS,
    ModelArchive,
    Plans,
    PostprocessingChoice,
    RawDataset,
    TrainedFolds,
    TrainingLog,
    UnannotatedDataset,
)
from cspine_assets.domain.tables.prediction import PREDICTORS, ExamPredictions, FoldEnsembles, FoldPredictions

Keys = list[dict[str, Any]]

DISC, BODY = "intervertebral_disc", "vertebral_body"
_STRUCTURES: Final = [{"structure": structure} for structure in STRUCTURES]
_LEVELS: Final = [
    *(
        {"structure": structure, "level": level, "view": view, "protocol": "anatomical"}
        for structure, levels in ((DISC, DISC_LEVELS), (BODY, VERTEBRAE))
        for level in levels
        for view in ("mid_sagittal", "3d")
    ),
    *({"structure": DISC, "level": level, "view": "mid_sagittal", "protocol": "paper"} for level in DISC_LEVELS),
]
_OF_ANY_LEVEL: Final = (Measure.HEIGHT, Measure.DEPTH, Measure.VOLUME)
_MEASURES: Final = [
    *({"level": level, "measure": m.value} for level in (*VERTEBRAE, *DISC_LEVELS) for m in _OF_ANY_LEVEL),
    *({"level": level, "measure": Measure.DISC_HEIGHT_INDEX.value} for level in DISC_LEVELS),
    {"level": COBB_LEVEL, "measure": Measure.COBB.value},
]
_SENTENCES: Final = ("reason", "flags", "notes", "cause")
_DIFFERENT: Final = ("sha256", "checkpoint_sha256", "predictions_sha256", "series_uid", "study_uid")
_HEADERS: Final = [{"tag": f"(0008,00{n})", "keyword": f"Date{n}", "kind": "date"} for n in range(12, 18)]
"""What an exam has for each predictor: 2, 32 and 46 rows; and half a dozen dates in its headers."""

_SUMMARIES: Final[Mapping[type[Table], int]] = {
    Demographics: 200,
    ImagingParameters: 400,
    FoldSummary: 432,
    SummaryOnTest: 54,
    ModelComparison: 72,
    LevelComparison: 1_044,
    GroupMetrics: 4_320,
    GroupComparison: 4_320,
    ExternalComparison: 48,
    Leaderboard: 8,
    History: 4_000,
    Plans: 2,
    ModelArchive: 1,
}
"""Tables whose rows do not grow with the cohort, and about how many they have."""


def write_full_home(root: Path, settings: CohortSettings, *, epochs: int) -> Home:
    """Writes a study of three predictors over all exams of a cohort, one file per patient or fold where it is cut so.

    Args:
        root: An empty folder; the home is ``root/home``.
        settings: The cohort.
        epochs: Of each of the ten trainings.
    """
    download = write_cohort(root / "download", settings).destination
    home = Home(root / "home")
    for work in (ingest, split, examine_all):
        work(download, home.root)
    random = np.random.default_rng(1)
    for table, keys, cut_by in _tables(home.lake.read(Exams), epochs):
        frame = filled(table, keys, random)
        if not cut_by:
            store(home.lake, table, frame, None)
            continue
        for values, rows in frame.groupby(cut_by, sort=True):
            store(home.lake, table, rows, "-".join(map(str, values)))
    return home


def _tables(exams: pd.DataFrame, epochs: int) -> Iterator[tuple[type[Table], Keys, list[str]]]:
    """Yields every table beyond the cohort's own, the keys of its rows, and the columns that it is cut by."""
    whose: Keys = exams[["exam_id", "patient_id"]].to_dict("records")
    predicted = _each(whose, [{"predictor": predictor} for predictor in PREDICTORS])
    scored = _each(predicted, [{"set": "test"}])
    external = _each(whose, [{"predictor": "other_tool"}])
    held_out = [{**row, "fold": n % len(FOLDS)} for n, row in enumerate(predicted)]
    trained = _each([{"configuration": name} for name in CONFIGURATIONS], [{"fold": fold} for fold in FOLDS])
    by_patient, by_fold, by_training, by_tool = ["patient_id"], ["fold"], ["configuration", "fold"], ["predictor"]
    yield Volumes, whose, by_patient
    yield Masks, whose, by_patient
    yield HeaderFindings, _each(whose, _HEADERS), by_patient
    yield ExamPredictions, scored, by_patient
    yield ExamMetrics, _each(scored, _STRUCTURES), by_patient
    yield LevelMetrics, _each(scored, _LEVELS), by_patient
    yield Morphometry, _each(scored, _MEASURES), by_patient
    yield FoldPredictions, held_out, by_fold
    yield FoldEnsembles, held_out, by_fold
    yield TrainedFolds, trained, by_training
    yield TrainingLog, _each(trained, [{"epoch": epoch} for epoch in range(1, epochs + 1)]), by_training
    yield ExternalPredictions, external, by_tool
    yield ExternalMetrics, _each(_each(external, [{"set": "test"}]), _STRUCTURES), by_tool
    yield RawDataset, [{**row, "case_id": row["exam_id"]} for row in whose], []
    yield UnannotatedDataset, [{**row, "case_id": row["exam_id"]} for row in whose], []
    yield PostprocessingChoice, _numbered(PostprocessingChoice, 18), []
    for table, count in _SUMMARIES.items():
        yield table, _numbered(table, count), []


def _each(rows: Keys, further: Keys) -> Keys:
    return [{**row, **more} for row, more in product(rows, further)]


def _numbered(table: type[Table], count: int) -> Keys:
    """Returns keys that are told apart by their number, or by the few values that they may have."""
    allowed = {name: _allowed(table, name) for name in table.key_columns()}
    free = [name for name, values in allowed.items() if not values]
    few = list(product(*(values for values in allowed.values() if values)))
    names = [name for name, values in allowed.items() if values]
    return [
        {**dict(zip(names, few[n % len(few)], strict=True)), **{name: f"{name} {n // len(few)}" for name in free}}
        for n in range(count)
    ]


def _allowed(table: type[Table], name: str) -> list[Any]:
    checks = table.to_schema().columns[name].checks
    return [value for check in checks for value in check.statistics.get("allowed_values", ())]


def filled(table: type[Table], keys: Keys, random: np.random.Generator) -> pd.DataFrame:
    """Returns rows with these keys, their other columns drawn; validated."""
    frame = pd.DataFrame(keys)
    for field in arrow_schema(table):
        if field.name not in frame:
            frame[field.name] = _drawn(table, field, len(frame), random)
    return validate(table, frame[column_names(table)])


def _drawn(table: type[Table], field: pa.Field, count: int, random: np.random.Generator) -> Any:  # noqa: ANN401
    """Returns values of a column, one for all where only a few are allowed."""
    allowed = _allowed(table, field.name)
    if allowed:
        return allowed[0]
    kind = str(field.type)
    if kind == "string":
        return _texts(table, field, count, random)
    if kind == "double":
        return random.uniform(0.7, 0.99, count)
    return random.integers(2, 6, count) if kind == "int64" else random.random(count) < 0.5


def _texts(table: type[Table], field: pa.Field, count: int, random: np.random.Generator) -> Any:  # noqa: ANN401
    """Returns texts: paths, checksums and identifiers each another one; of reasons and flags few, and most missing."""
    if field.name in _SENTENCES:
        texts = np.array([f"a sentence that says what is unusual, {n} of 20" for n in range(20)], dtype=object)
        said = texts[random.integers(0, 20, count)]
        if field.nullable:
            said[random.random(count) < 0.9] = None
        return said
    if field.name == "path":
        return [f"{table.full_name().replace('.', '/')}/{random.bytes(12).hex()}.nii.gz" for _ in range(count)]
    if field.name in _DIFFERENT:
        return [random.bytes(32).hex() for _ in range(count)]
    return "5" * 64 if "sha256" in field.name or "fingerprint" in field.name else "as usual"


def store(lake: Lake, table: type[Table], frame: pd.DataFrame, partition: str | None) -> None:
    """Writes rows as the lake does, without its checks: they have been made, and are not what is measured."""
    path = lake.path(table, partition)
    path.parent.mkdir(parents=True, exist_ok=True)
    schema = stored_schema(
        table, Stamp("f" * 64, "f" * 64, len(frame), complete=True, columns=described_columns(table))
    )
    pq.write_table(pa.Table.from_pandas(frame, schema=schema, preserve_index=False), path)
