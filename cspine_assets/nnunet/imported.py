"""Models from elsewhere: taking an archive in without trusting it, and who may be predicted with.

Change this file when another thing of an archive has to be looked at. An archive is untrusted: a checkpoint is a
pickle and runs as code when it is loaded, so nothing here loads one, and none is predicted with before a person has
said that its origin is trusted.
"""

from __future__ import annotations

import json
import re
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, Final

from pydantic import ValidationError

from cspine_assets.domain.anatomy import LABELS
from cspine_assets.domain.errors import ModelError
from cspine_assets.domain.files import fingerprint_file, fresh_folder_beside, write_text
from cspine_assets.nnunet.fold_folder import FINAL_CHECKPOINT
from cspine_assets.nnunet.messages import Frozen
from cspine_assets.nnunet.model_card import CARD_FILE, ModelCard
from cspine_assets.nnunet.prediction import Model
from cspine_assets.nnunet.profiles import Configuration

RECORD_FILE: Final = "cspine_import.json"
MOST_ENTRIES: Final = 2_000
MOST_BYTES: Final = 20 * 1024**3
"""Twice the ten checkpoints of the largest of nnU-Net's usual plans."""
MOST_TEXT_BYTES: Final = 64 * 1024**2
"""Of a JSON file; plans of thousands of cases stay far below."""
MOST_RATIO: Final = 200
"""Of what comes out to what lies in the archive; weights shrink by a tenth, JSON by ten or twenty times."""

WARNING: Final = (
    "A checkpoint is code: it runs with all your rights when it is loaded. Trust it only if you know who made it."
)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_MODEL = (
    r"(?P<dataset>Dataset\d{3}_[A-Za-z0-9_-]+)/"
    r"(?P<folder>[A-Za-z0-9_]+__[A-Za-z0-9_]+__(?P<configuration>2d|3d_fullres))"
)
_WANTED = re.compile(rf"{_MODEL}/(?:plans\.json|dataset\.json|dataset_fingerprint\.json|fold_\d+/{FINAL_CHECKPOINT})")
_CARD = re.compile(rf"Dataset\d{{3}}_[A-Za-z0-9_-]+/{re.escape(CARD_FILE)}")


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


@dataclass(frozen=True)
class _Content:
    """What is to be taken out of an archive."""

    wanted: tuple[zipfile.ZipInfo, ...]
    left_out: tuple[str, ...]
    dataset: str


def import_archive(
    archive: Path, imported: Path, *, name: str | None, trust: bool, replace: bool = False
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
            content = _examined(opened, archive)
            _require_space(content, imported)
            with fresh_folder_beside(place) as folder:
                files = {info.filename: _extract(opened, info, folder, archive) for info in content.wanted}
                record = _recorded(archive, folder, called, content, files, trust)
                write_text(folder / RECORD_FILE, record.model_dump_json(indent=2) + "\n")
    except FileNotFoundError as error:
        raise ModelError(f"{archive}: expected a model archive (.zip), there is none.") from error
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, RuntimeError, EOFError, zlib.error) as error:
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


def _examined(opened: zipfile.ZipFile, archive: Path) -> _Content:
    """Looks at the directory of an archive; nothing is unpacked."""
    entries = opened.infolist()
    if len(entries) > MOST_ENTRIES:
        raise ModelError(f"{archive}: expected at most {MOST_ENTRIES} entries, got {len(entries)}.")
    seen: set[str] = set()
    for info in entries:
        _require_inside(info, archive)
        if info.filename.casefold() in seen:
            raise ModelError(f"{archive}: entry {info.filename!r} comes twice.")
        seen.add(info.filename.casefold())
    files = [info for info in entries if not info.is_dir()]
    wanted = tuple(info for info in files if _WANTED.fullmatch(info.filename) or _CARD.fullmatch(info.filename))
    models = [match for info in wanted if (match := _WANTED.fullmatch(info.filename))]
    folders = {(match["dataset"], match["configuration"], match["folder"]) for match in models}
    datasets, configurations = {one[0] for one in folders}, [one[1] for one in folders]
    if len(datasets) != 1 or len(set(configurations)) != len(configurations):
        raise ModelError(
            f"{archive}: expected models of one dataset in 2d, 3d_fullres or both, as nnUNetv2_export_model_to_zip "
            f"writes them; got {', '.join(sorted('/'.join((one[0], one[2])) for one in folders)) or 'none'}."
        )
    _require_size(wanted, archive)
    return _Content(wanted, tuple(info.filename for info in files if info not in wanted), datasets.pop())


