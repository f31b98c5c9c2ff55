"""nnU-Net's trainer, with our recipe, our messages, whole checkpoints and repeatable sampling.

Change this file when a training must differ from nnU-Net's within its epochs.
Where a training starts and how it is validated belongs in ``train``; the numbers belong in ``profiles``.
"""

from __future__ import annotations

import math
import random
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import matplotlib as mpl
import numpy as np
import torch
from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer as StockTrainer

from cspine_assets.domain.anatomy import LABELS, Structure
from cspine_assets.domain.files import written_aside
from cspine_assets.nnunet.children.entry import Emit
from cspine_assets.nnunet.disk import DiskFullError
from cspine_assets.nnunet.fold_folder import LATEST_CHECKPOINT, PREVIOUS_CHECKPOINT
from cspine_assets.nnunet.messages import Beat, EpochFinished
from cspine_assets.nnunet.profiles import Configuration, Profile, Recipe

STRUCTURES = {label: structure for structure, label in LABELS.items()}

BEAT_S = 15.0
"""Between two signs of life within an epoch, and at least a case of the validation."""

PROGRESS_DPI = 50
"""nnU-Net draws 3000 x 5400 pixels; half of each still reads well and takes a quarter of the time."""


class LostWeightsError(RuntimeError):
    """A training whose weights are no numbers any more."""


def trainer_class(profile: Profile, emit: Emit, own: type[StockTrainer] | None = None) -> type[SupervisedTrainer]:
    """The trainer for a profile, or the user's own class under our supervision.

    Our name is nnU-Net's own, and so are the names of the folder and in the checkpoints: nnU-Net's commands
    load such a model without a search through all their trainers, one of which needs torchvision.
    """
    fields: dict[str, object] = {"profile": profile, "emit": staticmethod(emit)}
    bases = (RecipeTrainer,) if own is None else (SupervisedTrainer, own)
    return type(profile.trainer_name, bases, fields)


def seed_everything(*numbers: int) -> None:
    """Seed all generators that nnU-Net draws from."""
    seed = int(np.random.SeedSequence(numbers).generate_state(1)[0])
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - nnU-Net's data loader draws from the global generator
    torch.manual_seed(seed)


class SupervisedTrainer(StockTrainer):  # type: ignore[misc]  # nnU-Net has no types
    """A trainer that reports to ``emit``, writes whole checkpoints and repeats its draws; its recipe is nnU-Net's."""

    profile: ClassVar[Profile]
    emit: ClassVar[Emit]

    def __init__(
        self,
        plans: dict[str, Any],
        configuration: str,
        fold: int,
        dataset_json: dict[str, Any],
        device: torch.device,
    ) -> None:
        seed_everything(self.profile.seed, fold)
        self._beaten = 0.0
        # nnU-Net looks its own arguments up by the names in this signature: it must stay as it is
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.recipe: Recipe = self.profile.recipes[Configuration(configuration)]
        self.save_every = self.recipe.save_every
        own = self.profile.trainer
        if own is not None and own.num_epochs is not None:
            self.num_epochs = own.num_epochs
        self._draw_now = self.logger.plot_progress_png
        self.logger.plot_progress_png = self._draw_seldom

    def on_epoch_start(self) -> None:
        """Seed, so that a resumed training draws what the uninterrupted one would have drawn."""
        seed_everything(self.profile.seed, self.fold, self.current_epoch)
        super().on_epoch_start()

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """One step, and a sign of life now and then."""
        self._beat(f"training epoch {self.current_epoch + 1}")
        step: dict[str, Any] = super().train_step(batch)
        return step

    def print_to_log_file(self, *what: object, **how: bool) -> None:
        """Whatever nnU-Net prints, such as the case that it validates, is a sign of life too."""
        self._beat(" ".join(str(part) for part in what).strip())
        super().print_to_log_file(*what, **how)

    def _beat(self, at: str) -> None:
        if time.monotonic() - self._beaten > BEAT_S:
            self._beaten = time.monotonic()
            type(self).emit(Beat(at=at))

    def on_train_epoch_end(self, train_outputs: list[dict[str, Any]]) -> None:
        """Stop when the loss is no number any more: nnU-Net goes on for a thousand epochs that learn nothing.

        Raises:
            LostWeightsError: It is not; checkpoints of this epoch are not written.
        """
        super().on_train_epoch_end(train_outputs)
        loss = float(self.logger.get_value("train_losses", step=-1))
        if not math.isfinite(loss):
            raise LostWeightsError(
                f"{self.configuration_name} fold {self.fold}, epoch {self.current_epoch + 1}: expected a finite "
                f"training loss, got {loss}. What the network had learned is lost from here on; the checkpoint before "
                "stands, and the next call goes on from it. If it happens again, lower the learning rate of your "
                "trainer, or look for images without contrast."
            )

    def on_epoch_end(self) -> None:
        """Report once the epoch's checkpoints are on the disk."""
        super().on_epoch_end()
        type(self).emit(self._epoch(self.logger.get_checkpoint(), self.current_epoch - 1))  # it has counted on already

    def on_train_end(self) -> None:
        """Draw the progress, whatever the rhythm was: nnU-Net's export demands the picture."""
        super().on_train_end()
        self._draw(self.output_folder)

    def save_checkpoint(self, filename: str) -> None:
        """Write aside and rename, and keep the latest but one: an interrupted ``torch.save`` leaves a torn file.

        Raises:
            DiskFullError: It could not be written; what stood there is untouched.
        """
        try:
            with written_aside(Path(filename), synced=True) as aside:
                super().save_checkpoint(str(aside))
                _keep_previous(Path(filename))
        except (OSError, RuntimeError) as error:  # torch raises a RuntimeError of its own when a write fails
            free_mb = shutil.disk_usage(self.output_folder).free / 1e6
            raise DiskFullError(
                f"{filename} cannot be written, {free_mb:.0f} MB of its disk are free. The checkpoint before it stands "
                "and the next call goes on from it: make room first."
            ) from error

    def epochs_so_far(self) -> Sequence[EpochFinished]:
        """Every epoch once, with those before a resume: nnU-Net's checkpoints carry its log along."""
        log = self.logger.get_checkpoint()
        return [self._epoch(log, number) for number in range(len(log["epoch_end_timestamps"]))]

    def _draw_seldom(self, folder: str) -> None:
        if (self.current_epoch + 1) % self.recipe.plot_every == 0:
            self._draw(folder)

    def _draw(self, folder: str) -> None:
        with mpl.rc_context({"savefig.dpi": PROGRESS_DPI}):
            self._draw_now(folder)

    def _epoch(self, log: Mapping[str, Sequence[Any]], number: int) -> EpochFinished:
        labels = self.label_manager.foreground_labels
        dice: dict[Structure, float] = {
            STRUCTURES[label]: float(value)
            for label, value in zip(labels, log["dice_per_class_or_region"][number], strict=True)
        }
        return EpochFinished(
            configuration=self.configuration_name,
            fold=self.fold,
            epoch=number + 1,
            epochs=self.num_epochs,
            train_loss=float(log["train_losses"][number]),
            val_loss=float(log["val_losses"][number]),
            pseudo_dice=dice,
            ema_pseudo_dice=float(log["ema_fg_dice"][number]),
            learning_rate=float(log["lrs"][number]),
            seconds=float(log["epoch_end_timestamps"][number] - log["epoch_start_timestamps"][number]),
        )


