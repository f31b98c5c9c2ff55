"""How the study is cut: patients, folds, configuration x fold, and external predictors.

Add a cut when assets need it. What a cut is stored as (its file in the lake) stands here too, so that it is said once.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import dagster as dg

from cspine_assets.domain.evaluation.external import predictor_folders, refusal_of_name
from cspine_assets.domain.home import Home
from cspine_assets.domain.tables.base import Table
from cspine_assets.domain.tables.benchmark import ExternalMetrics, ExternalPredictions
from cspine_assets.domain.tables.evaluation import ExamMetrics, LevelMetrics, Morphometry
from cspine_assets.domain.tables.imaging import HeaderFindings, Masks, Volumes
from cspine_assets.domain.tables.nnunet import CONFIGURATIONS, FOLDS, TrainedFolds, TrainingLog
from cspine_assets.domain.tables.prediction import ExamPredictions, FoldEnsembles, FoldPredictions

_ranges: ContextVar[dict[dg.PartitionKeyRange, Sequence[str]] | None] = ContextVar("ranges", default=None)


class PatientPartitions(dg.DynamicPartitionsDefinition):
    """Patients, whose ranges are read once where ``ranges_remembered`` says so."""

    def __hash__(self) -> int:
        """Returns the hash of the plain definition, which is equal to this one."""
        return hash(dg.DynamicPartitionsDefinition(name=self.name))

    def get_partition_keys_in_range(self, partition_key_range: dg.PartitionKeyRange) -> Sequence[str]:
        """Returns the patients from one to another, both included, in the order in which they came."""
        known = _ranges.get()
        if known is None:
            return super().get_partition_keys_in_range(partition_key_range)
        if partition_key_range not in known:
            known[partition_key_range] = super().get_partition_keys_in_range(partition_key_range)
        return known[partition_key_range]


@contextmanager
def ranges_remembered() -> Iterator[None]:
    """Lets a range be read from Dagster's storage once meanwhile; for a moment in which no patient comes or goes.

    Dagster asks for all patients of a run anew with the metadata of each of them: of 10,000 that would be 100 million.
    """
    token = _ranges.set({})
    try:
        yield
    finally:
        _ranges.reset(token)


patients = PatientPartitions(name="patient")
"""One key per patient of the cohort; the asset cohort/patients adds them, sorted."""

folds = dg.StaticPartitionsDefinition([str(fold) for fold in FOLDS])

trainings = dg.MultiPartitionsDefinition(
    {"configuration": dg.StaticPartitionsDefinition(list(CONFIGURATIONS)), "fold": folds}
)
"""One key per model: configuration x fold, such as ``2d|0``."""

external_predictors = dg.DynamicPartitionsDefinition(name="external_predictor")
"""One key per folder of masks from another tool; ``register_predictors`` adds them, sorted."""


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