def _require_inside(info: zipfile.ZipInfo, archive: Path) -> None:
    path = PurePosixPath(info.filename)
    unsafe = path.is_absolute() or ".." in path.parts or any(sign in info.filename for sign in ("\\", ":", "\0"))
    if unsafe:
        raise ModelError(f"{archive}: entry {info.filename!r} points outside of the archive. It is not unpacked.")
    mode = info.external_attr >> 16
    if mode and not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_IFMT(mode) == 0):
        raise ModelError(f"{archive}: entry {info.filename!r} is a link or a device. It is not unpacked.")


def _require_size(wanted: tuple[zipfile.ZipInfo, ...], archive: Path) -> None:
    total = sum(info.file_size for info in wanted)
    if total > MOST_BYTES:
        raise ModelError(f"{archive}: expected at most {MOST_BYTES / 1e9:.0f} GB unpacked, got {total / 1e9:.0f} GB.")
    for info in wanted:
        if info.filename.endswith(".json") and info.file_size > MOST_TEXT_BYTES:
            raise ModelError(
                f"{archive}: {info.filename} is {info.file_size / 1e6:.0f} MB, too large for a description."
            )
        if info.file_size > MOST_RATIO * max(info.compress_size, 1) and info.file_size > 1 << 20:
            raise ModelError(f"{archive}: {info.filename} would grow {MOST_RATIO} times and more: no weights do that.")


def _require_space(content: _Content, imported: Path) -> None:
    imported.mkdir(parents=True, exist_ok=True)
    needed, free = sum(info.file_size for info in content.wanted), shutil.disk_usage(imported).free
    if needed > free:
        raise ModelError(f"{imported}: the model needs {needed / 1e9:.1f} GB, free are {free / 1e9:.1f} GB.")


def _extract(opened: zipfile.ZipFile, info: zipfile.ZipInfo, folder: Path, archive: Path) -> str:
    """Unpacks one entry, no byte more than it promises, and returns its SHA-256."""
    target = folder.joinpath(*PurePosixPath(info.filename).parts)
    target.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with opened.open(info) as source, target.open("xb") as sink:
        while block := source.read(1 << 20):
            written += len(block)
            if written > info.file_size:
                raise ModelError(f"{archive}: {info.filename} holds more than it says. It is not unpacked.")
            sink.write(block)
    return fingerprint_file(target)


def _recorded(
    archive: Path, folder: Path, name: str, content: _Content, files: dict[str, str], trust: bool
) -> ImportRecord:
    """Checks that what was unpacked is a model of bodies and discs, and describes it."""
    models = list(_models(folder / content.dataset))
    for model in models:
        _require_usable(model, archive)
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


def _require_usable(model: Model, archive: Path) -> None:
    for file in ("plans.json", "dataset.json"):
        if not (model.model_folder / file).is_file():
            raise ModelError(f"{archive}: {model.model_folder.name} has no {file}, which a prediction needs.")
    if not model.folds:
        raise ModelError(f"{archive}: {model.model_folder.name} has no {FINAL_CHECKPOINT} in any fold.")
    description = _read_json(model.model_folder / "dataset.json", archive)
    _read_json(model.model_folder / "plans.json", archive)
    labels, channels = description.get("labels"), description.get("channel_names")
    numbers = sorted(labels.values()) if isinstance(labels, dict) and _are_numbers(labels) else labels
    if numbers != [0, *sorted(LABELS.values())]:
        raise ModelError(
            f"{archive}: expected labels 0 background, 1 vertebral bodies and 2 discs, got {labels!r:.200}. "
            "Only models of these structures can be used here."
        )
    if not isinstance(channels, dict) or len(channels) != 1 or description.get("file_ending") != ".nii.gz":
        raise ModelError(f"{archive}: expected a model of one channel and of .nii.gz files, got {channels!r:.200}.")


def _are_numbers(labels: dict[str, Any]) -> bool:
    return all(isinstance(value, int) for value in labels.values())


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
