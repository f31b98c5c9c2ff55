"""`cspine predict`: the home's ensemble on any scan."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cspine_assets.cli.options import DisableTtaOption, HomeOption, SaveProbabilitiesOption, StepSizeOption

if TYPE_CHECKING:
    from rich.console import Console

    from cspine_assets.defs.resources import Study
    from cspine_assets.nnunet.application import Application

NIFTI_ENDINGS = (".nii", ".nii.gz")


def predict(
    scan: Annotated[Path, typer.Argument(help="A NIfTI file, or a DICOM series as a folder or zip.")],
    out: Annotated[Path, typer.Option(help="Mask to write (.nii.gz); 1 vertebral bodies, 2 intervertebral discs.")],
    home: HomeOption = None,
    model: Annotated[
        str | None, typer.Option(help="An imported model, instead of the home's own; see cspine model list.")
    ] = None,
    disable_tta: DisableTtaOption = None,
    step_size: StepSizeOption = None,
    save_probabilities: SaveProbabilitiesOption = None,
) -> None:
    """Segment a scan with all trained folds of the home or an imported model; the mask has the scan's own geometry."""
    import tempfile

    from rich.console import Console

    from cspine_assets.defs.resources import Study
    from cspine_assets.domain.anatomy import LABELS
    from cspine_assets.domain.errors import CSpineError
    from cspine_assets.domain.home import Home, home_root
    from cspine_assets.domain.volume import read_mask, write_mask
    from cspine_assets.nnunet.application import imported_application

    console = Console()
    if not scan.exists():
        raise CSpineError(f"{scan}: expected a NIfTI file or a DICOM series, there is nothing.")
    if not out.name.endswith(NIFTI_ENDINGS):
        raise CSpineError(f"--out {out}: expected a name ending in .nii.gz or .nii.")
    study = Study(Home(home_root(str(home) if home else None)))
    anew = {"disable_tta": disable_tta, "step_size": step_size, "save_probabilities": save_probabilities}
    applied = imported_application(study.home.imported_models, model, anew) if model else _own(study, anew)
    with tempfile.TemporaryDirectory(prefix="cspine-predict-") as folder:
        volume = _as_nifti(scan, Path(folder))
        raw = Path(folder) / "mask.nii.gz"
        _predict(study, applied, volume, raw, console)
        mask = read_mask(raw)
        write_mask(out, mask.array.astype("uint8"), like=volume)
        for kept in (raw.with_name("mask.npz"), raw.with_name("mask.pkl")):
            if kept.exists():
                stem = out.name.removesuffix(".gz").removesuffix(".nii")
                shutil.copyfile(kept, out.with_name(stem + kept.suffix))
    found = {structure.value: int((mask.array == label).sum()) for structure, label in LABELS.items()}
    console.print(f"{out}: " + ", ".join(f"{name} {count} voxels" for name, count in found.items()))
    if applied.is_demo:
        console.print("[bold yellow]A demo model drew this mask: it shows that the way works, and is no result.[/]")


def _as_nifti(scan: Path, folder: Path) -> Path:
    """Returns the scan as a NIfTI file; a DICOM series is converted and checked first."""
    from cspine_assets.domain.imaging.conversion import convert_series

    if scan.name.endswith(NIFTI_ENDINGS):
        return scan
    converted = folder / "scan.nii.gz"
    convert_series(scan, converted)
    return converted


def _own(study: Study, anew: Mapping[str, object]) -> Application:
    """Returns the home's own models, as the study applies them."""
    from cspine_assets.domain.tables.nnunet import FOLDS, PostprocessingChoice
    from cspine_assets.nnunet import dataset
    from cspine_assets.nnunet.application import Application
    from cspine_assets.nnunet.choosing import chosen_options
    from cspine_assets.nnunet.prediction import model_of
    from cspine_assets.nnunet.prediction_settings import changed
    from cspine_assets.nnunet.profiles import Configuration

    return Application(
        [
            model_of(study.nnunet_folders, str(dataset.ANNOTATED), name, FOLDS, profile=study.profile)
            for name in Configuration
        ],
        changed(study.prediction_choices, anew).settings(study.profile),
        chosen_options(study.read(PostprocessingChoice)),
        is_demo=study.settings.profile == "demo",
    )


def _predict(study: Study, applied: Application, volume: Path, mask: Path, console: Console) -> None:
    from cspine_assets.nnunet.devices import leased_slot
    from cspine_assets.nnunet.messages import described_message
    from cspine_assets.nnunet.prediction import predict_scan
    from cspine_assets.nnunet.process import Supervision

    lease = leased_slot(study.home.leases, study.slots, what="prediction of a scan")
    with lease as slot, console.status("loading the models") as status:
        predict_scan(
            applied.models,
            volume,
            mask,
            settings=applied.settings,
            postprocessing=applied.postprocessing,
            slot=slot,
            supervision=Supervision(
                log_path=study.home.logs / "predict-scan.log",
                on_message=lambda message: status.update(described_message(message)),
                heartbeat_timeout_s=study.prediction_choices.silence_s,
            ),
        )
