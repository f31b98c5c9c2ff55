"""`cspine predict`: the home's ensemble on any scan, or on a folder of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cspine_assets.cli.options import (
    AssumeAxesOption,
    DisableTtaOption,
    HomeOption,
    SaveProbabilitiesOption,
    StepSizeOption,
    allowance,
)

if TYPE_CHECKING:
    from rich.console import Console

    from cspine_assets.defs.resources import Study
    from cspine_assets.domain.volume import Allowance
    from cspine_assets.nnunet.application import Application
    from cspine_assets.nnunet.devices import Slot
    from cspine_assets.nnunet.messages import ChildMessage
    from cspine_assets.nnunet.process import Supervision


def predict(
    scan: Annotated[
        Path, typer.Argument(help="A NIfTI file, a DICOM series as a folder or zip, or a folder of NIfTI files.")
    ],
    out: Annotated[
        Path,
        typer.Option(
            help="Mask to write (.nii.gz); 1 vertebral bodies, 2 intervertebral discs. "
            "Of a folder of scans: the folder that receives 2d, 3d_fullres and ensemble."
        ),
    ],
    home: HomeOption = None,
    model: Annotated[
        str | None, typer.Option(help="An imported model, instead of the home's own; see cspine model list.")
    ] = None,
    assume_axes: AssumeAxesOption = None,
    disable_tta: DisableTtaOption = None,
    step_size: StepSizeOption = None,
    save_probabilities: SaveProbabilitiesOption = None,
) -> None:
    """Segment a scan, or a folder of them, with all trained folds of the home or an imported model.

    The mask of one scan has the scan's own geometry. A folder of scans gets the files that nnU-Net's own commands would
    write; call it again to go on where it stopped.
    """
    from rich.console import Console

    from cspine_assets.defs.resources import Study
    from cspine_assets.domain.errors import CSpineError
    from cspine_assets.domain.home import Home, home_root
    from cspine_assets.nnunet.application import imported_application
    from cspine_assets.nnunet.scans import scans_in

    console = Console()
    if not scan.exists():
        raise CSpineError(
            f"{scan}: expected a NIfTI file, a DICOM series or a folder of NIfTI files, there is nothing."
        )
    many = scan.is_dir() and bool(scans_in(scan))
    _check_out(scan, out, many=many)
    allowed = allowance(assume_axes)
    study = Study(Home(home_root(home)))
    anew = {"disable_tta": disable_tta, "step_size": step_size, "save_probabilities": save_probabilities}
    applied = imported_application(study.home.imported_models, model, anew) if model else _own(study, anew)
    if many:
        _predict_folder(study, applied, scan, out, console, allowed)
    else:
        _predict_one(study, applied, scan, out, console, allowed)


def _check_out(scan: Path, out: Path, *, many: bool) -> None:
    """Refuses a place that the result cannot take, before anything is predicted."""
    from cspine_assets.cli.places import check_file_place
    from cspine_assets.domain.errors import CSpineError
    from cspine_assets.domain.files import require_writable
    from cspine_assets.domain.image_names import NIFTI_ENDINGS

    if many and (out.name.endswith(NIFTI_ENDINGS) or out.is_file()):
        raise CSpineError(f"--out {out}: {scan} is a folder of scans, expected a folder for their masks.")
    if not many and not out.name.endswith(NIFTI_ENDINGS):
        raise CSpineError(f"--out {out}: expected a name ending in .nii.gz or .nii.")
    if out.exists() and out.samefile(scan):
        raise CSpineError(f"--out {out}: expected another place for the mask than the scan itself.")
    if many:
        require_writable(out, remedy="Choose another --out.")
    else:
        check_file_place(out, option="--out")


def _predict_one(
    study: Study, applied: Application, scan: Path, out: Path, console: Console, allowed: Allowance
) -> None:
    import shutil
    import time

    from cspine_assets.domain.anatomy import LABELS
    from cspine_assets.domain.housekeeping import sweep_scratch
    from cspine_assets.domain.imaging.scratch import scratch_folder
    from cspine_assets.domain.volume import read_mask, write_mask
    from cspine_assets.nnunet.messages import described_message
    from cspine_assets.nnunet.pace import duration
    from cspine_assets.nnunet.scans import predict_scan

    sweep_scratch(study.home.scratch)
    with scratch_folder(study.home.scratch) as folder:
        volume = _as_nifti(scan, folder, allowed)
        raw = folder / "mask.nii.gz"
        with _leased(study) as slot, console.status("loading the models") as status:
            _name_device(slot, console)
            began = time.monotonic()
            supervision = _supervision(study, slot, lambda message: status.update(described_message(message)))
            predict_scan(applied, volume, raw, slot=slot, supervision=supervision)
            console.print(f"{duration(time.monotonic() - began)} on {slot.name}", highlight=False)
        mask = read_mask(raw)
        write_mask(out, mask.array.astype("uint8"), like=volume)
        for kept in (raw.with_name("mask.npz"), raw.with_name("mask.pkl")):
            if kept.exists():
                stem = out.name.removesuffix(".gz").removesuffix(".nii")
                shutil.copyfile(kept, out.with_name(stem + kept.suffix))
    found = {structure.value: int((mask.array == label).sum()) for structure, label in LABELS.items()}
    described = ", ".join(f"{name} {count} voxels" for name, count in found.items())
    console.print(f"{out}: {described}", soft_wrap=True, highlight=False)
    if not any(found.values()):
        console.print("[bold yellow]The mask is empty. Is it a sagittal T2 scan of the cervical spine?[/]")
    _warn_of_demo(applied, console)


def _predict_folder(
    study: Study, applied: Application, scans: Path, out: Path, console: Console, allowed: Allowance
) -> None:
    from rich.markup import escape

    from cspine_assets.nnunet.messages import CaseFailed, CasePredicted, described_message
    from cspine_assets.nnunet.pace import Pace
    from cspine_assets.nnunet.prediction import predictors_of
    from cspine_assets.nnunet.scans import predict_folder, scans_in

    pace = Pace(len(scans_in(scans)), "scans done")
    with _leased(study) as slot, console.status("reading the scans") as status:
        _name_device(slot, console)

        def listen(message: ChildMessage) -> None:
            status.update(escape(described_message(message)))
            if isinstance(message, CasePredicted | CaseFailed):
                worked = isinstance(message, CasePredicted) and not message.reused
                if line := pace.step(worked=worked):
                    console.print(line, highlight=False)

        made = predict_folder(
            applied, scans, out, slot=slot, supervision=_supervision(study, slot, listen), allowed=allowed
        )
    best = out / predictors_of(applied.models)[-1]
    console.print(f"{best}: masks of {len(made.predicted)} scan(s)", soft_wrap=True, highlight=False)
    _warn_of_demo(applied, console)
    if made.failed:
        console.print(f"{len(made.failed)} scan(s) could not be predicted:")
        for failure in made.failed:
            console.print(f"  {escape(f'{failure.case_id}: {failure.reason}')}", soft_wrap=True, highlight=False)
        raise typer.Exit(1)


def _warn_of_demo(applied: Application, console: Console) -> None:
    if applied.is_demo:
        console.print("[bold yellow]A demo model drew this: it shows that the way works, and is no result.[/]")


def _as_nifti(scan: Path, folder: Path, allowed: Allowance) -> Path:
    """Returns the scan as a NIfTI file that can be read; a DICOM series is converted and checked first."""
    from cspine_assets.domain.image_names import without_ending
    from cspine_assets.domain.imaging.conversion import convert_series
    from cspine_assets.nnunet.scans import check_scan, readable_by_nnunet

    if scan.is_file() and without_ending(scan.name) is not None:
        check_scan(scan, allowed=allowed)
        return readable_by_nnunet(scan, folder, allowed=allowed)
    converted = folder / "scan.nii.gz"
    convert_series(scan, converted, scratch=folder)
    return converted


def _own(study: Study, anew: Mapping[str, object]) -> Application:
    """Returns the home's own models, as the study applies them."""
    from cspine_assets.defs.in_force import models_in_force
    from cspine_assets.domain.tables.nnunet import PostprocessingChoice
    from cspine_assets.nnunet.application import Application
    from cspine_assets.nnunet.choosing import chosen_options
    from cspine_assets.nnunet.prediction_settings import changed

    return Application(
        models_in_force(study),
        changed(study.prediction_choices, anew).settings(study.profile),
        chosen_options(study.read(PostprocessingChoice)),
        is_demo=study.settings.profile == "demo",
    )


def _leased(study: Study) -> AbstractContextManager[Slot]:
    from cspine_assets.nnunet.devices import leased_slot

    return leased_slot(study.home.leases, study.slots, what="prediction of scans")


def _name_device(slot: Slot, console: Console) -> None:
    """Prints the device that is used and, where it is the CPU, why."""
    from cspine_assets.nnunet.gpus import report_gpus

    why = f" {report_gpus().sentence}" if slot.device == "cpu" and report_gpus().problem else ""
    console.print(f"Predicting on {slot.name}.{why}", highlight=False, markup=False, soft_wrap=True)


def _supervision(study: Study, slot: Slot, listen: Callable[[ChildMessage], None]) -> Supervision:
    from cspine_assets.nnunet.process import Supervision

    return Supervision(
        log_path=study.home.logs / f"predict-scan-{slot.place}.log",
        on_message=listen,
        heartbeat_timeout_s=study.prediction_choices.silence_s,
    )
