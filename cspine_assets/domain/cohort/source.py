"""A MIDRC download given by its folder: which tables, scans, masks and series archives there are.

Add a rule when a tool leaves the download in another shape. Files are told by their own names, not by the
folders around them, so any nesting will do; what the tables say is read elsewhere, and the download is never
written to.
"""

from __future__ import annotations

import os
import re
import struct
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Final

from cspine_assets.domain.cohort.names import IMAGE_ENDING, MASK_ENDING
from cspine_assets.domain.cohort.source_file import SourceFile
from cspine_assets.domain.errors import SourceError
from cspine_assets.domain.tables.midrc import NODES

EXPECTED: Final = (
    "the folder of the CSpineSeg download: structured, annotation, segmentation and imaging_files, zipped or "
    "extracted, with or without the prefix DukeCSpineSeg_"
)
MAX_ENTRIES: Final = 1_000_000
"""More files than this, and somebody named a disk; the release has 4,000, fully extracted 25,000."""

_TABLE_NAME = re.compile(rf"^({'|'.join(node.name for node in NODES)})(?:_.*)?\.tsv$", re.IGNORECASE)
_UID = re.compile(r"^\d+(?:\.\d+)+$")
_DATE = re.compile(r"(?<!\d)(\d{8})(?!\d)")


@dataclass(frozen=True)
class Listed:
    """A file of the download and what it was taken for: table, image, mask, series or other."""

    kind: str
    file: SourceFile


@dataclass(frozen=True)
class Source:
    """What a download holds.

    Attributes:
        folder: The folder that was given.
        table_files: File of each table found, by node name.
        images: Shipped scans, by file name.
        masks: Shipped masks, by file name.
        series: Archives (or extracted folders) of DICOM instances, by SeriesInstanceUID; empty where the
            DICOM part was not downloaded. A UID that lies in several places has several.
        notes: What a person should know: older tables passed over, files found twice, archives inside
            archives.
        listing: Every file met, in the order of the walk, twins and files of no known kind included.
    """

    folder: Path
    table_files: Mapping[str, SourceFile]
    images: Mapping[str, SourceFile]
    masks: Mapping[str, SourceFile]
    series: Mapping[str, tuple[SourceFile, ...]]
    notes: tuple[str, ...]
    listing: tuple[Listed, ...]

    @property
    def states(self) -> tuple[str, ...]:
        """The ``state`` of every file, sorted: while they stay the same, so does the download."""
        return tuple(sorted(self.state(listed.file) for listed in self.listing))

    def state(self, file: SourceFile) -> str:
        """Returns place below the folder, size in bytes and time of change in ns: a folder that is moved keeps them."""
        return f"{file.location.removeprefix(f'{self.folder.as_posix()}/')} {file.size} {file.changed_ns}"

    @property
    def in_archives(self) -> bool:
        """Whether a scan, a mask or the instances of a series lie inside an archive of a part."""
        files = chain(self.images.values(), self.masks.values(), *self.series.values())
        return any(file.member is not None for file in files)

    def series_archive(self, patient_id: str, study_uid: str, series_uid: str) -> SourceFile:
        """Returns the archive of a series' DICOM instances.

        Raises:
            SourceError: There is none, or it lies under another patient or study.
        """
        candidates = self.series.get(series_uid, ())
        for candidate in candidates:
            if {patient_id, study_uid} <= set(PurePosixPath(candidate.location).parts):
                return candidate
        wanted = f"case_image/{patient_id}/{study_uid}/{series_uid}.zip"
        found = ", ".join(c.description for c in candidates) or f"none ({len(self.series)} series are there)"
        raise SourceError(
            f"patient {patient_id}: expected {wanted} in {self.folder}, found {found}. "
            "Download the part imaging_files, or this archive, again."
        )


