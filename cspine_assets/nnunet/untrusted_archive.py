"""Looking at a model archive that nobody may trust, and unpacking of it what a prediction needs and no more.

Change this file when another trick of zips has to be met. What an unpacked model is, and who trusts it, stands in
``imported``.
"""

from __future__ import annotations

import lzma
import re
import shutil
import stat
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Final

from cspine_assets.domain.errors import ModelError
from cspine_assets.domain.files import fingerprint_file
from cspine_assets.nnunet.fold_folder import FINAL_CHECKPOINT
from cspine_assets.nnunet.model_card import CARD_FILE

MOST_ENTRIES: Final = 2_000
MOST_BYTES: Final = 20 * 1024**3
"""Twice the ten checkpoints of the largest of nnU-Net's usual plans."""
MOST_TEXT_BYTES: Final = 64 * 1024**2
"""Of a JSON file; plans of thousands of cases stay far below."""
MOST_RATIO: Final = 200
"""Of what comes out to what lies in the archive; weights shrink by a tenth, JSON by ten or twenty times."""

_MODEL = (
    r"(?P<dataset>Dataset\d{3}_[A-Za-z0-9_-]+)/"
    r"(?P<folder>[A-Za-z0-9_]+__[A-Za-z0-9_]+__(?P<configuration>2d|3d_fullres))"
)
_WANTED = re.compile(rf"{_MODEL}/(?:plans\.json|dataset\.json|dataset_fingerprint\.json|fold_\d+/{FINAL_CHECKPOINT})")
_CARD = re.compile(rf"Dataset\d{{3}}_[A-Za-z0-9_-]+/{re.escape(CARD_FILE)}")


@dataclass(frozen=True)
class Content:
    """What is to be taken out of an archive.

    Attributes:
        wanted: Entries that a prediction needs.
        left_out: Names of all others.
        dataset: Folder of the models.
    """

    wanted: tuple[zipfile.ZipInfo, ...]
    left_out: tuple[str, ...]
    dataset: str


def examined(opened: zipfile.ZipFile, archive: Path) -> Content:
    """Looks at the directory of an archive; nothing is unpacked.

    Raises:
        ModelError: An entry points outside, is a link or comes twice; there are too many, or they are too large; or
            the archive holds no models of one dataset.
    """
    entries = opened.infolist()
    if len(entries) > MOST_ENTRIES:
        raise ModelError(f"{archive}: expected at most {MOST_ENTRIES} entries, got {len(entries)}.")
    seen: set[str] = set()
    for info in entries:
        _require_inside(info, archive)
        if info.filename.casefold() in seen:
            raise ModelError(f"{archive}: entry {info.filename!r} comes twice.")
        seen.add(info.filename.casefold())
    files = [info for info in entries if not info.filename.endswith("/")]
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
    return Content(wanted, tuple(info.filename for info in files if info not in wanted), datasets.pop())


def _require_inside(info: zipfile.ZipInfo, archive: Path) -> None:
    path, windows = PurePosixPath(info.filename), PureWindowsPath(info.filename)
    if "\\" in info.filename and not (windows.drive or windows.root or ".." in windows.parts):
        raise ModelError(
            f"{archive}: entry {info.filename!r} has '\\' between folders, as some Windows programs write it, against "
            "the zip standard. Unpack it there, and pack it again with another program."
        )
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


def require_space(content: Content, imported: Path) -> None:
    """Makes sure that what is wanted will fit.

    Raises:
        ModelError: The disk is too small.
    """
    imported.mkdir(parents=True, exist_ok=True)
    needed, free = sum(info.file_size for info in content.wanted), shutil.disk_usage(imported).free
    if needed > free:
        raise ModelError(f"{imported}: the model needs {needed / 1e9:.1f} GB, free are {free / 1e9:.1f} GB.")


def extracted(opened: zipfile.ZipFile, info: zipfile.ZipInfo, folder: Path, archive: Path) -> str:
    """Unpacks one entry, no byte more than it promises, and returns its SHA-256.

    Raises:
        ModelError: It holds more.
    """
    target = folder.joinpath(*PurePosixPath(info.filename).parts)
    target.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with target.open("xb") as sink:
        for block in _blocks(opened, info):
            written += len(block)
            if written > info.file_size:
                raise ModelError(f"{archive}: {info.filename} holds more than it says. It is not unpacked.")
            sink.write(block)
    return fingerprint_file(target)


def _blocks(opened: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    """Yields an entry piece by piece.

    Raises:
        BadZipFile: It is damaged, in whatever way it is packed; deflate and stored entries raise what zipfile raises.
    """
    try:
        with opened.open(info) as source:
            while block := source.read(1 << 20):
                yield block
    except (OSError, lzma.LZMAError) as error:
        raise zipfile.BadZipFile(f"{info.filename}: {error}") from error
