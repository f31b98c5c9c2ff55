"""A training child without nnU-Net: in an instant it writes what nnU-Net would, or is killed after its first epoch."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from cspine_assets.nnunet.environment import NnunetFolders
from cspine_assets.nnunet.fold_folder import RECORD_FILE, TrainingRecord
from cspine_assets.nnunet.messages import EpochFinished
from cspine_assets.nnunet.plans import STAMP_FILE, Plans
from cspine_assets.nnunet.process import ChildStoppedError
from cspine_assets.nnunet.training import TrainingOutcome, TrainRequest


class FakeTraining:
    """Stands in for ``run_child`` of a training.

    Attributes:
        asked: Folds that were trained, in order.
        killed_in: Folds whose training dies after one epoch, its checkpoint written.
        ended: Called when all files of a training are written, before its caller hears of it.
    """

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.killed_in: set[int] = set()
        self.ended: Callable[[TrainRequest], None] = lambda _request: None

    def __call__(self, _module: str, request: TrainRequest, *, env: dict[str, str], **_how: object) -> TrainingOutcome:
        self.asked.append(request.fold)
        profile, epochs = request.profile, request.profile.recipes[request.configuration].epochs
        name = f"{profile.trainer_name}__{profile.plans_identifier}__{request.configuration}"
        model = Path(env["nnUNet_results"]) / request.dataset / name
        folder = model / f"fold_{request.fold}"
        for file in ("plans.json", "dataset.json", "dataset_fingerprint.json"):
            (model / file).write_text(json.dumps({"epochs": epochs}))
        latest, final = folder / "checkpoint_latest.pth", folder / "checkpoint_final.pth"
        found = "final" if final.exists() else "latest" if latest.exists() else None
        latest.write_text("1")
        if request.fold in self.killed_in:
            raise ChildStoppedError("killed after the first epoch")
        latest.unlink()
        final.write_text(f"{epochs} epochs of {request.configuration} fold {request.fold}, seed {profile.seed}")
        (folder / "progress.png").write_bytes(b"a picture")
        validation = folder / "validation"
        validation.mkdir(exist_ok=True)
        mean = {label: {"Dice": 0.5 + epochs / 100} for label in ("1", "2")}
        case, preprocessed = f"case {request.fold}.nii.gz", Path(env["nnUNet_preprocessed"]) / request.dataset
        reference = os.path.relpath(preprocessed / "gt_segmentations" / case, validation)
        summary = {"mean": mean, "metric_per_case": [{"prediction_file": case, "reference_file": reference}]}
        (validation / "summary.json").write_text(json.dumps(summary))
        if profile.export_validation_probabilities:
            (validation / "case.npz").touch()
        record = TrainingRecord(device="cpu:0", epochs=tuple(_epoch(request, epoch, epochs) for epoch in range(epochs)))
        (folder / RECORD_FILE).write_text(record.model_dump_json())
        self.ended(request)
        trained = {"final": 0, "latest": epochs - 1, None: epochs}[found]
        return TrainingOutcome(epochs=epochs, epochs_trained=trained, resumed_from=found)


def _epoch(request: TrainRequest, epoch: int, epochs: int) -> EpochFinished:
    return EpochFinished(
        configuration=request.configuration,
        fold=request.fold,
        epoch=epoch + 1,
        epochs=epochs,
        train_loss=-0.5,
        val_loss=-0.5,
        pseudo_dice={"vertebral_body": 0.5, "intervertebral_disc": 0.5},
        ema_pseudo_dice=0.5,
        learning_rate=0.01,
        seconds=1.0,
    )


def fake_plans(folders: NnunetFolders, *, folds: int) -> Plans:
    """Plans of a dataset that nobody preprocessed, with one case held out by each fold."""
    folder = folders.preprocessed / "Dataset108_CSpineSeg"
    folder.mkdir(parents=True)
    cases = [f"case {number}" for number in range(folds)]
    splits = [{"train": [one for one in cases if one != held], "val": [held]} for held in cases]
    (folder / "splits_final.json").write_text(json.dumps(splits))
    plans = Plans(
        folder=folder,
        plans_file=folder / "nnUNetPlans.json",
        configurations=(),
        training_fingerprint="of the cases",
        dataset_fingerprint="of the dataset",
        fingerprint="of the plans",
        changed=True,
    )
    (folder / STAMP_FILE).write_text(plans.model_dump_json(exclude={"folder", "plans_file", "changed"}))
    return plans
