"""The two ways to run the study: ``full`` as published, and ``demo``, small enough for two CPU cores.

Every number that makes a profile what it is stands here, with its reason.
How nnU-Net is made to follow a profile belongs in ``children``.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Literal

from cspine_assets.nnunet.messages import Frozen

TRAINER: Final = "nnUNetTrainer"
PLANS: Final = "nnUNetPlans"
FOLDS: Final = (0, 1, 2, 3, 4)


class Configuration(StrEnum):
    """One of the two nnU-Net configurations of the study."""

    FLAT = "2d"
    FULL_RESOLUTION = "3d_fullres"


class SmallNetwork(Frozen):
    """A network cut down from nnU-Net's own plans for one configuration.

    Attributes:
        base_features: Channels of the first stage; each stage doubles them.
        stages: Number of resolution stages.
        convolutions: Per stage, in the encoder and in the decoder.
        max_patch_size: Upper limit per axis of the planned patch, slices first for 3d.
        batch_size: Patches per iteration.
        flat_stages: Of a 3d network, how many first stages look and shrink within slices only.
    """

    base_features: int
    stages: int
    convolutions: int
    max_patch_size: tuple[int, ...]
    batch_size: int
    flat_stages: int = 0


class Recipe(Frozen):
    """How one configuration is trained.

    Attributes:
        epochs: Number of epochs.
        iterations: Training iterations per epoch.
        validation_iterations: Of the pseudo Dice, per epoch.
        optimizer: ``sgd`` is nnU-Net's (Nesterov momentum 0.99); both decay as nnU-Net's polynomial.
        initial_learning_rate: At the first epoch.
        augmentation: nnU-Net's full augmentation, or none.
        foreground_share: Of a batch's patches, those that must hold a structure; nnU-Net's is 0.33.
        save_every: Epochs between two checkpoints to resume from.
        plot_every: Epochs between two drawings of ``progress.png``; it is always drawn at the end.
    """

    epochs: int
    iterations: int
    validation_iterations: int
    optimizer: Literal["sgd", "adamw"]
    initial_learning_rate: float
    augmentation: bool
    foreground_share: float
    save_every: int
    plot_every: int


class Profile(Frozen):
    """Everything by which two runs of the study may differ.

    Attributes:
        name: As it stands in the home's settings and in every model's stamp.
        networks: What replaces the planned networks; empty: nnU-Net's plans as they are.
        recipes: How each configuration is trained.
        augmentation_workers: Processes that augment beside one training; None: nnU-Net's own choice.
        pools: ``spawned`` processes as nnU-Net does, or ``threads`` in the child itself: a spawned worker
            costs 2-5 s of imports and 400 MB, more than all the work of a small study.
        disable_tta: Predict without mirroring.
        step_size: Of the sliding window, as a share of the patch.
        seed: Of weights and sampling. A training repeats exactly on a CPU without augmentation workers, and
            only there.
    """

    name: Literal["full", "demo"]
    networks: dict[Configuration, SmallNetwork]
    recipes: dict[Configuration, Recipe]
    augmentation_workers: int | None
    pools: Literal["spawned", "threads"]
    disable_tta: bool
    step_size: float
    seed: int


_PUBLISHED = Recipe(
    epochs=1000,
    iterations=250,
    validation_iterations=50,
    optimizer="sgd",
    initial_learning_rate=1e-2,
    augmentation=True,
    foreground_share=0.33,
    save_every=10,  # nnU-Net's 50 can lose an hour and a half; a checkpoint takes a second
    plot_every=50,  # 0.7 s each, in which the GPU waits
)

FULL: Final = Profile(
    name="full",
    networks={},
    recipes=dict.fromkeys(Configuration, _PUBLISHED),
    augmentation_workers=None,
    pools="spawned",
    disable_tta=False,
    step_size=0.5,
    seed=12345,
)
"""The published study: nnU-Net's default planner, trainer, augmentation and prediction, unchanged."""

_QUICK = Recipe(
    epochs=4,
    iterations=60,  # many small steps: with a quarter as many, on four times the patches, folds collapse
    validation_iterations=2,
    optimizer="adamw",  # SGD needs its thousand epochs; AdamW learns a phantom in two hundred iterations
    initial_learning_rate=1e-2,
    augmentation=False,
    foreground_share=0.66,  # all of it: false bodies all over the neck, for want of anything else to learn from
    save_every=1,
    plot_every=1000,
)

DEMO: Final = Profile(
    name="demo",
    networks={
        Configuration.FLAT: SmallNetwork(
            base_features=12, stages=4, convolutions=1, max_patch_size=(96, 96), batch_size=3
        ),
        Configuration.FULL_RESOLUTION: SmallNetwork(
            base_features=8,
            stages=4,
            convolutions=1,
            max_patch_size=(8, 96, 48),
            batch_size=2,  # with one patch, torch leaves its fast convolutions on the CPU
            flat_stages=1,
        ),
    },
    recipes={
        Configuration.FLAT: _QUICK,
        Configuration.FULL_RESOLUTION: _QUICK.model_copy(update={"iterations": 35, "foreground_share": 0.5}),
    },
    augmentation_workers=0,
    pools="threads",
    disable_tta=True,
    step_size=0.5,
    seed=12345,
)
"""A real run of every step in a few minutes on two CPU cores; its numbers say nothing about patients."""

PROFILES: Final = {profile.name: profile for profile in (FULL, DEMO)}
