"""Scans of any origin, predicted outside the study: one, or a folder of them.

Add here what a scan has to be so that a mask of it can be believed. How a case is predicted stands in ``prediction``,
DICOM is converted before.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cspine_assets.domain.errors import CSpineError, ModelError, unexpected_reason
from cspine_assets.domain.files import fingerprint_file, fingerprint_text, folder_aside
from cspine_assets.domain.image_names import NIFTI_ENDINGS, without_ending
from cspine_assets.domain.imaging.scratch import scratch_folder
from cspine_assets.domain.imaging.verification import check_voxels
from cspine_assets.domain.volume import STRICT, Allowance, is_placed, place_volume, read_volume
from cspine_assets.nnunet.application import Application
from cspine_assets.nnunet.devices import Slot
from cspine_assets.nnunet.finished_cases import drop_case, fingerprint_case, fingerprint_models, is_finished
from cspine_assets.nnunet.messages import CaseFailed, CasePredicted
from cspine_assets.nnunet.prediction import (
    Prediction,
    PredictionCase,
    mask_path,
    predict_cases,
    predictors_of,
)
from cspine_assets.nnunet.process import Supervision

_CHANNEL: Final = "_0000"
"""What nnU-Net puts behind the name of an image of one channel, and its masks do not have."""


def scans_in(folder: Path) -> dict[str, Path]:
    """Returns the scans of a folder by case: their names without ending and ``_0000``, in order.

    Images of other kinds than NIfTI are among them, so that each fails by its name. Hidden files, folders inside and
    files of other kinds are passed over; the result may be empty.

    Raises:
        ModelError: Two files have the name of one case.
    """
    scans: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        stem = without_ending(path.name)
        if stem is None or path.is_dir():
            continue
        case_id = stem.removesuffix(_CHANNEL)
        if case_id in scans:
            raise ModelError(f"{folder}: expected one scan of a case, got {scans[case_id].name} and {path.name}.")
        scans[case_id] = path
    return scans


def check_scan(path: Path, *, allowed: Allowance = STRICT) -> None:
    """Checks that a NIfTI holds a picture: nnU-Net draws an empty mask of a scan with a single NaN, and says nothing.

    Raises:
        GeometryError: It cannot be read, has not three axes of real numbers, or does not say where it lies.
        ConversionError: All voxels are equal, or some are no finite number.
    """
    check_voxels(read_volume(path, allowed=allowed), subject=str(path))


def readable_by_nnunet(path: Path, folder: Path, *, allowed: Allowance = STRICT) -> Path:
    """Returns a scan as nnU-Net's reader takes it: itself, a link with an ending in lower case, or a placed copy.

    Args:
        path: A scan that ``check_scan`` has passed.
        folder: For the link or copy.
        allowed: As for ``check_scan``.
    """
    if not is_placed(path):
        copy = folder / f"{fingerprint_text(path.name)[:16]}.nii.gz"
        place_volume(path, copy, allowed)
        return copy
    if path.name.endswith(NIFTI_ENDINGS):
        return path
    link = folder / (fingerprint_text(path.name)[:16] + (".nii.gz" if path.name.lower().endswith(".gz") else ".nii"))
    link.symlink_to(path.absolute())
    return link


def predict_scan(application: Application, image: Path, output: Path, *, slot: Slot, supervision: Supervision) -> None:
    """Writes the mask of one NIfTI volume to ``output``: the ensemble's, or the only model's.

    Args:
        application: Models, and how they are applied.
        image: The volume.
        output: Mask to write; probabilities, where they are asked for, come beside it.
        slot: The device to predict on, leased by the caller.
        supervision: Of the child.

    Raises:
        CSpineError: The volume is missing, holds no picture or cannot be predicted.
    """
    check_scan(image)
    with folder_aside(output) as folder:
        cases = [PredictionCase(case_id="scan", image=image)]
        result = _predict(application, cases, folder, slot=slot, supervision=supervision)
        for failure in result.failed:
            raise ModelError(f"{image} cannot be predicted: {failure.reason}. Log: {supervision.log_path}")
        mask = mask_path(folder, predictors_of(application.models)[-1], "scan")
        if application.settings.save_probabilities:
            for ending in (".npz", ".pkl"):
                stem = output.name.removesuffix(".gz").removesuffix(".nii")
                mask.with_name(f"scan{ending}").replace(output.with_name(stem + ending))
        mask.replace(output)


def predict_folder(
    application: Application,
    folder: Path,
    out: Path,
    *,
    slot: Slot,
    supervision: Supervision,
    allowed: Allowance = STRICT,
) -> Prediction:
    """Writes masks of all NIfTI files of a folder to ``{out}/{predictor}/{case}.nii.gz``, models loaded once.

    Masks that stand, made from the same scan by the same models in the same way, are not made again. A scan that holds
    no picture, cannot be read or cannot be predicted fails alone, and has no mask afterwards.

    Args:
        application: Models, and how they are applied.
        folder: Of scans, each of one channel.
        out: Receives a folder per predictor.
        slot: The device to predict on, leased by the caller.
        supervision: Of the child. Its listener hears of every case, also of those that stand and those refused.
        allowed: What is allowed of the scans beyond the rules.

    Raises:
        ModelError: Two scans have one name, or the models cannot be used.
    """
    common = fingerprint_models(application.models, application.settings, application.postprocessing)
    known: list[CasePredicted | CaseFailed] = []
    left = []
    with scratch_folder(Path(tempfile.gettempdir())) as copies:
        for case_id, path in scans_in(folder).items():
            outcome = _looked_at(case_id, path, _Terms(common, out, copies, allowed))
            if isinstance(outcome, PredictionCase):
                left.append(outcome)
            else:
                known.append(outcome)
                supervision.on_message(outcome)
        made = Prediction(predicted=(), failed=())
        if left:
            made = _predict(application, left, out, slot=slot, supervision=supervision)
    return Prediction(
        predicted=(*(one.case_id for one in known if isinstance(one, CasePredicted)), *made.predicted),
        failed=(*(one for one in known if isinstance(one, CaseFailed)), *made.failed),
    )


@dataclass(frozen=True)
class _Terms:
    """What holds for all scans of a folder: the models' fingerprint, where masks and copies go, what is allowed."""

    models: str
    out: Path
    copies: Path
    allowed: Allowance


def _looked_at(case_id: str, path: Path, terms: _Terms) -> PredictionCase | CasePredicted | CaseFailed:
    """Returns a scan to predict, or what is known of it: that its masks stand, or why there can be none."""
    try:
        content = fingerprint_file(path) if path.is_file() else ""
        inputs = fingerprint_case(terms.models, f"{content}{terms.allowed.axes or ''}")
        if is_finished(terms.out, case_id, inputs):
            return CasePredicted(case_id=case_id, seconds=0, reused=True)
        check_scan(path, allowed=terms.allowed)
        image = readable_by_nnunet(path, terms.copies, allowed=terms.allowed)
        return PredictionCase(case_id=case_id, image=image, inputs=inputs)
    except CSpineError as error:
        reason = str(error)
    except Exception as error:  # noqa: BLE001 - a scan that nobody foresaw, and all others wait
        reason = unexpected_reason(case_id, error)
    drop_case(terms.out, case_id)
    return CaseFailed(case_id=case_id, reason=reason)


def _predict(
    application: Application, cases: list[PredictionCase], out: Path, *, slot: Slot, supervision: Supervision
) -> Prediction:
    return predict_cases(
        application.models,
        cases,
        out,
        settings=application.settings,
        postprocessing=application.postprocessing,
        slot=slot,
        supervision=supervision,
    )
