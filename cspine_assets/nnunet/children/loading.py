"""Loading trained folds, and saying in one sentence which of their files cannot be used and why.

Change this file when another damage of a model has to be told. nnU-Net loads the models; what they are then asked
belongs in ``ensemble``.
"""

from __future__ import annotations

from pathlib import Path

import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

from cspine_assets.domain.errors import ModelError
from cspine_assets.nnunet.fold_folder import FINAL_CHECKPOINT
from cspine_assets.nnunet.prediction import Model

MOST_SAID = 300
"""Characters of what torch says: of another network it lists every layer, on a hundred lines."""


def load_folds(predictor: nnUNetPredictor, model: Model) -> None:
    """Lets a predictor load the folds of a model, every one of them fit for the network.

    nnU-Net tries the first fold's weights alone: those of another would fail exam after exam.

    Raises:
        ModelError: A file is damaged or missing, or of another configuration or network than its folder says.
    """
    try:
        predictor.initialize_from_trained_model_folder(str(model.model_folder), model.folds, FINAL_CHECKPOINT)
    except Exception as error:
        raise ModelError(_reason(model, error)) from error
    planned = predictor.plans_manager.get_configuration(model.configuration).configuration
    if predictor.configuration_manager.configuration != planned:
        raise ModelError(
            f"{_path(model, model.folds[0])}: expected a model of {model.configuration}, got another one's."
        )
    for fold, weights in zip(model.folds, predictor.list_of_parameters, strict=True):
        try:
            predictor.network.load_state_dict(weights)
        except RuntimeError as error:
            raise ModelError(_of_another_network(model, fold, error)) from error


def _reason(model: Model, error: Exception) -> str:
    """Returns why a model cannot be loaded, by the first of its checkpoints that cannot be read."""
    for fold in model.folds:
        try:
            torch.load(_path(model, fold), map_location="cpu", weights_only=False)
        except Exception as unreadable:  # noqa: BLE001 - a torn file raises anything
            return (
                f"{_path(model, fold)}: expected a whole checkpoint, it cannot be read ({_short(unreadable)}). "
                "Train this fold again, or put the file back."
            )
    if isinstance(error, RuntimeError):
        return _of_another_network(model, model.folds[0], error)
    return f"{model.model_folder}: this model cannot be loaded ({type(error).__name__}: {_short(error)})."


def _of_another_network(model: Model, fold: int, error: Exception) -> str:
    return (
        f"{_path(model, fold)}: expected weights of the network that plans.json and dataset.json beside the folds "
        f"describe, got others ({_short(error)}). Train this fold again, or put the file back."
    )


def _path(model: Model, fold: int) -> Path:
    return model.model_folder / f"fold_{fold}" / FINAL_CHECKPOINT


def _short(error: Exception) -> str:
    said = " ".join(str(error).split())
    return said if len(said) <= MOST_SAID else f"{said[:MOST_SAID]} ..."
