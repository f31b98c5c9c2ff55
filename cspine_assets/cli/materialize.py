"""`cspine materialize`: the whole study of a MIDRC download, going on where it stands."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cspine_assets.cli.options import HomeOption

if TYPE_CHECKING:
    from rich.console import Console

    from cspine_assets.defs.resources import Study
    from cspine_assets.domain.home import Home, HomeSettings


def materialize(
    home: HomeOption = None,
    source: Annotated[
        Path | None,
        typer.Option(help="Folder of the MIDRC download. Default: the home's own, else $CSPINE_SOURCE."),
    ] = None,
    provenance: Annotated[
        Path | None,
        typer.Option(help="File that says who drew the masks: a saved Guppy answer, or a CSV or TSV."),
    ] = None,
    splits: Annotated[
        Path | None,
        typer.Option(help="Your own split: a test list, nnU-Net's splits_final.json, or a TSV of train, val and test."),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="How a split is made. published: 100 of 491 expert exams tested on; all_expert: none; all_masks: a "
            "fifth of all exams, whoever drew their masks, and no score is a test score."
        ),
    ] = None,
    profile: Annotated[str | None, typer.Option(help="full: as published; demo: small, for trying out.")] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="Only tables of this schema: midrc, cohort, imaging, nnunet, prediction, evaluation or warehouse. "
            "Say it again for a second one."
        ),
    ] = None,
    force: Annotated[bool, typer.Option(help="Make everything anew, also what is up to date.")] = False,
) -> None:
    """Make everything of the study that is missing or stale; what is up to date is not done again."""
    from rich.console import Console

    from cspine_assets.cli.study import make_study, show_lights, study_display
    from cspine_assets.defs.resources import Study
    from cspine_assets.defs.writer import sole_writer
    from cspine_assets.domain.home import Home, home_root

    console = Console()
    study_home = Home(home_root(home))
    settings = _settings(study_home, source, provenance, splits, preset, profile)
    _warn_of_cpu(Study(study_home), settings, console)
    with sole_writer(study_home), study_display(study_home, console) as display:
        study_home.open(settings)
        make_study(study_home, display, schemas=only, force=force)
    if not display.reports:
        console.print("Everything is up to date.")
        show_lights(study_home, console)
    if any(report.failures for report in display.reports):
        console.print("The study is complete but for these. Remove the cause and call the same command again.")
        raise typer.Exit(1)


def _warn_of_cpu(study: Study, settings: HomeSettings, console: Console) -> None:
    """Prints, hours before the first training, that a published one will be refused on a CPU."""
    from cspine_assets.nnunet.cpu_training import CONSENT
    from cspine_assets.nnunet.gpus import report_gpus

    choices = study.training
    if settings.profile != "full" or choices.allow_cpu or any(slot.device != "cpu" for slot in choices.slots()):
        return
    why = f" {report_gpus().sentence}" if report_gpus().problem else ""
    text = f"Trainings would run on the CPU and will be refused.{why} To allow them: `{CONSENT}`."
    console.print(text, style="bold yellow", markup=False, highlight=False, soft_wrap=True)


def _settings(
    home: Home,
    source: Path | None,
    provenance: Path | None,
    splits: Path | None,
    preset: str | None,
    profile: str | None,
) -> HomeSettings:
    """Returns what a home is to be opened for: what is said now, else what it was opened for, else the environment."""
    import os

    from cspine_assets.defs.resources import PROVENANCE_VARIABLE, SOURCE_VARIABLE
    from cspine_assets.domain.cohort.splits import PRESETS
    from cspine_assets.domain.errors import SourceError
    from cspine_assets.domain.home import HomeSettings
    from cspine_assets.nnunet.profiles import PROFILES

    standing = home.read_settings()
    folder = source or (Path(standing.source) if standing else None) or os.environ.get(SOURCE_VARIABLE)
    if not folder:
        raise SourceError(
            "expected the folder of a MIDRC download, none was given. "
            f"Say --source FOLDER or set {SOURCE_VARIABLE}; without a download, try `cspine demo`."
        )
    named = _among(PROFILES, profile or (standing.profile if standing else "full"), what="profile")
    if not Path(folder).is_dir():
        raise SourceError(
            f"{folder}: expected the folder of a MIDRC download, there is no such folder. "
            "Say where it is by --source; a download that was moved is not read anew."
        )
    known = provenance or os.environ.get(PROVENANCE_VARIABLE) or (standing.provenance if standing else None)
    own = splits or (standing.splits if standing and preset is None else None)
    return HomeSettings(
        profile=named,
        source=str(Path(folder).resolve()),
        provenance=_file(known, "that says who drew the masks", option="--provenance"),
        splits=_file(own, "with your own split", option="--splits"),
        preset=_among(PRESETS, preset or (standing.preset if standing else "published"), what="preset"),
    )


def _among(known: Collection[str], name: str, *, what: str) -> str:
    """Returns a name that is one of those known."""
    from cspine_assets.domain.errors import CSpineError

    if name not in known:
        raise CSpineError(f"expected a {what} among {', '.join(known)}, got '{name}'.")
    return name


def _file(named: Path | str | None, what: str, *, option: str) -> str | None:
    """Returns the absolute path of a file that is there, or None where none was named."""
    from cspine_assets.domain.errors import SourceError

    if not named:
        return None
    if not Path(named).is_file():
        raise SourceError(f"{named}: expected a file {what}, there is none. Say {option} FILE.")
    return str(Path(named).resolve())
