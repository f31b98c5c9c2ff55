"""`cspine training`: how models are trained here, and choosing otherwise, in nnU-Net's own names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cspine_assets.cli.options import HomeOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from cspine_assets.nnunet.settings import TrainingSettings

MEANINGS = {
    "planner": "ExperimentPlanner, nnUNetPlannerResEncM, nnUNetPlannerResEncL, nnUNetPlannerResEncXL. Changes models",
    "trainer": "your own trainer class; say --trainer-folder too. Changes models",
    "num_epochs": "length of a training. Changes models",
    "seed": "of weights and sampling. Changes models",
    "save_every": "epochs between two checkpoints to resume from",
    "num_processes": "processes of nnU-Net's own steps",
    "n_proc_DA": "processes that augment beside one training",
    "compile": "whether torch compiles the network",
    "export_validation_probabilities": "keep the softmax of the validation cases (--npz)",
    "heartbeat_timeout_s": "a training that is silent for longer is taken for hung",
    "devices": "cuda:0,cuda:1 or cpu:0,cpu:1: these and no others",
    "slots_per_device": "trainings at once on one device; else as many as its memory and the cores can feed",
}


def training(
    choices: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME=VALUE]...", help="Such as num_epochs=250; `NAME=` takes it back."),
    ] = None,
    home: HomeOption = None,
    trainer_folder: Annotated[
        Path | None, typer.Option(help="Folder of your trainer's code. It is run with all your rights: you trust it.")
    ] = None,
) -> None:
    """Show how models are trained in this home; with NAME=VALUE, choose it. Models of other choices are kept aside."""
    from rich.console import Console

    from cspine_assets.domain.home import ensure_writable, home_root
    from cspine_assets.nnunet.settings import changed, read_settings, write_settings

    root = home_root(str(home) if home else None)
    settings = read_settings(root)
    if choices:
        settings = changed(settings, _understood(choices, trainer_folder))
        settings.slots()  # a device's name that cannot be is an error now, not in a week
        ensure_writable(root)
        write_settings(root, settings)
    Console().print(settings_table(settings))


def _understood(choices: Sequence[str], trainer_folder: Path | None) -> dict[str, object]:
    """Returns what was said, by name; None where a choice is taken back."""
    from cspine_assets.domain.errors import CSpineError
    from cspine_assets.nnunet.settings import own_trainer

    said: dict[str, object] = {}
    for choice in choices:
        name, equals, value = choice.partition("=")
        if name not in MEANINGS or not equals:
            raise CSpineError(f"expected NAME=VALUE with a name among {', '.join(MEANINGS)}, got '{choice}'.")
        said[name] = value or None
        if name == "devices" and value:
            said[name] = value.split(",")
        if name == "trainer" and value:
            if trainer_folder is None:
                raise CSpineError(f"{choice}: expected --trainer-folder with the folder of its code.")
            said[name] = own_trainer(value, trainer_folder)
    return said


def settings_table(settings: TrainingSettings) -> Table:
    """Returns one row per choice; those not made are the profile's or nnU-Net's."""
    from rich.table import Table

    table = Table(title="How models are trained", title_justify="left")
    for name in ("name", "value", "what it is"):
        table.add_column(name)
    for name, value in settings:
        shown = (
            "" if value is None else ",".join(value) if isinstance(value, tuple) else str(getattr(value, "name", value))
        )
        table.add_row(name, shown or "default", MEANINGS[name])
    return table
