"""The child that measures a training: a few iterations of the very network, plans and data, and nothing kept.

Change this file when what is measured changes.
How a training is set up belongs in ``train``; what the time means belongs in ``cpu_training``.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from cspine_assets.nnunet.children import entry
from cspine_assets.nnunet.children.train import new_trainer
from cspine_assets.nnunet.cpu_training import TrainingCost
from cspine_assets.nnunet.training import TrainRequest

ITERATIONS = 3
"""After one that is not counted, in which torch prepares its memory; those that follow differ by a few percent."""


def measure(request: TrainRequest, emit: entry.Emit) -> TrainingCost:
    """Train and validate for a few iterations, on one thread as a training on the CPU does."""
    import torch

    torch.set_num_threads(1)
    trainer = new_trainer(request, emit)
    trainer.dataloader_train, trainer.dataloader_val = trainer.get_dataloaders()
    trainer.set_deep_supervision_enabled(trainer.enable_deep_supervision)
    trainer.network.train()
    iteration_s = _cpu_seconds(lambda: trainer.train_step(next(trainer.dataloader_train)))
    trainer.network.eval()
    with torch.no_grad():
        validation_s = _cpu_seconds(lambda: trainer.validation_step(next(trainer.dataloader_val)))
    return TrainingCost(
        iteration_s=iteration_s,
        validation_iteration_s=validation_s,
        iterations=trainer.num_epochs * trainer.num_iterations_per_epoch,
        validation_iterations=trainer.num_epochs * trainer.num_val_iterations_per_epoch,
    )


def _cpu_seconds(step: Callable[[], object]) -> float:
    """Returns the CPU time of one step, which other programs on the machine do not change."""
    step()
    began = time.process_time()
    for _ in range(ITERATIONS):
        step()
    return (time.process_time() - began) / ITERATIONS


if __name__ == "__main__":
    entry.run(TrainRequest, measure)
