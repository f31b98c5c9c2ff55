"""The arithmetic of a prediction: folds averaged as logits, configurations as softmax on the original grid.

Change this file when nnU-Net changes how it predicts or combines; equality with its commands is tested.
Files, failures and messages belong in ``predict``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape
from numpy.typing import NDArray

from cspine_assets.nnunet.children.loading import load_folds
from cspine_assets.nnunet.children.pulse import Pulse
from cspine_assets.nnunet.children.resampling import FrugalConfiguration, SliceMemo
from cspine_assets.nnunet.children.sliding_window import BeatingPredictor
from cspine_assets.nnunet.prediction import Model, PredictionCase, Predictor, PredictRequest
from cspine_assets.nnunet.profiles import Configuration


@dataclass(frozen=True)
class PredictedMask:
    """A mask in nnU-Net's axis order, with what its writer needs to place it in space.

    Probabilities have shape (labels, slices, rows, columns).
    """

    predictor: Predictor
    mask: NDArray[np.uint8]
    probabilities: NDArray[np.float32]
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

    def __init__(self, request: PredictRequest, pulse: Pulse) -> None:
        self._pulse = pulse
        memo = SliceMemo()
        self._predictors = [(model.configuration, _load(model, request, pulse, memo)) for model in request.models]

    def predict(self, case: PredictionCase) -> Iterator[PredictedMask]:
        """The masks of one volume, first the configurations', then the ensemble's if there are two."""
        total: NDArray[np.float32] | None = None
        first: _Part | None = None
        for configuration, predictor in self._predictors:
            part = _predict(predictor, configuration, case, self._pulse)
            writer = predictor.plans_manager.image_reader_writer_class()
            yield PredictedMask(Predictor(configuration), part.mask, part.probabilities, part.properties, writer)
            # nnU-Net's ensemble command adds in this order and this precision
            total = part.probabilities.astype(np.float32) if total is None else total + part.probabilities
            first = first or part
        if total is not None and first is not None and len(self._predictors) > 1:
            self._pulse.stage(case.case_id, "averaging the configurations")
            total /= len(self._predictors)
            mask = predictor.label_manager.convert_probabilities_to_segmentation(total)
            yield PredictedMask(Predictor.ENSEMBLE, mask, total, first.properties, writer)


def _load(model: Model, request: PredictRequest, pulse: Pulse, memo: SliceMemo) -> BeatingPredictor:
    predictor = BeatingPredictor(
        tile_step_size=request.settings.step_size,
        use_gaussian=True,
        use_mirroring=not request.settings.disable_tta,
        perform_everything_on_device=request.device == "cuda",
        device=torch.device(request.device),
        allow_tqdm=False,
    )
    predictor.pulse = pulse
    load_folds(predictor, model)
    predictor.configuration_manager = FrugalConfiguration(predictor.configuration_manager.configuration, memo)
    return predictor


def _predict(predictor: BeatingPredictor, name: Configuration, case: PredictionCase, pulse: Pulse) -> _Part:
    configuration = predictor.configuration_manager
    pulse.stage(case.case_id, f"reading and preprocessing for {name}")
    data, _, properties = configuration.preprocessor_class(verbose=False).run_case(
        [str(case.image)], None, predictor.plans_manager, configuration, predictor.dataset_json
    )
    pulse.stage(case.case_id, f"the networks of {name}")
    logits = predictor.predict_logits_from_preprocessed_data(torch.from_numpy(data)).cpu().numpy()
    pulse.stage(case.case_id, f"{name} back to the grid of the scan")
    mask, probabilities = convert_predicted_logits_to_segmentation_with_correct_shape(
        logits,
        predictor.plans_manager,
        configuration,
        predictor.label_manager,
        properties,
        return_probabilities=True,
    )
    return _Part(mask=mask, probabilities=probabilities, properties=properties)
