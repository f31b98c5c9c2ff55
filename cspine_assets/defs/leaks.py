"""Leaks: exams that a model may have learned from, and that it must not be scored on.

Add a case here when data can reach a model by a new way. Whether a split itself is sound is told by the checks of the
cohort.
"""

from collections.abc import Collection

from cspine_assets.defs.resources import Study
from cspine_assets.domain.errors import ModelError
from cspine_assets.domain.tables.cohort import Splits
from cspine_assets.domain.tables.nnunet import CONFIGURATIONS, FOLDS, RawDataset, TrainedFolds


def refuse_learned_test(study: Study) -> None:
    """Refuses to test models on exams that they have learned from, as after a change of the split.

    Raises:
        ModelError: A patient who is tested on now was in the development set of the models that stand, or may have
            been: ``nnunet.raw_dataset`` is not what they learned from.
    """
    refuse_other_split(study, FOLDS)
    learned = set(study.read(RawDataset).query("part == 'imagesTr'")["patient_id"])
    tested = set(study.read(Splits).query("part == 'test'")["patient_id"])
    if learned & tested:
        raise ModelError(
            f"expected models that have seen no test patient, but {len(learned & tested)} of {len(tested)} were "
            "trained on: the split has changed since. Train anew with `cspine materialize`, or restore the split."
        )


def refuse_other_split(study: Study, folds: Collection[int]) -> None:
    """Refuses predictions by models of another split than that of the dataset: what it holds out they may have seen.

    Raises:
        ModelError: A model of these folds was trained by a split that is not that of ``nnunet.raw_dataset``.
    """
    held_out = study.read(RawDataset)["split_sha256"]
    partitions = [f"{configuration}-{fold}" for configuration in CONFIGURATIONS for fold in folds]
    trained = study.read(TrainedFolds, partitions)
    others = trained[~trained["split_sha256"].isin(held_out)]
    if len(held_out) and len(others):
        named = ", ".join(
            f"{configuration} fold {fold}"
            for configuration, fold in zip(others["configuration"], others["fold"], strict=True)
        )
        raise ModelError(
            f"expected models trained by the split of nnunet.raw_dataset, {held_out.iloc[0][:12]}, but {named} learned "
            "by another: they may have seen the exams that are held out now. "
            "Bring the models up to date with `cspine materialize`, or restore the split."
        )
