"""How the study is cut: patients, folds, and configuration x fold.

Add a cut when assets need it. What a cut is stored as (its file in the lake) stands here too, so that it is said once.
"""

import dagster as dg

from cspine_assets.domain.tables.base import Table
from cspine_assets.domain.tables.evaluation import ExamMetrics, LevelMetrics
from cspine_assets.domain.tables.imaging import HeaderFindings, Masks, Volumes
from cspine_assets.domain.tables.nnunet import CONFIGURATIONS, FOLDS, TrainedFolds
from cspine_assets.domain.tables.prediction import ExamPredictions, FoldEnsembles

patients = dg.DynamicPartitionsDefinition(name="patient")
"""One key per patient of the cohort; the asset cohort/patients adds them, sorted."""

folds = dg.StaticPartitionsDefinition([str(fold) for fold in FOLDS])

trainings = dg.MultiPartitionsDefinition(
    {"configuration": dg.StaticPartitionsDefinition(list(CONFIGURATIONS)), "fold": folds}
)
"""One key per model: configuration x fold, such as ``2d|0``."""


CUT: dict[type[Table], dg.PartitionsDefinition] = {
    Volumes: patients,
    HeaderFindings: patients,
    Masks: patients,
    TrainedFolds: trainings,
    ExamPredictions: patients,
    FoldEnsembles: folds,
    ExamMetrics: patients,
    LevelMetrics: patients,
}
"""How each table is cut; one that is not here is made as a whole."""


def lake_partition(partition_key: str) -> str:
    """Returns the name that a partition has in the lake: its key, fit for a file name."""
    return partition_key.replace("|", "-")
