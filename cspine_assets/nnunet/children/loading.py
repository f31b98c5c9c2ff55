"""Loading trained folds, and saying in one sentence which of their files cannot be used and why.

Change this file when another damage of a model has to be told. nnU-Net loads the models; what they are then asked
belongs in ``ensemble``.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from nnunetv2.inference import predict_from_raw_data
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer as StockTrainer

from cspine_assets.domain.errors import ModelError
from cspine_assets.nnunet.fold_folder import FINAL_CHECKPOINT
from cspine_assets.nnunet.model_terms import trainer_module
from cspine_assets.nnunet.prediction import Model

_SEARCH = "recursive_find_trainer_class_by_name"
"""What nnU-Net finds a trainer's class with."""

MOST_SAID = 300
"""Characters of what torch says: of another network it lists every layer, on a hundred lines."""


def load_folds(predictor: nnUNetPredictor, model: Model) -> None:
    """Lets a predictor load the folds of a model, every one of them fit for the network.

    nnU-Net tries the first fold's weights alone: those of another would fail exam after exam.

    Raises:
        ModelError: A file is damaged or missing, or of another configuration or network than its folder says.
    """
    try:
        with mock.patch.object(predict_from_raw_data, _SEARCH, _trainer):
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


def _trainer(name: str) -> Any:  # noqa: ANN401 - a class of nnU-Net's, which has no types
    """Returns the trainer that builds a model's network, no other module of nnU-Net's loaded.

    nnU-Net loads all of them on its way, one of which needs a torchvision that fits torch. A trainer of somebody's own
    is not needed: the network is built by the plans, and weights that do not fit it are refused.
    """
    module = trainer_module(name)
    return StockTrainer if module is None else getattr(importlib.import_module(module), name)


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
    if isinstance(error, RuntimeError) and "loading state_dict" in str(error):
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
