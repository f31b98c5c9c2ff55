"""Which cases are predicted already, and from what: a stamp per case beside the masks.

Change this file when masks come to depend on something more. A killed prediction finds here what it need not do
again; how a case is predicted is no matter of this module.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from cspine_assets.domain.files import fingerprint_file, fingerprint_text, write_text
from cspine_assets.nnunet.fold_folder import FINAL_CHECKPOINT
from cspine_assets.nnunet.messages import Frozen

if TYPE_CHECKING:
    from cspine_assets.nnunet.postprocessing import Postprocessing
    from cspine_assets.nnunet.prediction import Model, PredictionSettings, Predictor

STAMPS = ".finished"
"""Folder of the stamps; hidden, so that a folder of masks holds masks."""


class CaseStamp(Frozen):
    """What a finished case was made from, and the files that came of it.

    Attributes:
        inputs: As ``fingerprint_case`` gave it.
        files: SHA-256 of each file by its path within the folder of predictions.
    """

    inputs: str
    files: dict[str, str]


def fingerprint_models(
    models: Sequence[Model], settings: PredictionSettings, postprocessing: Mapping[Predictor, Postprocessing]
) -> str:
    """Returns one SHA-256 over all that the masks of any case come from, the volume excepted.

    Every checkpoint is read for it, a second or so per gigabyte.
    """
    parts = [settings.model_dump_json()]
    for model in models:
        files = [model.model_folder / "plans.json"]
        files += [model.model_folder / f"fold_{fold}" / FINAL_CHECKPOINT for fold in model.folds]
        parts += [model.configuration, *(fingerprint_file(file) for file in files)]
    parts += [f"{name}={option}" for name, option in sorted(postprocessing.items())]
    return fingerprint_text(*parts)


def fingerprint_case(models_fingerprint: str, volume_sha256: str) -> str:
    """Returns the fingerprint of all that the masks of one case come from."""
    return fingerprint_text(models_fingerprint, volume_sha256)


def write_stamp(out_folder: Path, case_id: str, inputs: str, files: Iterable[Path]) -> None:
    """Says that a case is finished; the last thing that is written of it. What it had before and has no more goes."""
    hashes = {file.relative_to(out_folder).as_posix(): fingerprint_file(file) for file in files}
    drop_case(out_folder, case_id, kept=hashes)
    stamp = CaseStamp(inputs=inputs, files=hashes)
    write_text(_path(out_folder, case_id), stamp.model_dump_json(indent=1) + "\n")


def drop_case(out_folder: Path, case_id: str, *, kept: Collection[str] = ()) -> None:
    """Removes what a stamp names of a case, and the stamp: a mask of other inputs must not be taken for one of these.

    Args:
        out_folder: Folder of predictions.
        case_id: The case; one without a stamp has nothing that was put there by this platform.
        kept: Paths within the folder that stay.
    """
    stamp = _read(out_folder, case_id)
    if stamp is None:
        return
    _path(out_folder, case_id).unlink()
    for name in stamp.files.keys() - set(kept):
        (out_folder / name).unlink(missing_ok=True)


def is_finished(out_folder: Path, case_id: str, inputs: str) -> bool:
    """Whether a case was made from these inputs, and its files are as they were written."""
    stamp = _read(out_folder, case_id)
    if stamp is None or stamp.inputs != inputs:
        return False
    try:
        return all(fingerprint_file(out_folder / name) == sha256 for name, sha256 in stamp.files.items())
    except FileNotFoundError:
        return False


def _read(out_folder: Path, case_id: str) -> CaseStamp | None:
    """Returns the stamp of a case, or None where it has none that can be read."""
    try:
        return CaseStamp.model_validate_json(_path(out_folder, case_id).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValidationError):
        return None


def _path(out_folder: Path, case_id: str) -> Path:
    return out_folder / STAMPS / f"{case_id}.json"
