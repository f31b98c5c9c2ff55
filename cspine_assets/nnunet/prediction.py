"""Predicting cases with trained folds: 2d, 3d_fullres and their ensemble, in one child process.

Change this file when what is predicted, or how predictions are named, changes.
The arithmetic of the ensemble stands in ``children.ensemble``; measuring the masks is evaluation.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

from cspine_assets.domain.errors import ModelError
from cspine_assets.nnunet.devices import Device, Slot
from cspine_assets.nnunet.environment import NnunetFolders, child_environment
from cspine_assets.nnunet.fold_folder import FINAL_CHECKPOINT
from cspine_assets.nnunet.messages import CaseFailed, Frozen
from cspine_assets.nnunet.process import Supervision, run_child
from cspine_assets.nnunet.profiles import PLANS, TRAINER, Configuration


class Predictor(StrEnum):
    """Who made a mask: a configuration, or the mean of both."""

    FLAT = "2d"
    FULL_RESOLUTION = "3d_fullres"
    ENSEMBLE = "ensemble"


class Model(Frozen):
    """Trained folds of one configuration, averaged as logits.

    Attributes:
        configuration: Of the folds.
        model_folder: ``.../nnUNetTrainer__nnUNetPlans__2d``.
        folds: All for cases that no fold has seen; the one that held them out for cross-validation.
    """

    configuration: Configuration
    model_folder: Path
    folds: tuple[int, ...]


class PredictionCase(Frozen):
    """One volume to predict."""

    case_id: str
    image: Path


class PredictRequest(Frozen):
    """What the predicting child is asked for."""

    models: tuple[Model, ...]
    cases: tuple[PredictionCase, ...]
    out_folder: Path
    device: Device
    disable_tta: bool
    step_size: float


class Prediction(Frozen):
    """What came of a prediction: every case is in one of the two.

    Attributes:
        predicted: Cases whose masks are on the disk.
        failed: The others, each with its reason.
    """

    predicted: tuple[str, ...]
    failed: tuple[CaseFailed, ...]


def model_of(folders: NnunetFolders, dataset: str, configuration: Configuration, folds: Sequence[int]) -> Model:
    """The trained folds of one configuration.

    Raises:
        ModelError: A fold has no final checkpoint.
    """
    folder = folders.results / dataset / f"{TRAINER}__{PLANS}__{configuration}"
    missing = [fold for fold in folds if not (folder / f"fold_{fold}" / FINAL_CHECKPOINT).is_file()]
    if missing or not folds:
        raise ModelError(f"{folder}: expected trained folds {list(folds)}, missing are {missing}; train them first")
    return Model(configuration=configuration, model_folder=folder, folds=tuple(folds))


def mask_path(out_folder: Path, predictor: Predictor, case_id: str) -> Path:
    """Where the mask of a case lies: ``{out_folder}/{predictor}/{case_id}.nii.gz``."""
    return out_folder / predictor / f"{case_id}.nii.gz"


def predict_cases(
    models: Sequence[Model],
    cases: Sequence[PredictionCase],
    out_folder: Path,
    *,
    disable_tta: bool,
    step_size: float,
    slot: Slot,
    supervision: Supervision,
) -> Prediction:
    """Predict all cases; models are loaded once, probabilities never touch the disk.

    Writes a mask per model's configuration and, where there are two models, the ensemble's: the mean of their
    softmax on the original grid. The files equal those of nnU-Net's own commands byte for byte.

    Args:
        models: One or two, of different configurations.
        cases: Volumes oriented like the training volumes.
        out_folder: Receives a folder per predictor.
        disable_tta: Do not average over mirrored copies.
        step_size: Of the sliding window, as a share of the patch.
        slot: The device to predict on, leased by the caller.
        supervision: Of the child. Its listener hears of every case; a heartbeat limit must exceed the loading
            of the models and one case.

    Raises:
        ModelError: The models cannot be used. A case that fails is in the result instead.
    """
    if len({model.configuration for model in models}) != len(models) or not models:
        raise ModelError(f"expected models of different configurations, got {[m.configuration for m in models]}")
    if not cases:
        return Prediction(predicted=(), failed=())
    unused = NnunetFolders.under(out_folder / "unused")
    return run_child(
        "cspine_assets.nnunet.children.predict",
        PredictRequest(
            models=tuple(models),
            cases=tuple(cases),
            out_folder=out_folder,
            device=slot.device,
            disable_tta=disable_tta,
            step_size=step_size,
        ),
        result_type=Prediction,
        env=child_environment(unused, workers=1, augmentation_workers=1) | slot.env,
        supervision=supervision,
    )


def predict_scan(
    models: Sequence[Model],
    image: Path,
    output: Path,
    *,
    disable_tta: bool,
    step_size: float,
    slot: Slot,
    log_path: Path,
) -> None:
    """Write the mask of one NIfTI volume to ``output``: the ensemble's, or the only model's.

    Raises:
        ModelError: The volume is missing or cannot be predicted.
    """
    if not image.is_file():
        raise ModelError(f"expected a NIfTI volume at {image}, there is no such file")
    output.parent.mkdir(parents=True, exist_ok=True)
    predictor = Predictor.ENSEMBLE if len(models) > 1 else Predictor(models[0].configuration)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".predicting-") as folder:
        result = predict_cases(
            models,
            [PredictionCase(case_id="scan", image=image)],
            Path(folder),
            disable_tta=disable_tta,
            step_size=step_size,
            slot=slot,
            supervision=Supervision(log_path=log_path, on_message=lambda _: None),
        )
        for failure in result.failed:
            raise ModelError(f"{image} cannot be predicted: {failure.reason}. Log: {log_path}")
        mask_path(Path(folder), predictor, "scan").replace(output)
