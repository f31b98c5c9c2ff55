"""Where the CPU time of a prediction goes: nnU-Net's own functions and ours, stage by stage in one process and thread.

Add a stage when one is worth telling apart. Whole commands, with all their processes, are measured in ``prediction``.
"""

from __future__ import annotations

import json
import pickle
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from nnunetv2.ensembling.ensemble import average_probabilities
from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

from benchmarks.prediction_study import SETTINGS, models_of, test_cases
from cspine_assets.nnunet.children.predict import predict
from cspine_assets.nnunet.dataset import FILE_ENDING
from cspine_assets.nnunet.messages import CasePredicted, CaseStage, ChildMessage
from cspine_assets.nnunet.postprocessing import Postprocessing
from cspine_assets.nnunet.prediction import Model, Predictor, PredictRequest, predictors_of

READING = "read, crop, normalize, resample"
NETWORKS = "networks"
TILES = "tiles: weights, sums, folds"
BACK = "back to the scan's grid, softmax"
PROBABILITIES = "probabilities to the disk and back"
MASKS = "mean of both, masks written"
STAGES = (READING, NETWORKS, TILES, BACK, PROBABILITIES, MASKS)


class Stopwatch:
    """CPU seconds of this process by stage; a stage within another is not part of it."""

    def __init__(self) -> None:
        self.spent = dict.fromkeys(STAGES, 0.0)
        self._at: list[str] = []
        self._since = time.process_time()

    def turn_to(self, stage: str | None) -> None:
        """From now on it is this stage, or none."""
        self._book()
        self._at = [] if stage is None else [stage]

    @contextmanager
    def within(self, stage: str) -> Iterator[None]:
        """A stage within another."""
        self._book()
        self._at.append(stage)
        try:
            yield
        finally:
            self._book()
            self._at.pop()

    def _book(self) -> None:
        now = time.process_time()
        if self._at:
            self.spent[self._at[-1]] += now - self._since
        self._since = now


def _listening_to_networks(watch: Stopwatch) -> Any:  # noqa: ANN401 - a patch
    """While open, every network that nnU-Net builds for a prediction tells when it is at work."""
    load = nnUNetPredictor.initialize_from_trained_model_folder

    def load_and_listen(self: Any, *arguments: Any) -> None:  # noqa: ANN401
        load(self, *arguments)
        forward = self.network.forward

        def timed(*inputs: Any) -> Any:  # noqa: ANN401
            with watch.within(NETWORKS):
                return forward(*inputs)

        self.network.forward = timed

    return mock.patch.object(nnUNetPredictor, "initialize_from_trained_model_folder", load_and_listen)


def _ours(root: Path, count: int, watch: Stopwatch) -> None:
    """Predicts as the platform's child does."""
    models = models_of(root)
    request = PredictRequest(
        models=models,
        cases=test_cases(root, count),
        out_folder=root / "stages_ours",
        device="cpu",
        settings=SETTINGS,
        postprocessing=dict.fromkeys(predictors_of(models), Postprocessing.NONE),
    )

    def hear(message: ChildMessage) -> None:
        if isinstance(message, CaseStage):
            watch.turn_to(_stage_of(message.stage))
        if isinstance(message, CasePredicted):
            watch.turn_to(None)

    if predict(request, hear).failed:
        raise RuntimeError("a case failed")


def _stage_of(told: str) -> str:
    starts = {"reading": READING, "the networks": TILES, "averaging": MASKS, "writing": MASKS}
    return next((stage for start, stage in starts.items() if told.startswith(start)), BACK)


def _theirs(root: Path, count: int, watch: Stopwatch) -> None:
    """Calls the functions of nnU-Net's three commands, in their order."""
    out = root / "stages_theirs"
    predictors = [_predict_theirs(root, model, count, out / model.configuration, watch) for model in models_of(root)]
    for case in test_cases(root, count):
        files = [str(out / model.configuration / f"{case.case_id}.npz") for model in models_of(root)]
        with watch.within(PROBABILITIES):
            properties = pickle.loads(Path(files[0]).with_suffix(".pkl").read_bytes())  # noqa: S301 - written above
            probabilities = average_probabilities(files)
        with watch.within(MASKS):
            mask = predictors[0].label_manager.convert_probabilities_to_segmentation(probabilities)
            writer = predictors[0].plans_manager.image_reader_writer_class()
            writer.write_seg(mask, str(out / f"{case.case_id}{FILE_ENDING}"), properties)


def _predict_theirs(root: Path, model: Model, count: int, out: Path, watch: Stopwatch) -> Any:  # noqa: ANN401
    out.mkdir(parents=True)
    predictor = nnUNetPredictor(use_mirroring=False, device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(model.model_folder), model.folds)
    plans, configuration, labels = predictor.plans_manager, predictor.configuration_manager, predictor.label_manager
    preprocessor, writer = configuration.preprocessor_class(verbose=False), plans.image_reader_writer_class()
    for case in test_cases(root, count):
        with watch.within(READING):
            data, _, properties = preprocessor.run_case(
                [str(case.image)], None, plans, configuration, predictor.dataset_json
            )
        with watch.within(TILES):
            logits = predictor.predict_logits_from_preprocessed_data(torch.from_numpy(data)).numpy()
        with watch.within(BACK):
            mask, probabilities = convert_predicted_logits_to_segmentation_with_correct_shape(
                logits, plans, configuration, labels, properties, return_probabilities=True
            )
        with watch.within(PROBABILITIES):
            np.savez_compressed(out / f"{case.case_id}.npz", probabilities=probabilities)
            (out / f"{case.case_id}.pkl").write_bytes(pickle.dumps(properties))
        with watch.within(MASKS):
            writer.write_seg(mask, str(out / f"{case.case_id}{FILE_ENDING}"), properties)
    return predictor


WAYS: dict[str, Callable[[Path, int, Stopwatch], None]] = {"ours": _ours, "theirs": _theirs}


def stages(way: str, root: Path, count: int) -> dict[str, float]:
    """Predicts a study's cases in this process and returns the CPU seconds of each stage, for each exam."""
    watch = Stopwatch()
    with _listening_to_networks(watch):
        WAYS[way](root, count, watch)
    return {stage: seconds / count for stage, seconds in watch.spent.items()}


def masks_of(root: Path, way: str, predictor: Predictor) -> Path:
    """Where the masks of a predictor lie once :func:`stages` is done."""
    folder = root / f"stages_{way}"
    return folder if way == "theirs" and predictor is Predictor.ENSEMBLE else folder / predictor


if __name__ == "__main__":
    print(json.dumps(stages(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))))
