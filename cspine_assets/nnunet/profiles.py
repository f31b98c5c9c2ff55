"""The two ways to run the study: ``full`` as published, and ``demo``, small enough for two CPU cores.

Every number that makes a profile what it is stands here, with its reason.
How nnU-Net is made to follow a profile belongs in ``children``.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field

from cspine_assets.nnunet.messages import Frozen

TRAINER: Final = "nnUNetTrainer"
PLANS: Final = "nnUNetPlans"
PLANNER: Final = "ExperimentPlanner"
FOLDS: Final = (0, 1, 2, 3, 4)


class Configuration(StrEnum):
    """One of the two nnU-Net configurations of the study."""

    FLAT = "2d"
    FULL_RESOLUTION = "3d_fullres"


class Planner(Frozen):
    """One of nnU-Net's planners.

    Attributes:
        plans_identifier: Name of the plans it makes.
        gpu_memory_mb: What one training of such plans takes at most (docstrings of nnU-Net's planners).
    """

    plans_identifier: str
    gpu_memory_mb: int


PLANNERS: Final = {
    PLANNER: Planner(plans_identifier=PLANS, gpu_memory_mb=11_000),
    "nnUNetPlannerResEncM": Planner(plans_identifier="nnUNetResEncUNetMPlans", gpu_memory_mb=11_000),
    "nnUNetPlannerResEncL": Planner(plans_identifier="nnUNetResEncUNetLPlans", gpu_memory_mb=24_000),
    "nnUNetPlannerResEncXL": Planner(plans_identifier="nnUNetResEncUNetXLPlans", gpu_memory_mb=40_000),
}


class OwnTrainer(Frozen):
    """A trainer class of the user's own.

    Attributes:
        name: Of the class, a child of nnU-Net's ``nnUNetTrainer``.
        folder: Where its module lies.
        fingerprint: SHA-256 over the Python files in the folder; other code is another model.
        num_epochs: In place of the class's own number, or None.
    """

    name: str
    folder: Path
    fingerprint: str
    num_epochs: int | None = None


class SmallNetwork(Frozen):
    """A network cut down from nnU-Net's own plans for one configuration.

    Attributes:
        base_features: Channels of the first stage; each stage doubles them.
        stages: Number of resolution stages; with two, nnU-Net's weights of its losses are 0 / 0, and all
            that it learns is not a number.
        convolutions: Per stage, in the encoder and in the decoder.
        max_patch_size: Upper limit per axis of the planned patch, slices first for 3d.
        batch_size: Patches per iteration.
        flat_stages: Of a 3d network, how many first stages look and shrink within slices only.
    """

    base_features: int
    stages: Annotated[int, Field(ge=3)]
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
        planner: nnU-Net's planner, by the name of its class.
        trainer: The user's own trainer class, which then follows its own recipe; None: the recipe above.
        workers: Processes of nnU-Net's own steps; None: as many as suit the machine.
        compile: Whether torch compiles the network; None: nnU-Net's own choice.
        export_validation_probabilities: Keep the softmax of the validation cases (``--npz``).
        allow_cpu: The published profile may train on a CPU, which takes months.
    """

    name: Literal["full", "demo"]
    networks: dict[Configuration, SmallNetwork]
    recipes: dict[Configuration, Recipe]
    augmentation_workers: int | None
    pools: Literal["spawned", "threads"]
    disable_tta: bool
    step_size: float
    seed: int
    planner: str = PLANNER
    trainer: OwnTrainer | None = None
    workers: int | None = None
    compile: bool | None = None
    export_validation_probabilities: bool = False
    allow_cpu: bool = False

    @property
    def plans_identifier(self) -> str:
        """nnU-Net's name of the plans."""
        return PLANNERS[self.planner].plans_identifier

    @property
    def trainer_name(self) -> str:
        """nnU-Net's name of the trainer."""
        return self.trainer.name if self.trainer else TRAINER

    def planning_part(self) -> str:
        """All by which plans and preprocessed data of two profiles may differ."""
        own = () if self.planner == PLANNER else (self.planner,)
        return "".join((self.model_dump_json(include={"name", "networks"}), *own))

    def training_part(self, configuration: Configuration) -> str:
        """All by which models of one configuration, the same plans and the same seed may differ.

        How often a checkpoint or a picture is written, how many processes help and what is compiled is no part of it.
        """
        if self.trainer is not None:
            return self.trainer.model_dump_json(exclude={"folder"})
        return self.recipes[configuration].model_dump_json(exclude={"save_every", "plot_every"})


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
