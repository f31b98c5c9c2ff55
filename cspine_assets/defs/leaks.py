"""Leaks: exams that a model may have learned from, and that it must not be scored on.

Add a case here when data can reach a model by a new way. Whether a split itself is sound is told by the checks of the
cohort.
"""

from collections.abc import Collection

from cspine_assets.defs.in_force import rows_in_force
from cspine_assets.defs.resources import Study
from cspine_assets.domain.errors import ModelError
from cspine_assets.domain.tables.cohort import Exams, Splits
from cspine_assets.domain.tables.nnunet import CONFIGURATIONS, FOLDS, RawDataset, TrainedFolds
from cspine_assets.nnunet.fold_folder import read_cases


def refuse_learned_test(study: Study) -> None:
    """Refuses to test models on exams that they have learned from, as after a change of the split.

    What they learned from stands beside each of the models in force; models of earlier releases did not keep it, and
    are held against ``nnunet.raw_dataset``.

    Raises:
        ModelError: A patient who is tested on now was in the development set of the models in force, or may have
            been: they did not keep what they learned from, and it is not ``nnunet.raw_dataset``.
    """
    tested = set(study.read(Splits).query("part == 'test'")["patient_id"])
    learned = _learned_patients(study)
    if learned is None:
        refuse_other_split(study, FOLDS)
        learned = set(study.read(RawDataset).query("part == 'imagesTr'")["patient_id"])
    if learned & tested:
        raise ModelError(
            f"expected models that have seen no test patient, but {len(learned & tested)} of {len(tested)} were "
            "trained on: the split has changed since. Train anew with `cspine materialize`, or restore the split."
        )


def _learned_patients(study: Study) -> set[str] | None:
    """Returns the patients of all cases of the models in force, held out by a fold or not; None where it is not known.

    A case is named after its exam. One that has left the cohort since counts too: the exam's name begins with the
    patient's.
    """
    cases = [read_cases(study.home.absolute(path)) for path in rows_in_force(study)["path"]]
    if not cases or any(one is None for one in cases):
        return None
    exams = {case for one in cases if one is not None for case in (*one.train, *one.val)}
    known = study.home.lake.read(Exams)
    patient_of = dict(zip(known["exam_id"], known["patient_id"], strict=True))
    return {patient_of.get(exam, exam.split("_", maxsplit=1)[0]) for exam in exams}


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
