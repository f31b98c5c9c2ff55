"""`cspine prediction`: the way the study's masks are drawn."""

from __future__ import annotations

from typing import Annotated

import typer

from cspine_assets.cli.options import DisableTtaOption, HomeOption, SaveProbabilitiesOption, StepSizeOption


def prediction(
    home: HomeOption = None,
    disable_tta: DisableTtaOption = None,
    step_size: StepSizeOption = None,
    save_probabilities: SaveProbabilitiesOption = None,
    heartbeat_timeout_s: Annotated[
        float | None, typer.Option(help="Seconds of silence after which a prediction is taken for hung.")
    ] = None,
    reset: Annotated[bool, typer.Option(help="Forget every choice, and go back to the values of the profile.")] = False,
) -> None:
    """Choose how the study's masks are drawn, or show it; predictions of another choice are made anew."""
    from rich.console import Console

    from cspine_assets.defs.resources import Study
    from cspine_assets.domain.home import Home, home_root
    from cspine_assets.nnunet.prediction_settings import PredictionChoices, changed, write_choices

    study = Study(Home(home_root(home)))
    asked = {
        "disable_tta": disable_tta,
        "step_size": step_size,
        "save_probabilities": save_probabilities,
        "heartbeat_timeout_s": heartbeat_timeout_s,
    }
    choices = changed(PredictionChoices() if reset else study.prediction_choices, asked)
    if reset or any(value is not None for value in asked.values()):
        write_choices(study.home.root, choices)
    console = Console()
    for name, value in choices.settings(study.profile):
        whose = "yours" if getattr(choices, name) is not None else f"of profile {study.profile.name}"
        console.print(f"{name} = {value}  ({whose})", highlight=False)
    console.print(f"heartbeat_timeout_s = {choices.silence_s:g}", highlight=False)
