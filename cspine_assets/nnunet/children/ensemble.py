"""The arithmetic of a prediction: folds averaged as logits, configurations as softmax on the original grid.

Change this file when nnU-Net changes how it predicts or combines; equality with its commands is tested.
Files, failures and messages belong in ``predict``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.inference.sliding_window_prediction import compute_gaussian
from numpy.typing import NDArray

from cspine_assets.nnunet.fold_folder import FINAL_CHECKPOINT
from cspine_assets.nnunet.prediction import Model, Predictor, PredictRequest


@dataclass(frozen=True)
class PredictedMask:
    """A mask in nnU-Net's axis order, with what its writer needs to place it in space."""

    predictor: Predictor
    mask: NDArray[np.uint8]
    properties: dict[str, Any]
    writer: Any


@dataclass(frozen=True)
class _Part:
    """One configuration's answer for one case; probabilities have shape (labels, slices, rows, columns)."""

    mask: NDArray[np.uint8]
    probabilities: NDArray[np.float32]
    properties: dict[str, Any]


class LoadedModels:
    """The networks of a request, loaded once."""

    def __init__(self, request: PredictRequest) -> None:
        self._predictors = [(model.configuration, _load(model, request)) for model in request.models]

    def predict(self, image: Path) -> Iterator[PredictedMask]:
        """The masks of one volume, first the configurations', then the ensemble's if there are two."""
        total: NDArray[np.float32] | None = None
        first: _Part | None = None
        for configuration, predictor in self._predictors:
            part = _predict(predictor, image)
            writer = predictor.plans_manager.image_reader_writer_class()
            yield PredictedMask(Predictor(configuration), part.mask, part.properties, writer)
            # nnU-Net's ensemble command adds in this order and this precision
            total = part.probabilities.astype(np.float32) if total is None else total + part.probabilities
            first = first or part
        if total is not None and first is not None and len(self._predictors) > 1:
            mask = predictor.label_manager.convert_probabilities_to_segmentation(total / len(self._predictors))
            yield PredictedMask(Predictor.ENSEMBLE, mask, first.properties, writer)


def _load(model: Model, request: PredictRequest) -> nnUNetPredictor:
    predictor = nnUNetPredictor(
        tile_step_size=request.step_size,
        use_gaussian=True,
        use_mirroring=not request.disable_tta,
        perform_everything_on_device=request.device == "cuda",
        device=torch.device(request.device),
        allow_tqdm=False,
    )
    predictor.initialize_from_trained_model_folder(str(model.model_folder), model.folds, FINAL_CHECKPOINT)
    return predictor


def _predict(predictor: nnUNetPredictor, image: Path) -> _Part:
    configuration = predictor.configuration_manager
    data, _, properties = configuration.preprocessor_class(verbose=False).run_case(
        [str(image)], None, predictor.plans_manager, configuration, predictor.dataset_json
    )
    logits = predictor.predict_logits_from_preprocessed_data(torch.from_numpy(data)).cpu().numpy()
    compute_gaussian.cache_clear()
    mask, probabilities = convert_predicted_logits_to_segmentation_with_correct_shape(
        logits,
        predictor.plans_manager,
        configuration,
        predictor.label_manager,
        properties,
        return_probabilities=True,
    )
    return _Part(mask=mask, probabilities=probabilities, properties=properties)
