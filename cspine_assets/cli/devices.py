"""`cspine devices`: the places for trainings on this machine, and who is in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cspine_assets.cli.options import HomeOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from cspine_assets.nnunet.devices import SlotState
    from cspine_assets.nnunet.holds import Holder


def devices(home: HomeOption = None) -> None:
    """Show the devices, who holds which place on them since when, and how far each training is."""
    from rich.console import Console

    from cspine_assets.defs.resources import Study
    from cspine_assets.domain.home import Home, home_root
    from cspine_assets.nnunet.devices import slot_states
    from cspine_assets.nnunet.gpus import report_gpus
    from cspine_assets.nnunet.training import running_trainings

    console = Console()
    study = Study(Home(home_root(home)))
    console.print(places_table(slot_states(study.home.leases, study.slots)))
    report = report_gpus()
    console.print(report.sentence, style="bold yellow" if report.is_unused else None, highlight=False, markup=False)
    trainings = running_trainings(study.nnunet_folders)
    if trainings:
        console.print(trainings_table(trainings))
    console.print("Other places, or several on one device: `cspine training --help`.", highlight=False)


def places_table(states: Sequence[SlotState]) -> Table:
    """Returns one row per place."""
    from rich.table import Table

    table = Table(title="Places for trainings and predictions", title_justify="left")
    for name in ("device", "place", "held by", "for", "since"):
        table.add_column(name)
    for state in states:
        holder = state.holder
        held = (f"process {holder.pid}", holder.what, holder.since) if holder else ("free", "", "")
        table.add_row(state.slot.name, str(state.slot.share + 1), *held)
    return table


def trainings_table(trainings: Sequence[Holder]) -> Table:
    """Returns one row per training of this home that is going on."""
    from rich.table import Table

    from cspine_assets.nnunet.pace import duration

    table = Table(title="Trainings of this home", title_justify="left")
    for name in ("what", "device", "epoch", "left", "process", "since"):
        table.add_column(name)
    for one in trainings:
        epoch = f"{one.epoch} of {one.epochs}" if one.epoch is not None else "before the first"
        left = duration(one.seconds_left) if one.seconds_left is not None else ""
        table.add_row(one.what, one.device or "waits for one", epoch, left, str(one.pid), one.since)
    return table