def _keep_previous(checkpoint: Path) -> None:
    if checkpoint.name == LATEST_CHECKPOINT and checkpoint.exists():
        checkpoint.replace(checkpoint.with_name(PREVIOUS_CHECKPOINT))


class RecipeTrainer(SupervisedTrainer):
    """A supervised trainer that follows the profile's recipe."""

    def __init__(
        self,
        plans: dict[str, Any],
        configuration: str,
        fold: int,
        dataset_json: dict[str, Any],
        device: torch.device,
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_epochs = self.recipe.epochs
        self.num_iterations_per_epoch = self.recipe.iterations
        self.num_val_iterations_per_epoch = self.recipe.validation_iterations
        self.oversample_foreground_percent = self.recipe.foreground_share
        self.initial_lr = self.recipe.initial_learning_rate
        if not self.recipe.augmentation:
            self.get_training_transforms = self._plain_transforms

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, PolyLRScheduler]:
        """The recipe's optimizer, with nnU-Net's polynomial decay."""
        if self.recipe.optimizer == "sgd":
            optimizer, schedule = super().configure_optimizers()
            return optimizer, schedule
        adam = torch.optim.AdamW(self.network.parameters(), self.initial_lr, weight_decay=self.weight_decay)
        return adam, PolyLRScheduler(adam, self.initial_lr, self.num_epochs)

    def _plain_transforms(self, *arguments: object, **choices: object) -> object:
        """Training patches prepared as nnU-Net prepares validation patches: cut, and nothing else."""
        deep_supervision_scales = arguments[2]
        choices.pop("use_mask_for_norm")
        return self.get_validation_transforms(deep_supervision_scales, **choices)

    def configure_rotation_dummyDA_mirroring_and_inital_patch_size(self) -> tuple[object, ...]:
        """What nnU-Net augments by; without augmentation no margin is cut and no axis is ever mirrored."""
        planned = super().configure_rotation_dummyDA_mirroring_and_inital_patch_size()
        rotation, dummy_2d, patch_size, mirror_axes = planned
        if not self.recipe.augmentation:
            patch_size = self.configuration_manager.patch_size
            mirror_axes = self.inference_allowed_mirroring_axes = None
        return rotation, dummy_2d, patch_size, mirror_axes
