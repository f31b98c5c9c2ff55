"""Models from elsewhere: taking an archive in without trusting it, and who may be predicted with.

Change this file when another thing of an archive has to be looked at. An archive is untrusted: a checkpoint is a
pickle and runs as code when it is loaded, so nothing here loads one, and none is predicted with before a person has
said that its origin is trusted.
"""

from __future__ import annotations

import json
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from cspine_assets.domain.errors import ModelError
from cspine_assets.domain.files import fingerprint_file, fresh_folder_beside, write_text
from cspine_assets.nnunet.fold_folder import FINAL_CHECKPOINT
from cspine_assets.nnunet.messages import Frozen
from cspine_assets.nnunet.model_card import CARD_FILE, ModelCard
from cspine_assets.nnunet.model_terms import channel_fault, dimension_fault, label_fault, trainer_fault
from cspine_assets.nnunet.prediction import Model
from cspine_assets.nnunet.profiles import Configuration
from cspine_assets.nnunet.untrusted_archive import Content, examined, extracted, require_space

RECORD_FILE: Final = "cspine_import.json"
WARNING: Final = (
    "A checkpoint is code: it runs with all your rights when it is loaded. Trust it only if you know who made it."
)

_DAMAGED: Final = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)
"""What reading a damaged archive raises."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")


class ImportRecord(Frozen):
    """An imported model as it stands in the home.

    Attributes:
        name: What it is called here.
        archive: File name of the zip.
        archive_sha256: Of the zip.
        imported_at: UTC, ISO 8601.
        trusted: Whether a person has said that its checkpoints may be loaded.
        dataset: Folder of the models.
        configurations: Folds of each.
        files: SHA-256 of every file that was taken.
        left_out: Entries of the archive that were not taken.
        card: What the archive says of itself; nobody has proved it.
    """

    name: str
    archive: str
    archive_sha256: str
    imported_at: str
    trusted: bool
    dataset: str
    configurations: dict[Configuration, tuple[int, ...]]
    files: dict[str, str]
    left_out: tuple[str, ...]
    card: ModelCard | None


def import_archive(
    archive: Path,
    imported: Path,
    *,
    name: str | None,
    trust: bool,
    replace: bool = False,
    accept_names: bool = False,
) -> ImportRecord:
    """Take a model archive in, without running anything of it.

    Only what a prediction needs is written: plans, descriptions, checkpoints and the card. Everything else of the
    archive is left out and listed.

    Args:
        archive: A zip as ``nnUNetv2_export_model_to_zip`` or this platform writes it.
        imported: Folder of imported models; the model gets one of its own there.
        name: What to call it; None: the file's name.
        trust: Whether its checkpoints may be loaded.
        replace: Put it in the place of one of the same name.
        accept_names: Whether a person says that labels and channel mean the study's where their names do not tell.

    Raises:
        ModelError: The file is no zip, an entry points outside, is a link or comes twice, it is too large, or what
            is in it is no model of bodies and discs. Nothing is left behind then.
    """
    called = name or re.sub(r"[^A-Za-z0-9_-]+", "_", archive.name.removesuffix(".zip"))
    if not _NAME.fullmatch(called):
        raise ModelError(f"--name {called}: expected up to 63 letters, digits, '-' and '_', beginning with no sign.")
    place = imported / called
    if place.exists() and not replace:
        raise ModelError(f"{place}: a model of this name stands there. Choose another --name, or say --replace.")
    try:
        with zipfile.ZipFile(archive) as opened:
            content = examined(opened, archive)
            require_space(content, imported)
            with fresh_folder_beside(place) as folder:
                files = {info.filename: extracted(opened, info, folder, archive) for info in content.wanted}
                record = _recorded(archive, folder, called, content, files, trust, accept_names)
                write_text(folder / RECORD_FILE, record.model_dump_json(indent=2) + "\n")
    except FileNotFoundError as error:
        raise ModelError(f"{archive}: expected a model archive (.zip), there is none.") from error
    except _DAMAGED as error:
        raise ModelError(
            f"{archive}: expected a whole zip without encryption, got something else ({error})."
        ) from error
    return record


def read_records(imported: Path) -> list[ImportRecord]:
    """The imported models of a home, by name."""
    return [read_record(imported, path.parent.name) for path in sorted(imported.glob(f"[!.]*/{RECORD_FILE}"))]


def read_record(imported: Path, name: str) -> ImportRecord:
    """One imported model.

    Raises:
        ModelError: There is none of this name, or its record cannot be understood.
    """
    path = imported / name / RECORD_FILE
    if not _NAME.fullmatch(name) or not path.is_file():
        known = ", ".join(sorted(one.parent.name for one in imported.glob(f"[!.]*/{RECORD_FILE}"))) or "none"
        raise ModelError(f"expected an imported model, there is none called '{name}'; there are: {known}.")
    try:
        return ImportRecord.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        raise ModelError(f"{path}: expected the record of an import, got something else ({error}).") from error


def trust_model(imported: Path, name: str) -> ImportRecord:
    """Records that a person trusts an imported model."""
    record = read_record(imported, name).model_copy(update={"trusted": True})
    write_text(imported / name / RECORD_FILE, record.model_dump_json(indent=2) + "\n")
    return record


def trusted_models(imported: Path, name: str) -> list[Model]:
    """The models to predict with, once it is sure that they are those that a person trusted.

    Raises:
        ModelError: The model is not trusted, or a file of it has changed since it was imported.
    """
    record = read_record(imported, name)
    if not record.trusted:
        raise ModelError(f"model '{name}' was imported without trust. {WARNING} Then say `cspine model trust {name}`.")
    for file, sha256 in record.files.items():
        path = imported / name / file
        if not path.is_file() or fingerprint_file(path) != sha256:
            raise ModelError(f"{path}: not as it was imported. Import the archive again, with --replace.")
    return list(_models(imported / name / record.dataset))


def _models(dataset: Path) -> Iterator[Model]:
    for configuration in Configuration:
        for folder in sorted(dataset.glob(f"*__*__{configuration}")):
            folds = sorted(
                int(path.parent.name.removeprefix("fold_")) for path in folder.glob(f"fold_*/{FINAL_CHECKPOINT}")
            )
            yield Model(configuration=configuration, model_folder=folder, folds=tuple(folds))


def _recorded(
    archive: Path, folder: Path, name: str, content: Content, files: dict[str, str], trust: bool, accept_names: bool
) -> ImportRecord:
    """Checks that what was unpacked is a model of bodies and discs, and describes it."""
    models = list(_models(folder / content.dataset))
    for model in models:
        _require_usable(model, archive, accept_names=accept_names)
    card = folder / content.dataset / CARD_FILE
    return ImportRecord(
        name=name,
        archive=archive.name,
        archive_sha256=fingerprint_file(archive),
        imported_at=datetime.now(UTC).isoformat(timespec="seconds"),
        trusted=trust,
        dataset=content.dataset,
        configurations={model.configuration: model.folds for model in models},
        files=files,
        left_out=content.left_out,
        card=_read_card(card, archive) if card.exists() else None,
    )


def _require_usable(model: Model, archive: Path, *, accept_names: bool) -> None:
    for file in ("plans.json", "dataset.json"):
        if not (model.model_folder / file).is_file():
            raise ModelError(f"{archive}: {model.model_folder.name} has no {file}, which a prediction needs.")
    if not model.folds:
        raise ModelError(f"{archive}: {model.model_folder.name} has no {FINAL_CHECKPOINT} in any fold.")
    description = _read_json(model.model_folder / "dataset.json", archive)
    plans = _read_json(model.model_folder / "plans.json", archive)
    fault = (
        label_fault(description.get("labels"), accepted=accept_names)
        or channel_fault(description, accepted=accept_names)
        or dimension_fault(plans, model.configuration)
        or trainer_fault(model.model_folder.name.split("__")[0])
    )
    if fault is not None:
        raise ModelError(f"{archive}: {model.model_folder.name}: {fault}")


def _read_json(path: Path, archive: Path) -> dict[str, Any]:
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{archive}: {path.name} is no JSON ({error}).") from error
    if not isinstance(read, dict):
        raise ModelError(f"{archive}: expected an object in {path.name}, got {type(read).__name__}.")
    return read


def _read_card(path: Path, archive: Path) -> ModelCard:
    try:
        return ModelCard.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise ModelError(f"{archive}: its model card cannot be understood ({error.error_count()} findings).") from error
