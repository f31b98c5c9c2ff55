"""`cspine model`: models that travel: out of a home as one archive, and into another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cspine_assets.cli.options import HomeOption

if TYPE_CHECKING:
    from cspine_assets.domain.home import Home
    from cspine_assets.nnunet.imported import ImportRecord

model = typer.Typer(help="Take the study's models along as one archive, and take models from elsewhere in.")


@model.command("export")
def export(
    out: Annotated[Path, typer.Argument(help="Archive to write (.zip), as nnU-Net's own commands read it.")],
    home: HomeOption = None,
    licence: Annotated[str | None, typer.Option(help="Licence of the models, in your own words.")] = None,
) -> None:
    """Write all trained folds as one zip with a model card; nothing of a single patient is in it."""
    from rich.console import Console

    from cspine_assets.defs.archiving import archive_models
    from cspine_assets.defs.resources import Study
    from cspine_assets.domain.errors import CSpineError
    from cspine_assets.nnunet.model_card import NO_LICENCE

    if out.suffix != ".zip":
        raise CSpineError(f"{out}: expected a name ending in .zip.")
    made = archive_models(Study(_home(home)), out.resolve(), licence=licence or NO_LICENCE)
    console = Console()
    console.print(f"{out}: {made.archive.files} files, {made.archive.size_bytes / 1e6:.0f} MB", highlight=False)
    console.print(f"its card: {made.readable_path}", highlight=False)
    if made.card.warning:
        console.print(f"[bold yellow]{made.card.warning}[/]")


@model.command("import")
def take_in(
    archive: Annotated[Path, typer.Argument(help="A zip of cspine model export or nnUNetv2_export_model_to_zip.")],
    home: HomeOption = None,
    name: Annotated[str | None, typer.Option(help="What to call it here. Default: the file's name.")] = None,
    trust: Annotated[bool, typer.Option(help="You know who made it: its checkpoints may be run.")] = False,
    replace: Annotated[bool, typer.Option(help="Put it in the place of a model of the same name.")] = False,
    accept_names: Annotated[
        bool,
        typer.Option(help="You know that its labels and channel are the study's, though their names do not tell."),
    ] = False,
) -> None:
    """Take a model archive in. Nothing of it is run; it can predict once you trust it."""
    from cspine_assets.nnunet.imported import import_archive

    imported = _home(home).imported_models
    _show(import_archive(archive, imported, name=name, trust=trust, replace=replace, accept_names=accept_names))


@model.command("trust")
def trust(name: Annotated[str, typer.Argument(help="An imported model.")], home: HomeOption = None) -> None:
    """Say that you know who made an imported model, so that it may predict."""
    from cspine_assets.nnunet.imported import trust_model

    _show(trust_model(_home(home).imported_models, name))


@model.command("list")
def listed(home: HomeOption = None) -> None:
    """Show the imported models."""
    from rich.console import Console

    from cspine_assets.nnunet.imported import read_records

    records = read_records(_home(home).imported_models)
    for record in records:
        _show(record)
    if not records:
        Console().print("No model has been imported into this home.")


@model.command("predict-test")
def predict_test(
    name: Annotated[str, typer.Argument(help="An imported, trusted model.")], home: HomeOption = None
) -> None:
    """Predict the study's test exams by an imported model, so that it is ranked beside our own."""
    from rich.console import Console

    from cspine_assets.defs.imported_masks import predict_test_exams
    from cspine_assets.defs.resources import Study
    from cspine_assets.nnunet.messages import described_message

    console = Console(highlight=False, soft_wrap=True)
    study = Study(_home(home))
    with console.status("loading the models") as status:
        failed = predict_test_exams(study, name, lambda message: status.update(described_message(message)))
    for failure in failed:
        console.print(f"[red]{failure.case_id}[/]: {failure.reason}")
    console.print(
        f"Its masks lie in {study.home.external_predictions / name}; `cspine materialize` scores and ranks them."
    )
    if failed:
        raise typer.Exit(1)


def _home(home: Path | None) -> Home:
    from cspine_assets.domain.home import Home, home_root

    return Home(home_root(home))


def _show(record: ImportRecord) -> None:
    """Prints what an imported model is, and whether it may predict."""
    from rich.console import Console
    from rich.markup import escape

    from cspine_assets.nnunet.imported import WARNING

    console = Console(highlight=False, soft_wrap=True)
    folds = "; ".join(f"{name} folds {', '.join(map(str, of))}" for name, of in record.configurations.items())
    console.print(f"[bold]{record.name}[/]: {record.dataset}, {folds}; from {escape(record.archive)}")
    if record.card is None:
        console.print("  It has no card: nothing says what it learned from, nor how good it is.")
    else:
        card = record.card
        cases = f"{card.training_cases} exams of {card.training_patients} patients"
        console.print(escape(f"  Its card says: profile {card.profile}, {cases}, licence {card.licence}"))
        if card.warning:
            console.print(f"  [bold yellow]{escape(card.warning)}[/]")
    if record.left_out:
        console.print(
            f"  {len(record.left_out)} entries of the archive were left out: a prediction needs none of them."
        )
    if record.trusted:
        console.print(f"  Trusted. Use it: cspine predict SCAN --out MASK.nii.gz --model {record.name}")
    else:
        console.print(f"  [bold red]Not trusted.[/] {WARNING} Then: cspine model trust {record.name}")
