"""The child that predicts: a case after the other, each file whole, each failure told.

Change this file when the way from a case to its files changes.
The arithmetic belongs in ``ensemble``.
"""

from __future__ import annotations

import time
import traceback

from cspine_assets.domain.files import written_aside
from cspine_assets.nnunet.children import entry
from cspine_assets.nnunet.messages import CaseFailed, CasePredicted, Note
from cspine_assets.nnunet.prediction import Prediction, PredictionCase, PredictRequest, mask_path


def predict(request: PredictRequest, emit: entry.Emit) -> Prediction:
    """Predict all cases; one that fails does not stop the others."""
    from cspine_assets.nnunet.children.ensemble import LoadedModels

    models = LoadedModels(request)
    emit(Note(text=f"{sum(len(model.folds) for model in request.models)} models loaded"))

    def one(case: PredictionCase) -> CasePredicted | CaseFailed:
        began = time.monotonic()
        try:
            for predicted in models.predict(case.image):
                with written_aside(mask_path(request.out_folder, predicted.predictor, case.case_id)) as aside:
                    predicted.writer.write_seg(predicted.mask, str(aside), predicted.properties)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one exam, the others go on
            traceback.print_exc()
            return CaseFailed(case_id=case.case_id, reason=f"{type(error).__name__}: {error}")
        return CasePredicted(case_id=case.case_id, seconds=time.monotonic() - began)

    outcomes = []
    for case in request.cases:
        outcomes.append(one(case))
        emit(outcomes[-1])
    return Prediction(
        predicted=tuple(outcome.case_id for outcome in outcomes if isinstance(outcome, CasePredicted)),
        failed=tuple(outcome for outcome in outcomes if isinstance(outcome, CaseFailed)),
    )


if __name__ == "__main__":
    entry.run(PredictRequest, predict)
