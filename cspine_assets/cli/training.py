"""`cspine training`: how models are trained here, and choosing otherwise, in nnU-Net's own names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cspine_assets.cli.options import HomeOption

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.table import Table

    from cspine_assets.nnunet.profiles import Profile
    from cspine_assets.nnunet.replacement import AsideFold
    from cspine_assets.nnunet.settings import TrainingSettings

MEANINGS = {
    "planner": "ExperimentPlanner, or nnUNetPlannerResEnc with M, L or XL at its end. Changes models",
    "trainer": "your own trainer class; say --trainer-folder too. Changes models",
    "num_epochs": "length of a training. Changes models",
    "seed": "of weights and sampling. Changes models",
    "save_every": "epochs between two checkpoints to resume from",
    "num_processes": "processes of nnU-Net's own steps",
    "n_proc_DA": "processes that augment beside one training",
    "compile": "whether torch compiles the network",
    "export_validation_probabilities": "keep the softmax of the validation cases (--npz)",
    "heartbeat_timeout_s": "a training that is silent for longer is taken for hung",
    "devices": "cuda:0,cuda:1, mps:0 or cpu:0,cpu:1: these and no others",
    "slots_per_device": "trainings at once on one device; else as many as its memory and the cores can feed",
    "allow_cpu": "true: the published profile may train on a CPU, which takes months; the demo's always may",
}


def training(
    choices: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME=VALUE]...", help="Such as num_epochs=250; `NAME=` alone goes back to the default."
        ),
    ] = None,
    home: HomeOption = None,
    trainer_folder: Annotated[
        Path | None, typer.Option(help="Folder of your trainer's code. It is run with all your rights: you trust it.")
    ] = None,
    remove_aside: Annotated[
        bool, typer.Option("--remove-aside", help="Remove the models that are not in force; see where they are first.")
    ] = False,
) -> None:
    """Show how models are trained in this home; with NAME=VALUE, choose it. Models of other choices are kept aside."""
    from rich.console import Console

    from cspine_assets.domain.home import Home, ensure_writable, home_root
    from cspine_assets.nnunet.environment import NnunetFolders
    from cspine_assets.nnunet.profiles import PROFILES
    from cspine_assets.nnunet.replacement import ASIDE, folds_aside
    from cspine_assets.nnunet.replacement import remove_aside as removed_aside
    from cspine_assets.nnunet.settings import changed, read_settings, write_settings

    root = home_root(home)
    settings = read_settings(root)
    if choices:
        settings = changed(settings, _understood(choices, trainer_folder))
        settings.slots()  # a device's name that cannot be is an error now, not in a week
        ensure_writable(root)
        write_settings(root, settings)
    standing = Home(root).read_settings()
    profile = next(one for name, one in PROFILES.items() if name == (standing.profile if standing else "full"))
    console = Console()
    home_folder = Home(root)
    folders = NnunetFolders(
        raw=home_folder.nnunet_raw, preprocessed=home_folder.nnunet_preprocessed, results=home_folder.nnunet_results
    )
    if remove_aside:
        for folder in removed_aside(folders):
            console.print(f"removed {folder}", soft_wrap=True, highlight=False, markup=False)
    console.print(settings_table(settings, profile))
    aside = list(folds_aside(folders))
    if aside:
        console.print(aside_table(aside))
        console.print(f"They are in {folders.results / ASIDE}.", soft_wrap=True, highlight=False, markup=False)


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


def settings_table(settings: TrainingSettings, profile: Profile) -> Table:
    """Returns one row per setting with the value in force: one's own, the profile's, or nnU-Net's."""
    from rich.table import Table

    own = settings.model_dump(exclude_defaults=True)
    in_force = _in_force(settings, profile)
    table = Table(title=f"How models are trained (profile {profile.name})", title_justify="left")
    table.add_column("name", no_wrap=True)
    table.add_column("value", overflow="fold")
    table.add_column("what it is", overflow="fold")
    for name, meaning in MEANINGS.items():
        table.add_row(name, in_force[name] + (" (yours)" if name in own else ""), meaning)
    return table


def aside_table(folds: Sequence[AsideFold]) -> Table:
    """Returns one row per fold that lies aside: its choice, and whether it is finished."""
    from rich.table import Table

    table = Table(title="Models that are not in force", title_justify="left")
    for name in ("model", "choice", "state", "folder"):
        table.add_column(name, overflow="fold")
    for one in folds:
        state = f"finished, {one.epochs} epochs" if one.is_complete else "not finished; goes on with the same choice"
        choice = (one.stamp.choice or one.stamp.fingerprint)[:8]
        table.add_row(f"{one.stamp.configuration} fold {one.stamp.fold}", choice, state, one.root.name)
    return table


def _in_force(settings: TrainingSettings, profile: Profile) -> dict[str, str]:
    """Returns by name what a training would follow now."""
    applied = settings.applied_to(profile)
    recipes = list(applied.recipes.values())
    slots = settings.slots()
    devices = list(dict.fromkeys(slot.device for slot in slots))
    return {
        "planner": applied.planner,
        "trainer": applied.trainer_name,
        "num_epochs": _each(recipe.epochs for recipe in recipes),
        "seed": str(applied.seed),
        "save_every": _each(recipe.save_every for recipe in recipes),
        "num_processes": _or_nnunet(applied.workers),
        "n_proc_DA": _or_nnunet(applied.augmentation_workers),
        "compile": _or_nnunet(applied.compile),
        "export_validation_probabilities": str(applied.export_validation_probabilities),
        "heartbeat_timeout_s": f"{settings.silence_s:g}",
        "devices": ",".join(devices),
        "allow_cpu": str(applied.allow_cpu),
        "slots_per_device": _each(sum(slot.device == device for slot in slots) for device in devices),
    }


def _each(values: Iterable[int]) -> str:
    """Returns one number where all are alike, else all of them in the order of configurations or devices."""
    return " / ".join(dict.fromkeys(str(value) for value in values))


def _or_nnunet(value: object) -> str:
    return "nnU-Net's own" if value is None else str(value)
