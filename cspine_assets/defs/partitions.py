"""How the study is cut: patients, folds, configuration x fold, and external predictors.

Add a cut when assets need it. What a cut is stored as (its file in the lake) stands here too, so that it is said once.
"""

import dagster as dg
import pandas as pd

from cspine_assets.domain.evaluation.external import predictor_folders, refusal_of_name
from cspine_assets.domain.home import Home
from cspine_assets.domain.tables.base import Table
from cspine_assets.domain.tables.benchmark import ExternalMetrics, ExternalPredictions
from cspine_assets.domain.tables.evaluation import ExamMetrics, LevelMetrics, Morphometry
from cspine_assets.domain.tables.imaging import HeaderFindings, Masks, Volumes
from cspine_assets.domain.tables.nnunet import CONFIGURATIONS, FOLDS, TrainedFolds, TrainingLog
from cspine_assets.domain.tables.prediction import ExamPredictions, FoldEnsembles, FoldPredictions

patients = dg.DynamicPartitionsDefinition(name="patient")
"""One key per patient of the cohort; the asset cohort/patients adds them, sorted."""

folds = dg.StaticPartitionsDefinition([str(fold) for fold in FOLDS])

trainings = dg.MultiPartitionsDefinition(
    {"configuration": dg.StaticPartitionsDefinition(list(CONFIGURATIONS)), "fold": folds}
)
"""One key per model: configuration x fold, such as ``2d|0``."""

external_predictors = dg.DynamicPartitionsDefinition(name="external_predictor")
"""One key per folder of masks from another tool; ``register_predictors`` adds them, sorted."""


def register_patients(instance: dg.DagsterInstance, frame: pd.DataFrame) -> list[str]:
    """Makes partitions of the patients with an exam, sorted, removes those who have left, and returns the new ones."""
    name = str(patients.name)
    wanted = sorted(frame.loc[frame["exam_count"] > 0, "patient_id"])
    standing = set(instance.get_dynamic_partitions(name))
    added = [key for key in wanted if key not in standing]
    instance.add_dynamic_partitions(name, added)
    for key in sorted(standing - set(wanted)):
        instance.delete_dynamic_partition(name, key)
    return added


def register_predictors(instance: dg.DagsterInstance, home: Home) -> list[str]:
    """Makes partitions of the folders of external masks, sorted, and forgets those whose folder is gone.

    What was derived from a folder that is gone goes with it; its rows in the history stay.

    Returns:
        Why folders were passed over: a name that cannot be a predictor's.
    """
    name = str(external_predictors.name)
    refusals = {folder.name: refusal_of_name(folder.name) for folder in predictor_folders(home.external_predictions)}
    wanted = [key for key, refusal in refusals.items() if refusal is None]
    standing = instance.get_dynamic_partitions(name)
    instance.add_dynamic_partitions(name, [key for key in wanted if key not in standing])
    for key in sorted({*standing, *home.lake.partitions(ExternalPredictions)} - set(wanted)):
        instance.delete_dynamic_partition(name, key)
        for table in (ExternalMetrics, ExternalPredictions):
            home.lake.remove(table, key)
    return [refusal for refusal in refusals.values() if refusal is not None]


CUT: dict[type[Table], dg.PartitionsDefinition] = {
    Volumes: patients,
    HeaderFindings: patients,
    Masks: patients,
    TrainedFolds: trainings,
    TrainingLog: trainings,
    ExamPredictions: patients,
    FoldPredictions: folds,
    FoldEnsembles: folds,
    ExamMetrics: patients,
    LevelMetrics: patients,
    Morphometry: patients,
    ExternalPredictions: external_predictors,
    ExternalMetrics: external_predictors,
}
"""How each table is cut; one that is not here is made as a whole."""


def lake_partition(partition_key: str) -> str:
    """Returns the name that a partition has in the lake: its key, fit for a file name."""
    return partition_key.replace("|", "-")
