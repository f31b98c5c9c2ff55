"""The child that trains one fold: choose where to start, train, validate.

Change this file when the course of a training changes: its start, its resumption, its validation.
What differs within an epoch belongs in ``trainer``.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from cspine_assets.domain.files import write_text
from cspine_assets.nnunet.children import entry
from cspine_assets.nnunet.children.pools import nnunet_pools
from cspine_assets.nnunet.environment import PREPROCESSED
from cspine_assets.nnunet.messages import Note
from cspine_assets.nnunet.profiles import PLANS
from cspine_assets.nnunet.training import (
    FINAL_CHECKPOINT,
    SUMMARY,
    ResumedFrom,
    TrainingOutcome,
    TrainRequest,
)

if TYPE_CHECKING:
    import torch

    from cspine_assets.nnunet.children.trainer import CSpineTrainer

CHECKPOINTS: dict[ResumedFrom, str] = {
    "final": FINAL_CHECKPOINT,
    "latest": "checkpoint_latest.pth",
    "best": "checkpoint_best.pth",
}


def train(request: TrainRequest, emit: entry.Emit) -> TrainingOutcome:
    """Train the fold to its end and validate it."""
    import torch

    torch.set_num_threads(1)
    if request.device == "cuda":
        torch.backends.cudnn.benchmark = True
    trainer = _trainer(request, emit)
    folder = Path(trainer.output_folder)
    resumed_from, checkpoint = most_advanced(folder, emit)
    if checkpoint is not None:
        trainer.load_checkpoint(str(checkpoint))
    first_epoch = trainer.current_epoch
    if resumed_from != "final":
        trainer.run_training()
    with nnunet_pools(request.profile.pools):
        emit(Note(text=f"{request.configuration} fold {request.fold}: validating"))
        trainer.perform_actual_validation()
    _make_paths_relative(folder / SUMMARY)
    return TrainingOutcome(epochs_trained=trainer.current_epoch - first_epoch, resumed_from=resumed_from)


def _trainer(request: TrainRequest, emit: entry.Emit) -> CSpineTrainer:
    from cspine_assets.nnunet.children.trainer import trainer_class

    preprocessed = Path(os.environ[PREPROCESSED]) / request.dataset
    plans = json.loads((preprocessed / f"{PLANS}.json").read_text())
    description = json.loads((preprocessed / "dataset.json").read_text())
    device = _device(request.device)
    trainer = trainer_class(request.profile, emit)(
        plans | {"continue_training": True}, str(request.configuration), request.fold, description, device
    )
    trainer.initialize()
    return trainer


def _device(name: str) -> torch.device:
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        msg = "device cuda was asked for and torch sees none: install a torch built for CUDA, or choose cpu"
        raise RuntimeError(msg)
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
