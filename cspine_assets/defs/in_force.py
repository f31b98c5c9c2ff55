"""The models in force: those that ``nnunet.trained_folds`` names, whatever is being trained meanwhile.

Add here what has to be known of them before they are used. What takes their place, and when, is said by
``nnunet.replacement``; whether they may predict an exam, by ``leaks``.
"""

from collections.abc import Collection
from pathlib import Path

import pandas as pd

from cspine_assets.defs.resources import Study
from cspine_assets.defs.row_files import changed_files
from cspine_assets.domain.errors import ModelError
from cspine_assets.domain.files import fingerprint_text
from cspine_assets.domain.tables.base import rows_of
from cspine_assets.domain.tables.nnunet import FOLDS, TrainedFolds
from cspine_assets.domain.tables.prediction import PREDICTORS
from cspine_assets.nnunet.fold_folder import FINAL_CHECKPOINT, is_intact, read_last_run, read_stamp
from cspine_assets.nnunet.prediction import Model, Predictor
from cspine_assets.nnunet.profiles import Configuration

_REMEDY = "Call `cspine materialize`, which trains what is missing."


def models_in_force(study: Study, folds: Collection[int] = FOLDS) -> list[Model]:
    """Returns the models in force, a configuration each, with these folds.

    Raises:
        ModelError: A fold is not trained, its files are gone or changed, or folds are of different trainings.
    """
    return [_model(study, configuration, folds) for configuration in Configuration]


def rows_in_force(study: Study, folds: Collection[int] = FOLDS) -> pd.DataFrame:
    """Returns the rows of ``nnunet.trained_folds`` of some folds of every configuration."""
    return study.read(TrainedFolds, [f"{configuration}-{fold}" for configuration in Configuration for fold in folds])


def models_sha256(study: Study, folds: Collection[int] = FOLDS) -> dict[str, str]:
    """Returns for each predictor the fingerprint of its models in force.

    Of one trained fold it is the SHA-256 of its checkpoint, of several one over theirs; without any, one over none.
    """
    rows = rows_in_force(study, folds)
    own = {str(name): trained["checkpoint_sha256"].tolist() for name, trained in rows.groupby("configuration")}
    every = rows["checkpoint_sha256"].tolist()
    return {name: _sha256_of(every if name == Predictor.ENSEMBLE else own.get(name, [])) for name in PREDICTORS}


def _sha256_of(checkpoints: list[str]) -> str:
    return checkpoints[0] if len(checkpoints) == 1 else fingerprint_text(*sorted(checkpoints))


def _model(study: Study, configuration: Configuration, folds: Collection[int]) -> Model:
    rows = rows_in_force(study, folds).query("configuration == @name", local_dict={"name": configuration.value})
    missing = sorted(set(folds) - set(rows["fold"]))
    if missing or not folds:
        raise ModelError(
            f"{configuration}: expected trained folds {sorted(folds)}, missing in nnunet.trained_folds are {missing}. "
            f"{_REMEDY}"
        )
    places = {int(row.fold): study.home.absolute(row.path) for row in rows_of(rows)}
    stamps = [read_stamp(place) for place in places.values()]
    choices = {stamp.choice for stamp in stamps if stamp is not None}
    folders = {place.parent for place in places.values()}
    if len(folders) > 1 or len(choices) > 1:
        raise ModelError(
            f"{configuration}: expected folds of one training, got those of {max(len(folders), len(choices))}: "
            f"{', '.join(sorted(str(folder) for folder in folders))}. {_REMEDY}"
        )
    for row in rows_of(rows):
        stamp = study.home.lake.stamp(TrainedFolds, f"{configuration}-{row.fold}")
        for file in changed_files(study.home, stamp) if stamp else ():
            raise _not_as_recorded(study.home.absolute(file.path), file.sha256)
        _require_as_recorded(places[int(row.fold)], row.checkpoint_sha256)
    return Model(configuration=configuration, model_folder=folders.pop(), folds=tuple(sorted(folds)))


def _require_as_recorded(place: Path, checkpoint_sha256: str) -> None:
    """Refuses a model whose checkpoint is gone, or is another one than its row names.

    Raises:
        ModelError: It is.
    """
    run = read_last_run(place)
    if not is_intact(place) or (run is not None and run.checkpoint.sha256 != checkpoint_sha256):
        raise _not_as_recorded(place / FINAL_CHECKPOINT, checkpoint_sha256)


def _not_as_recorded(file: Path, sha256: str) -> ModelError:
    found = "another file" if file.exists() else "none"
    return ModelError(
        f"{file}: expected the file that nnunet.trained_folds was made with, SHA-256 {sha256[:12]}, got {found}. "
        f"{_REMEDY}"
    )
