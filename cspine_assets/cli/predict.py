"""`cspine predict`: the home's ensemble on any scan."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cspine_assets.cli.options import HomeOption

if TYPE_CHECKING:
    from cspine_assets.defs.resources import Study

NIFTI_ENDINGS = (".nii", ".nii.gz")


def predict(
    scan: Annotated[Path, typer.Argument(help="A NIfTI file, or a DICOM series as a folder or zip.")],
    out: Annotated[Path, typer.Option(help="Mask to write (.nii.gz); 1 vertebral bodies, 2 intervertebral discs.")],
    home: HomeOption = None,
) -> None:
    """Segment a scan with all trained folds of the home; the mask has exactly the scan's geometry."""
    import tempfile

    from rich.console import Console

    from cspine_assets.defs.resources import Study, home_root
    from cspine_assets.domain.anatomy import LABELS
    from cspine_assets.domain.errors import CSpineError
    from cspine_assets.domain.home import Home
    from cspine_assets.domain.volume import read_mask, write_mask

    console = Console()
    if not scan.exists():
        raise CSpineError(f"{scan}: expected a NIfTI file or a DICOM series, there is nothing.")
    if not out.name.endswith(NIFTI_ENDINGS):
        raise CSpineError(f"--out {out}: expected a name ending in .nii.gz or .nii.")
    study = Study(Home(home_root(str(home) if home else None)))
    with tempfile.TemporaryDirectory(prefix="cspine-predict-") as folder:
        volume = _as_nifti(scan, Path(folder))
        raw = Path(folder) / "mask.nii.gz"
        _predict(study, volume, raw)
        mask = read_mask(raw)
        write_mask(out, mask.array.astype("uint8"), like=volume)
    found = {structure.value: int((mask.array == label).sum()) for structure, label in LABELS.items()}
    console.print(f"{out}: " + ", ".join(f"{name} {count} voxels" for name, count in found.items()))
    if study.settings.profile == "demo":
        console.print("[bold yellow]A demo model drew this mask: it shows that the way works, and is no result.[/]")


def _as_nifti(scan: Path, folder: Path) -> Path:
    """Returns the scan as a NIfTI file; a DICOM series is converted and checked first."""
    from cspine_assets.domain.imaging.conversion import convert_series

    if scan.name.endswith(NIFTI_ENDINGS):
        return scan
    converted = folder / "scan.nii.gz"
    convert_series(scan, converted)
    return converted


def _predict(study: Study, volume: Path, mask: Path) -> None:
    from cspine_assets.domain.tables.nnunet import FOLDS
    from cspine_assets.nnunet import dataset
    from cspine_assets.nnunet.devices import leased_slot, training_slots
    from cspine_assets.nnunet.prediction import model_of, predict_scan
    from cspine_assets.nnunet.profiles import Configuration

    models = [
        model_of(study.nnunet_folders, str(dataset.ANNOTATED), configuration, FOLDS) for configuration in Configuration
    ]
    with leased_slot(study.home.leases, training_slots()) as slot:
        predict_scan(
            models,
            volume,
            mask,
            disable_tta=study.profile.disable_tta,
            step_size=study.profile.step_size,
            slot=slot,
            log_path=study.home.logs / "predict-scan.log",
        )