@dataclass
class _Findings:
    """What the walk has met so far."""

    tables: dict[str, list[SourceFile]] = field(default_factory=dict)
    nifti: dict[str, list[SourceFile]] = field(default_factory=dict)
    series: dict[str, list[SourceFile]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    listing: list[Listed] = field(default_factory=list)


def find_source(folder: Path) -> Source:
    """Returns what a download holds; only names and archive directories are read.

    Args:
        folder: Folder that holds the parts of the download, or any folder above them.

    Raises:
        SourceError: The folder is missing, empty, not readable or holds no table of the release.
    """
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing"
        raise SourceError(f"{folder}: expected {EXPECTED}; found {found}. Set CSPINE_SOURCE to that folder.")
    met = _Findings()
    for entry in _walk(folder):
        _sort_in(met, entry)
    if not met.tables:
        seen = ", ".join(sorted(path.name for path in folder.iterdir())[:6]) or "nothing: the folder is empty"
        raise SourceError(
            f"{folder}: expected {EXPECTED}, with tables such as case_RSNA_20250321.tsv; found {seen}. "
            "Set CSPINE_SOURCE to the folder of the download, and download the part structured."
        )
    nifti = {name: _one_of(files, met.notes) for name, files in sorted(met.nifti.items())}
    return Source(
        folder=folder,
        table_files={node: _newest(node, files, met.notes) for node, files in sorted(met.tables.items())},
        images={name: file for name, file in nifti.items() if not name.endswith(MASK_ENDING)},
        masks={name: file for name, file in nifti.items() if name.endswith(MASK_ENDING)},
        series={uid: tuple(sorted(f, key=_preference)) for uid, f in sorted(met.series.items())},
        notes=tuple(met.notes),
        listing=tuple(met.listing),
    )


def _walk(folder: Path) -> Iterator[SourceFile]:
    """Gives every file below a folder, links followed once; an extracted series is given as its folder."""
    visited: set[str] = set()
    count = 0
    for root, folders, names in os.walk(folder, followlinks=True, onerror=_refuse):
        real = os.path.realpath(root)
        if real in visited or _is_home(folders, names):
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if not _is_junk(name))
        count += len(names)
        if count > MAX_ENTRIES:
            raise SourceError(f"{folder}: expected {EXPECTED}; found over {MAX_ENTRIES} files. Name its own folder.")
        here = Path(root)
        holds_archives = any(name.endswith(".zip") for name in names) or any(map(_UID.match, folders))
        if _UID.match(here.name) and (names or folders) and not holds_archives:
            folders.clear()
            size = sum(p.stat().st_size for p in here.rglob("*") if p.is_file())
            yield SourceFile(here, None, size)
            continue
        for name in sorted(names):
            if not _is_junk(name) and (path := here / name).is_file():
                yield SourceFile(path, None, path.stat().st_size)


def _refuse(error: OSError) -> None:
    """Says which folder cannot be listed; a walk that skips it would call its exams missing."""
    raise SourceError(
        f"{error.filename}: expected a readable folder, got '{os.strerror(error.errno or 0)}'. Allow it."
    ) from error


def _is_home(folders: Iterable[str], names: Iterable[str]) -> bool:
    """Whether a folder is a home of this platform: its volumes and predictions carry the names of scans."""
    return "lake" in folders and "settings.json" in names


def _is_junk(name: str) -> bool:
    """Whether a name is left by an operating system."""
    return name.startswith(".") or name == "__MACOSX"


def _sort_in(met: _Findings, file: SourceFile) -> None:
    """Tells a file by its name and keeps it; an archive of a part is opened and its members are kept."""
    name = file.name
    kind = "other"
    if table := _TABLE_NAME.match(name):
        kind = "table"
        met.tables.setdefault(table.group(1).lower(), []).append(file)
    elif name.endswith(IMAGE_ENDING):
        kind = "mask" if name.endswith(MASK_ENDING) else "image"
        met.nifti.setdefault(name, []).append(file)
    elif name.endswith(".zip") and _UID.match(name.removesuffix(".zip")):
        kind = "series"
        met.series.setdefault(name.removesuffix(".zip"), []).append(file)
    elif name.lower().endswith(".zip"):
        if file.member is None:
            for member in _members(file.path):
                _sort_in(met, member)
            return
        met.notes.append(f"{file.description}: an archive inside an archive is not looked into; extract it")
    met.listing.append(Listed(kind, file))


def _members(path: Path) -> Iterator[SourceFile]:
    """Gives the files of an archive from its directory alone."""
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error) as error:
        raise SourceError(
            f"{path}: expected a whole zip archive, got something unreadable ({error}). Download it again."
        ) from error
    for info in infos:
        if not info.filename.endswith("/") and not any(_is_junk(part) for part in info.filename.split("/")):
            yield SourceFile(path, info.filename, info.file_size)


def _date(name: str) -> str:
    """Returns the last date in a file name, or an empty text."""
    dates = _DATE.findall(name)
    return dates[-1] if dates else ""


def _preference(file: SourceFile) -> tuple[bool, str]:
    """Orders equals: a file of its own before a member of an archive, then by place."""
    return file.member is not None, file.location


def _newest(node: str, files: list[SourceFile], notes: list[str]) -> SourceFile:
    """Returns the table of the newest release, and notes the ones passed over."""
    best = max(_date(file.name) for file in files)
    chosen, *same = sorted((file for file in files if _date(file.name) == best), key=_preference)
    others = [file.description for file in files if file is not chosen and file not in same]
    others += [file.description for file in same]
    if others:
        notes.append(f"table {node}: took {chosen.description}, passed over {', '.join(sorted(others))}")
    return chosen


def _one_of(files: list[SourceFile], notes: list[str]) -> SourceFile:
    """Returns the file of a name, extracted before archived, and notes where its twins differ in size."""
    chosen, *twins = sorted(files, key=_preference)
    if any(twin.size != chosen.size for twin in twins):
        places = ", ".join(f"{file.description}: {file.size} bytes" for file in files)
        notes.append(f"{chosen.name} lies in several places with several sizes ({places}); took the first")
    return chosen
