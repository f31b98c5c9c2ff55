"""The child that trains one fold: choose where to start, make sure of the disk, train, validate.

Change this file when the course of a training changes: its start, its resumption, its validation.
What differs within an epoch belongs in ``trainer``.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

from cspine_assets.domain.errors import ModelError
from cspine_assets.domain.files import write_text
from cspine_assets.nnunet.children import entry
from cspine_assets.nnunet.children.pools import nnunet_pools
from cspine_assets.nnunet.disk import DiskNeed, require_free_disk, training_need
from cspine_assets.nnunet.environment import PREPROCESSED
from cspine_assets.nnunet.fold_folder import (
    FINAL_CHECKPOINT,
    LATEST_CHECKPOINT,
    PREVIOUS_CHECKPOINT,
    RECORD_FILE,
    SUMMARY,
    TrainingRecord,
    is_validated,
)
from cspine_assets.nnunet.messages import Note
from cspine_assets.nnunet.profiles import TRAINER
from cspine_assets.nnunet.training import ResumedFrom, TrainingOutcome, TrainRequest

if TYPE_CHECKING:
    import torch

    from cspine_assets.nnunet.children.trainer import SupervisedTrainer

CHECKPOINTS: dict[ResumedFrom, str] = {
    "final": FINAL_CHECKPOINT,
    "latest": LATEST_CHECKPOINT,
    "previous": PREVIOUS_CHECKPOINT,
    "best": "checkpoint_best.pth",
}


def train(request: TrainRequest, emit: entry.Emit) -> TrainingOutcome:
    """Train the fold to its end and validate it."""
    import torch

    torch.set_num_threads(1)
    if request.device == "cuda":
        torch.backends.cudnn.benchmark = True
    trainer = new_trainer(request, emit)
    folder = Path(trainer.output_folder)
    resumed_from, checkpoint = most_advanced(folder, emit)
    require_free_disk(folder, _disk_need(trainer))
    if checkpoint is not None:
        trainer.load_checkpoint(str(checkpoint))
        emit(Note(text=f"{_name(request)}: goes on after epoch {trainer.current_epoch}, from {checkpoint.name}"))
    first_epoch = trainer.current_epoch
    if resumed_from != "final":
        trainer.run_training()
    (folder / PREVIOUS_CHECKPOINT).unlink(missing_ok=True)  # as nnU-Net removes the latest: the final one stands
    probabilities = request.profile.export_validation_probabilities
    if resumed_from != "final" or not is_validated(folder, probabilities=probabilities):
        with nnunet_pools(request.profile.pools):
            emit(Note(text=f"{_name(request)}: validating"))
            trainer.perform_actual_validation(probabilities)
        _make_paths_relative(folder / SUMMARY)
    record = TrainingRecord(device=request.device_name, epochs=tuple(trainer.epochs_so_far()))
    write_text(folder / RECORD_FILE, record.model_dump_json() + "\n")
    return TrainingOutcome(
        epochs=trainer.current_epoch, epochs_trained=trainer.current_epoch - first_epoch, resumed_from=resumed_from
    )


def _name(request: TrainRequest) -> str:
    return f"{request.configuration} fold {request.fold}"


def new_trainer(request: TrainRequest, emit: entry.Emit) -> SupervisedTrainer:
    """Return the request's trainer with its network, before its first epoch."""
    from cspine_assets.nnunet.children.trainer import trainer_class

    own = None
    if request.profile.trainer is not None:
        from cspine_assets.nnunet.children.own_code import load_trainer

        own = load_trainer(request.profile.trainer)
    preprocessed = Path(os.environ[PREPROCESSED]) / request.dataset
    plans = json.loads((preprocessed / f"{request.profile.plans_identifier}.json").read_text())
    description = json.loads((preprocessed / "dataset.json").read_text())
    device = _device(request.device)
    trainer = trainer_class(request.profile, emit, own)(
        plans | {"continue_training": True}, str(request.configuration), request.fold, description, device
    )
    # the folder has its name by now; with the stock name in their checkpoints all of nnU-Net's commands read them,
    # and an own trainer's network is the stock one's
    type(trainer).__name__ = TRAINER
    trainer.initialize()
    return trainer


def _disk_need(trainer: SupervisedTrainer) -> DiskNeed:
    import torch

    folder = Path(trainer.output_folder)
    validation_cases = len(trainer.do_split()[1])
    median = trainer.plans_manager.plans["original_median_shape_after_transp"]
    return training_need(
        parameters=sum(parameter.numel() for parameter in trainer.network.parameters()),
        optimizer_states=1 if isinstance(trainer.optimizer, torch.optim.SGD) else 2,
        validation_voxels=int(validation_cases * math.prod(median)),
        labels=len(trainer.label_manager.all_labels),
        probabilities=trainer.profile.export_validation_probabilities,
        standing_bytes=sum(path.stat().st_size for path in folder.glob("checkpoint_*.pth")),
    )


def _device(name: str) -> torch.device:
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        msg = "expected a GPU for device cuda, torch finds none; `cspine doctor` shows why"
        raise ModelError(msg)
    if name == "mps" and not torch.backends.mps.is_available():
        msg = "expected an Apple GPU for device mps, torch finds none; `cspine doctor` shows why"
        raise ModelError(msg)
    return torch.device(name)


def most_advanced(folder: Path, emit: entry.Emit) -> tuple[ResumedFrom | None, Path | None]:
    """The readable checkpoint with the most epochs: the best one may be younger than the latest."""
    import torch

    chosen: tuple[ResumedFrom | None, Path | None] = (None, None)
    most = 0
    for name, file in CHECKPOINTS.items():
        path = folder / file
        if not path.exists():
            continue
        try:
            epochs = torch.load(path, map_location="cpu", weights_only=False)["current_epoch"]
        except Exception as error:  # noqa: BLE001 - a torn file raises anything; an older one may be whole
            emit(Note(text=f"{path} cannot be read ({error}); looking for an older checkpoint"))
            continue
        if name == "final":
            return name, path
        if epochs > most:
            chosen, most = (name, path), epochs
    return chosen


def _make_paths_relative(summary: Path) -> None:
    """Let ``summary.json`` survive a move of the home: file paths in it become relative to its folder."""
    results = json.loads(summary.read_text())
    for case in results["metric_per_case"]:
        for key in ("prediction_file", "reference_file"):
            case[key] = os.path.relpath(case[key], summary.parent)
    write_text(summary, json.dumps(results, indent=4, sort_keys=True) + "\n")


if __name__ == "__main__":
    entry.run(TrainRequest, train)
