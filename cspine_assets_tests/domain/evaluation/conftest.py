"""Rows of ``evaluation.exam_metrics`` made from a few numbers."""

from __future__ import annotations

import pandas as pd
import pytest

from cspine_assets.domain.evaluation.sets import set_name
from cspine_assets.domain.tables.base import validate
from cspine_assets.domain.tables.evaluation import ExamMetrics

BODY, DISC = "vertebral_body", "intervertebral_disc"


@pytest.fixture
def metrics_of():
    """Returns a function that makes a frame from ``{predictor: {structure: [value per exam]}}``."""

    def make(values, *, scored_set="test", folds=None, provenance="expert", profile="full"):
        rows = [
            {
                "exam_id": f"593973-{number:06d}_Study-MR-1_Series-4",
                "patient_id": f"593973-{number:06d}",
                "set": set_name(scored_set, provenance),
                "fold": folds[number] if folds else None,
                "predictor": predictor,
                "structure": structure,
                "profile": profile,
                "split_sha256": "s",
                "model_sha256": "m",
                "annotation_provenance": provenance,
                "status": "both_empty" if value is None else ("missed" if value == 0 else "ok"),
                "dice_volumetric": value,
                "dice_slice_mean": 1.0 if value is None else value,
                "iou": None if value is None else value / (2 - value),
                "volume_reference_mm3": 1000.0,
                "volume_prediction_mm3": 1000.0,
                "volume_difference_relative": 0.0,
                "hd95_mm": None if value is None else (float("inf") if value == 0 else 10 * (1 - value)),
                "assd_mm": None if value is None else (float("inf") if value == 0 else 2 * (1 - value)),
                "nsd_1mm": value,
                "nsd_2mm": value,
                "diagonal_mm": 400.0,
            }
            for predictor, structures in values.items()
            for structure, column in structures.items()
            for number, value in enumerate(column)
        ]
        return validate(ExamMetrics, pd.DataFrame(rows).astype({"fold": "Int64"}))

    return make
