"""The child that predicts: a case after the other, each file whole, each failure told.

Change this file when the way from a case to its files changes.
The arithmetic belongs in ``ensemble``.
"""

from __future__ import annotations

import pickle
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cspine_assets.domain.files import written_aside
from cspine_assets.nnunet.children import entry
from cspine_assets.nnunet.children.pulse import Pulse
from cspine_assets.nnunet.finished_cases import write_stamp
from cspine_assets.nnunet.messages import CaseFailed, CasePredicted, Note
from cspine_assets.nnunet.postprocessing import Postprocessing, write_postprocessed
from cspine_assets.nnunet.prediction import Prediction, PredictionCase, PredictRequest, mask_path

if TYPE_CHECKING:
    from cspine_assets.nnunet.children.ensemble import LoadedModels, PredictedMask


def predict(request: PredictRequest, emit: entry.Emit) -> Prediction:
    """Predict all cases; one that fails does not stop the others."""
    emit(Note(text="loading torch and nnU-Net"))
    from cspine_assets.nnunet.children.ensemble import LoadedModels

    emit(Note(text="loading the models"))
    pulse = Pulse(emit)
    models = LoadedModels(request, pulse)
    emit(Note(text=f"{sum(len(model.folds) for model in request.models)} models loaded"))
    writer = _Writer(request, models, pulse)
    outcomes = []
    for case in request.cases:
        outcomes.append(writer.outcome(case))
        emit(outcomes[-1])
    return Prediction(
        predicted=tuple(outcome.case_id for outcome in outcomes if isinstance(outcome, CasePredicted)),
        failed=tuple(outcome for outcome in outcomes if isinstance(outcome, CaseFailed)),
    )


@dataclass(frozen=True)
class _Writer:
    """Predicts a case and puts its files into place."""

    request: PredictRequest
    models: LoadedModels
    pulse: Pulse

    def outcome(self, case: PredictionCase) -> CasePredicted | CaseFailed:
        """What came of one case; whatever is wrong with it is its own."""
        began = time.monotonic()
        files: list[Path] = []
        try:
            for predicted in self.models.predict(case):
                files += self._write(case, predicted)
            if case.inputs is not None:
                write_stamp(self.request.out_folder, case.case_id, case.inputs, files)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one exam, the others go on
            traceback.print_exc()
            for file in files:  # some of a case's masks are no prediction of it
                file.unlink(missing_ok=True)
            return CaseFailed(case_id=case.case_id, reason=" ".join(f"{type(error).__name__}: {error}".split()))
        return CasePredicted(case_id=case.case_id, seconds=time.monotonic() - began)

    def _write(self, case: PredictionCase, predicted: PredictedMask) -> list[Path]:
        """Writes the files of one predictor, and returns where."""
        self.pulse.stage(case.case_id, f"writing the mask of {predicted.predictor}")
        place = mask_path(self.request.out_folder, predicted.predictor, case.case_id)
        option = self.request.postprocessing[predicted.predictor]
        with written_aside(place) as aside:
            predicted.writer.write_seg(predicted.mask, str(aside), predicted.properties)
            if option is not Postprocessing.NONE:
                # from the file, as nnU-Net's command does it: the affine has then been through a file's float32
                write_postprocessed(option, aside, aside, predicted.writer)
        if not self.request.settings.save_probabilities:
            return [place]
        return [place, *_write_probabilities(place, predicted)]


def _write_probabilities(mask: Path, predicted: PredictedMask) -> list[Path]:
    """Writes probabilities and properties as nnU-Net does with ``--save_probabilities``."""
    stem = mask.name.removesuffix(".nii.gz")
    arrays, properties = mask.with_name(f"{stem}.npz"), mask.with_name(f"{stem}.pkl")
    with written_aside(arrays) as aside:
        np.savez_compressed(aside, probabilities=predicted.probabilities)
    with written_aside(properties) as aside:
        aside.write_bytes(pickle.dumps(predicted.properties))
    return [arrays, properties]


if __name__ == "__main__":
    entry.run(PredictRequest, predict)
