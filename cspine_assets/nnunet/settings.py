"""What a person has chosen otherwise than the profile, in nnU-Net's own names; kept in the home.

Add a choice here when a person needs one, and say in ``Profile`` what it changes.
The profiles' own numbers stand in ``profiles``; how choices are asked for is the command line's and the page's.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import Field, ValidationError, field_validator

from cspine_assets.domain.errors import ModelError
from cspine_assets.domain.files import fingerprint_file, fingerprint_text, write_text
from cspine_assets.nnunet.choices import findings, read_kept
from cspine_assets.nnunet.devices import Slot, training_slots
from cspine_assets.nnunet.messages import Frozen
from cspine_assets.nnunet.profiles import PLANNER, PLANNERS, OwnTrainer, Profile

SETTINGS_FILE: Final = "training.json"

HEARTBEAT_TIMEOUT_S: Final = 3600.0
"""A training tells of itself every 15 s, and of every case of its validation; the longest silence is the compilation of
a network, or one large volume on a CPU."""

Positive = Annotated[int, Field(ge=1)]


class TrainingSettings(Frozen):
    """Choices that stand in for those of the profile; one that is None is the profile's or nnU-Net's.

    Attributes:
        planner: Class of nnU-Net's planner. Changes plans and models.
        trainer: The user's own trainer class, trusted as it was when it was chosen. Changes models.
        num_epochs: Length of a training. Changes models.
        seed: Of weights and sampling. Changes models.
        save_every: Epochs between two checkpoints to resume from.
        num_processes: Processes of nnU-Net's own steps.
        n_proc_DA: Processes that augment beside one training.
        compile: Whether torch compiles the network.
        export_validation_probabilities: Keep the softmax of the validation cases.
        heartbeat_timeout_s: A training that is silent for longer is taken for hung, and tried again with fewer workers.
        devices: Names such as ``cuda:1`` or ``cpu:0`` instead of all that are found.
        slots_per_device: Trainings at once on one device.
        allow_cpu: The published profile may train on a CPU, which takes months; the demo's always may.
    """

    planner: str = PLANNER
    trainer: OwnTrainer | None = None
    num_epochs: Positive | None = None
    seed: Annotated[int, Field(ge=0)] | None = None
    save_every: Positive | None = None
    num_processes: Positive | None = None
    n_proc_DA: Annotated[int, Field(ge=0)] | None = None  # nnU-Net's own name
    compile: bool | None = None
    export_validation_probabilities: bool = False
    heartbeat_timeout_s: Annotated[float, Field(gt=0)] | None = None
    devices: tuple[str, ...] | None = None
    slots_per_device: Positive | None = None
    allow_cpu: bool = False

    @field_validator("planner")
    @classmethod
    def _known(cls, planner: str) -> str:
        if planner not in PLANNERS:
            msg = f"expected a planner among {', '.join(PLANNERS)}, got '{planner}'"
            raise ValueError(msg)
        return planner

    def applied_to(self, profile: Profile) -> Profile:
        """The profile with these choices in place of its own."""
        recipe: dict[str, Any] = {"epochs": self.num_epochs, "save_every": self.save_every}
        choices: dict[str, Any] = {
            "seed": self.seed,
            "augmentation_workers": self.n_proc_DA,
            "workers": self.num_processes,
            "compile": self.compile,
        }
        trainer = self.trainer and self.trainer.model_copy(update={"num_epochs": self.num_epochs})
        return profile.model_copy(
            update=_given(choices)
            | {
                "planner": self.planner,
                "trainer": trainer,
                "export_validation_probabilities": self.export_validation_probabilities,
                "allow_cpu": self.allow_cpu,
                "recipes": {
                    name: standing.model_copy(update=_given(recipe)) for name, standing in profile.recipes.items()
                },
            }
        )

    @property
    def silence_s(self) -> float:
        """How long a training may be silent."""
        return HEARTBEAT_TIMEOUT_S if self.heartbeat_timeout_s is None else self.heartbeat_timeout_s

    def slots(self) -> tuple[Slot, ...]:
        """The places for trainings under these choices."""
        return training_slots(
            devices=self.devices,
            slots_per_device=self.slots_per_device,
            asked_mb=PLANNERS[self.planner].gpu_memory_mb,
        )


def read_settings(home: Path) -> TrainingSettings:
    """The choices kept in a home; all the profile's where nobody has chosen anything.

    Raises:
        ModelError: The file cannot be understood.
    """
    return read_kept(home / SETTINGS_FILE, TrainingSettings, command="cspine training")


def write_settings(home: Path, settings: TrainingSettings) -> None:
    """Keep choices in a home."""
    write_text(home / SETTINGS_FILE, settings.model_dump_json(indent=2, exclude_defaults=True) + "\n")


def changed(settings: TrainingSettings, choices: Mapping[str, object]) -> TrainingSettings:
    """Settings with some choices made anew; one that is None is the default again.

    Raises:
        ModelError: A choice is unknown or out of its range.
    """
    kept = {name: value for name, value in settings if name not in choices}
    try:
        return TrainingSettings.model_validate(kept | _given(choices))
    except ValidationError as error:
        raise ModelError(f"these training settings cannot be: {findings(error)}") from error


def own_trainer(name: str, folder: Path) -> OwnTrainer:
    """A trainer class of the user's own, with the code in its folder as it is now; nothing of it is run.

    Raises:
        ModelError: There is no Python file.
    """
    return OwnTrainer(name=name, folder=folder.resolve(), fingerprint=code_fingerprint(folder.resolve()))


def require_trusted_code(trainer: OwnTrainer) -> None:
    """Make sure that the code to be run is the code that was chosen.

    Raises:
        ModelError: It has changed since.
    """
    if code_fingerprint(trainer.folder) != trainer.fingerprint:
        raise ModelError(
            f"{trainer.folder}: the code of trainer {trainer.name} is not what it was when it was chosen, and it is "
            "run with all your rights. Look at it, then say `cspine training --trainer ... --trainer-folder ...` again."
        )


def code_fingerprint(folder: Path) -> str:
    """SHA-256 over names and contents of the Python files in a folder and below.

    Raises:
        ModelError: There are none.
    """
    files = sorted(folder.rglob("*.py"))
    if not files:
        raise ModelError(f"{folder}: expected Python files with a trainer class, there are none")
    return fingerprint_text(*(f"{file.relative_to(folder).as_posix()} {fingerprint_file(file)}" for file in files))


def _given(choices: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in choices.items() if value is not None}
