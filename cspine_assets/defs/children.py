"""Steps and the child processes of nnU-Net: how many processes one may use, and its messages in the run's log.

Add here what several assets need to run a child. How a child is run stands in ``cspine_assets.nnunet``.
"""

from collections.abc import Callable

import dagster as dg

from cspine_assets.defs.resources import Study
from cspine_assets.domain.machine import usable_cores
from cspine_assets.nnunet.gpus import report_gpus
from cspine_assets.nnunet.messages import ChildMessage, EpochFinished, Note, seconds_left
from cspine_assets.nnunet.pace import duration

MOST_WORKERS = 8
"""nnU-Net's own default; each costs about 400 MB."""
MOST_AUGMENTATION_WORKERS = 12
"""nnU-Net's own default for one training."""


def worker_count(study: Study) -> int:
    """Returns how many processes nnU-Net's own steps may use: one for a small study, whose starts cost more."""
    if study.profile.workers is not None:
        return study.profile.workers
    return 1 if study.profile.pools == "threads" else min(MOST_WORKERS, usable_cores())


def augmentation_worker_count(study: Study) -> int:
    """Returns how many processes augment beside one training, so that all trainings together fill the cores."""
    if study.profile.augmentation_workers is not None:
        return study.profile.augmentation_workers
    return max(1, min(MOST_AUGMENTATION_WORKERS, usable_cores() // len(study.slots)))


def log_unused_gpu(context: dg.AssetExecutionContext) -> None:
    """Warns in the run's log where a GPU is there and cannot be used, with what to do."""
    report = report_gpus()
    if report.is_unused:
        context.log.warning(report.sentence)


def log_listener(context: dg.AssetExecutionContext) -> Callable[[ChildMessage], None]:
    """Returns a listener that puts what a child says into the run's log."""

    def listen(message: ChildMessage) -> None:
        if isinstance(message, EpochFinished):
            dice = ", ".join(f"{structure} {value:.3f}" for structure, value in message.pseudo_dice.items())
            context.log.info(
                f"{message.configuration} fold {message.fold}: epoch {message.epoch} of {message.epochs}, "
                f"loss {message.train_loss:.3f} / {message.val_loss:.3f}, pseudo Dice {dice}, "
                f"learning rate {message.learning_rate:.2g}, {message.seconds:.1f} s, "
                f"about {duration(seconds_left(message))} left"
            )
        elif isinstance(message, Note):
            context.log.info(message.text)

    return listen
