"""Writing trained models as nnU-Net's own zip, with their card.

Change this file when what travels with a model changes. Reading a zip from elsewhere, which nobody may trust, stands
in ``imported``.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cspine_assets.domain.errors import ModelError
from cspine_assets.domain.files import fingerprint_file, written_aside
from cspine_assets.nnunet.fold_folder import FINAL_CHECKPOINT, MODEL_FILES, SUMMARY
from cspine_assets.nnunet.model_card import CARD_FILE, READABLE_CARD_FILE, ModelCard, readable
from cspine_assets.nnunet.prediction import Model

PROGRESS: Final = "progress.png"

_LEVEL = 1
"""Of deflate: weights hardly shrink at any level, and the higher ones take minutes for ten models."""

_DATE = (1980, 1, 1, 0, 0, 0)
"""Of every entry, so that the same models give the same bytes; zip knows no earlier day."""

_READABLE = 0o644 << 16


@dataclass(frozen=True)
class Archive:
    """A written archive.

    Attributes:
        path: The zip.
        sha256: Of its bytes.
        size_bytes: Of the zip.
        files: Entries in it.
    """

    path: Path
    sha256: str
    size_bytes: int
    files: int


def write_archive(
    models: Sequence[Model], destination: Path, card_of: Callable[[dict[str, str]], ModelCard]
) -> Archive:
    """Write models of one dataset as a zip that nnU-Net's commands can install.

    The entries are those of ``nnUNetv2_export_model_to_zip``, and the card in two forms beside the configurations.
    Two things are left out, for both name patients or machines: the rows of single cases in ``summary.json``, and
    ``debug.json``.

    Args:
        models: One or two configurations.
        destination: The zip; replaced as a whole.
        card_of: Gives the card, knowing the SHA-256 of each checkpoint by its path in the archive.

    Raises:
        ModelError: A file of a model is missing.
    """
    entries = {name: path for model in models for name, path in _entries(model).items()}
    missing = [str(path) for path in entries.values() if not path.is_file()]
    if missing or not models:
        raise ModelError(f"expected trained models to archive, missing are {', '.join(missing) or 'all'}")
    checkpoints = {name: fingerprint_file(path) for name, path in entries.items() if name.endswith(FINAL_CHECKPOINT)}
    card = card_of(checkpoints)
    root = models[0].model_folder.parent.name
    texts = {
        f"{root}/{CARD_FILE}": card.model_dump_json(indent=2) + "\n",
        f"{root}/{READABLE_CARD_FILE}": readable(card),
    }
    texts |= {name: _without_cases(path) for name, path in entries.items() if name.endswith(SUMMARY.name)}
    with written_aside(destination) as aside, zipfile.ZipFile(aside, "w", compresslevel=_LEVEL) as archive:
        for name in sorted({*entries, *texts}):
            if name in texts:
                archive.writestr(_info(name), texts[name], compresslevel=_LEVEL)
                continue
            info = _info(name)
            info.file_size = entries[name].stat().st_size
            with entries[name].open("rb") as source, archive.open(info, "w") as target:
                while block := source.read(1 << 20):
                    target.write(block)
    return Archive(
        path=destination,
        sha256=fingerprint_file(destination),
        size_bytes=destination.stat().st_size,
        files=len({*entries, *texts}),
    )


def _entries(model: Model) -> dict[str, Path]:
    """Files of one configuration by their place in the archive, which is that in nnU-Net's results folder."""
    folder = model.model_folder
    paths = [folder / name for name in MODEL_FILES]
    for fold in model.folds:
        inner = folder / f"fold_{fold}"
        paths += [inner / FINAL_CHECKPOINT, inner / PROGRESS, inner / SUMMARY]
    return {path.relative_to(folder.parent.parent).as_posix(): path for path in paths}


def _without_cases(summary: Path) -> str:
    """nnU-Net's validation summary with its means, and without the row of any case."""
    results = json.loads(summary.read_text(encoding="utf-8"))
    return json.dumps({**results, "metric_per_case": []}, indent=4, sort_keys=True) + "\n"


def _info(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _DATE)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = _READABLE
    # zipfile hands the archive's level to the entries that it makes itself alone
    info._compresslevel = _LEVEL  # type: ignore[attr-defined]
    return info
