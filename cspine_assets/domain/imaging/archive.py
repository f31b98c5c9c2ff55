"""Members of a series archive, read as untrusted and laid out flat under names of our own.

Add a limit or a form of archive here when a new one is met. What a DICOM header says, and whether the members
make a series, does not belong here.
"""

from __future__ import annotations

import io
import lzma
import os
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import BinaryIO, NamedTuple

from cspine_assets.domain.imaging.beside import lost_instance
from cspine_assets.domain.imaging.compression import checksum, inflate_raw
from cspine_assets.domain.imaging.folders import DICOM_MARK, MARK_OFFSET, instances_alone, refuse_unseen
from cspine_assets.domain.imaging.refusal import Cause, Refusal

_ZIP_MAGIC = b"PK\x03\x04"
_NAME_LENGTHS = 26
"""Where the lengths of name and extra field stand in a member's own header."""

_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    IndexError,
    NotImplementedError,
    OSError,
    ValueError,
)
"""What reading a damaged archive raises."""


@dataclass(frozen=True)
class ArchiveLimits:
    """What a series archive may hold at most; far above any sagittal series, far below what fills a disk.

    Attributes:
        members: Files, those of nested archives included.
        total_bytes: Bytes once unpacked.
        ratio: Unpacked bytes per packed byte of one archive; deflate reaches 1,032, a series of noise-free
            slices stays under 100.
        ratio_from_bytes: The ratio is looked at from this unpacked size on: a small empty image packs well
            too.
    """

    members: int = 4096
    total_bytes: int = 4 << 30
    ratio: float = 200.0
    ratio_from_bytes: int = 16 << 20


@dataclass(frozen=True)
class StagedSeries:
    """A series laid out for reading.

    Attributes:
        folder: Holds the instances and nothing else; a link to the source where that does so itself.
        files: The instances, in the order of the source, ``00001.dcm`` onwards: file names may hold a patient's name,
            so none survives unless it is a running number or a UID.
        ignored_count: Members that are known as something else than an instance, such as a licence.
    """

    folder: Path
    files: tuple[Path, ...]
    ignored_count: int


class _Member(NamedTuple):
    """A file of an archive, and where it stands there, for people: its name may hold a patient's."""

    content: bytes
    name: str
    where: str


@dataclass
class _Staging:
    """The folder being filled and what has been spent of the limits."""

    subject: str
    folder: Path
    limits: ArchiveLimits
    files: list[Path] = field(default_factory=list)
    member_count: int = 0
    byte_count: int = 0
    ignored_count: int = 0

    def refuse(self, cause: Cause, found: str) -> Refusal:
        return Refusal(cause, f"{self.subject}: {found}. Nothing was unpacked from it; fetch the series again.")

    def count_member(self) -> None:
        self.member_count += 1
        if self.member_count > self.limits.members:
            raise self.refuse(
                Cause.UNSAFE_ARCHIVE, f"expected at most {self.limits.members} files in a series, found more"
            )

    def next_file(self) -> Path:
        return self.folder / f"{len(self.files) + 1:05d}.dcm"


def stage_series(
    source: Path, folder: Path, *, subject: str | None = None, limits: ArchiveLimits | None = None
) -> StagedSeries:
    """Lays the DICOM instances of a zip, a folder or a single file out in a fresh folder.

    Zips inside a zip or folder are opened one level deep. Files that are known as something else (``beside``) are left
    aside and counted; the directory file of a medium (``DICOMDIR``) is one of them.

    Args:
        source: Zip archive, folder (searched to its leaves) or DICOM file.
        folder: Created here; must not hold anything yet.
        subject: What errors are about, such as an exam; the source's own name where not given.
        limits: The most that is unpacked.

    Raises:
        ConversionError: The source is missing or damaged; a member would leave the target, is a link, is
            encrypted, or is no DICOM and not known as anything else; or a limit is passed.
    """
    staging = _Staging(subject or source.name, folder, limits or ArchiveLimits())
    if source.is_dir() and _link_whole(source.resolve(), staging):
        return StagedSeries(folder, tuple(staging.files), ignored_count=0)
    folder.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        _stage_folder(source, staging)
    elif source.is_file():
        _stage_path(source, staging)
    else:
        raise Refusal(
            Cause.MISSING,
            f"{staging.subject}: expected a zip, a folder or a DICOM file at {source.name}, there is nothing. "
            "Fetch the series again.",
        )
    return StagedSeries(folder, tuple(staging.files), staging.ignored_count)


def _link_whole(source: Path, staging: _Staging) -> bool:
    """Links to a folder that can be taken as it lies; whether it can.

    Links to its files cost 3 ms a series of 15: to make them, to follow them and to remove them.
    """
    instances = None if staging.folder.exists() else instances_alone(source, at_most=staging.limits.members)
    if instances is None:
        return False
    try:
        staging.folder.parent.mkdir(parents=True, exist_ok=True)
        staging.folder.symlink_to(source, target_is_directory=True)
    except OSError:  # a file system without links
        return False
    staging.files += instances
    return True


def _stage_folder(source: Path, staging: _Staging) -> None:
    """Links to a folder's files. Unlike in a zip, links in it are the user's own and are followed."""
    # resolved once: asking the system for every file costs more than reading its start
    found: list[Path] = []
    for folder, folders, names in os.walk(source.resolve(), onerror=refuse_unseen):
        found += [Path(folder, name) for name in names]
        staging.ignored_count += sum(Path(folder, name).is_symlink() for name in folders)
    for path in sorted(found):
        if path.is_file():
            _stage_path(path, staging)
        elif path.is_symlink():
            raise Refusal(
                Cause.MISSING, f"{staging.subject}: expected the file that a link in the folder names, it is gone."
            )


def _stage_path(path: Path, staging: _Staging) -> None:
    with path.open("rb") as stream:
        start = stream.read(MARK_OFFSET + len(DICOM_MARK))
        if start.startswith(_ZIP_MAGIC):
            stream.seek(0)
            _stage_zip(stream, staging, depth=0)
            return
    staging.count_member()
    if not _wanted(path.name, start, staging):
        return
    target = staging.next_file()
    try:
        target.symlink_to(path.absolute())
    except OSError:  # a file system without links
        shutil.copyfile(path, target)
    staging.files.append(target)


def _stage_zip(stream: BinaryIO, staging: _Staging, *, depth: int) -> None:
    """Unpacks one archive; every member is judged before the first is written."""
    for member in _read_members(stream, staging):
        _stage_member(member, staging, depth)
        del member  # none is held while the next is inflated, so that its memory is used again


def _read_members(stream: BinaryIO, staging: _Staging) -> Iterator[_Member]:
    """Yields the files of an archive, each read when it is asked for; to write them is not tried here.

    Raises:
        ConversionError: The archive is damaged or not safe. A full disk is neither.
    """
    try:
        with zipfile.ZipFile(stream) as archive:
            members = [info for info in archive.infolist() if not info.filename.endswith("/")]
            _check_members(members, staging)
            for number, info in enumerate(members, start=1):
                where = f"file {number} of {len(members)}"
                yield _Member(_content(archive, stream, info), info.filename, where)
    except _DAMAGED as error:
        if isinstance(error, NotImplementedError):
            raise staging.refuse(
                Cause.OTHER_KIND,
                "expected a zip packed by Deflate, found another method such as Deflate64, which Windows takes for "
                "archives over 2 GB. Pack it again with another program, or give the unpacked folder",
            ) from error
        raise staging.refuse(
            Cause.DAMAGED, f"expected a whole zip archive, found a damaged one ({type(error).__name__})"
        ) from error


def _check_members(members: list[zipfile.ZipInfo], staging: _Staging) -> None:
    """Refuses an archive by its contents; names are not repeated, as they may hold a patient's."""
    for number, info in enumerate(members, start=1):
        staging.count_member()
        where = f"file {number} of {len(members)} in the archive"
        if any(map(_leaves_target, {info.filename, info.orig_filename})):
            raise staging.refuse(
                Cause.UNSAFE_ARCHIVE, f"{where} has an absolute name or one that leads out of the target folder"
            )
        if stat.S_ISLNK(info.external_attr >> 16):
            raise staging.refuse(Cause.UNSAFE_ARCHIVE, f"{where} is a link")
        if info.flag_bits & 1:
            raise staging.refuse(Cause.UNSAFE_ARCHIVE, f"{where} is encrypted")
    limits = staging.limits
    unpacked = sum(info.file_size for info in members)
    packed = sum(info.compress_size for info in members)
    if staging.byte_count + unpacked > limits.total_bytes:
        raise staging.refuse(
            Cause.UNSAFE_ARCHIVE, f"expected at most {limits.total_bytes} bytes once unpacked, found more"
        )
    if unpacked > limits.ratio_from_bytes and unpacked > limits.ratio * max(packed, 1):
        raise staging.refuse(
            Cause.UNSAFE_ARCHIVE,
            f"expected at most {limits.ratio:g} unpacked bytes per packed byte, found {unpacked / max(packed, 1):.0f}",
        )
    # the sizes stated here hold: zipfile reads no byte beyond them and compares the checksum
    staging.byte_count += unpacked


def _leaves_target(name: str) -> bool:
    """Whether a name, read as POSIX or as Windows would, is absolute or steps upward."""
    windows = PureWindowsPath(name)
    absolute = name.startswith(("/", "\\")) or bool(windows.drive)
    return absolute or ".." in windows.parts or ".." in PurePosixPath(name).parts


def _content(archive: zipfile.ZipFile, stream: BinaryIO, info: zipfile.ZipInfo) -> bytes:
    """Returns a member's content, which is exactly as long as the table of contents says.

    Deflate is undone by the fast library: unpacking is the largest part of reading a series.
    """
    if info.compress_type != zipfile.ZIP_DEFLATED:
        return archive.read(info)
    with archive.open(info):  # compares the two headers of the member, and leaves the stream behind the second
        stream.seek(info.header_offset + _NAME_LENGTHS)
        name_bytes, extra_bytes = struct.unpack("<2H", stream.read(4))
        stream.seek(name_bytes + extra_bytes, os.SEEK_CUR)
        packed = stream.read(info.compress_size)
    content = inflate_raw(packed, info.file_size)
    if len(content) != info.file_size or checksum(content) != info.CRC:
        raise zipfile.BadZipFile
    return content


def _stage_member(member: _Member, staging: _Staging, depth: int) -> None:
    content = member.content
    if content.startswith(_ZIP_MAGIC):
        if depth:
            raise staging.refuse(
                Cause.UNSAFE_ARCHIVE, f"expected archives nested one level at most, {member.where} is nested deeper"
            )
        _stage_zip(io.BytesIO(content), staging, depth=depth + 1)
    elif _wanted(member.name, content[: MARK_OFFSET + len(DICOM_MARK)], staging):
        target = staging.next_file()
        target.write_bytes(content)
        staging.files.append(target)


def _wanted(name: str, start: bytes, staging: _Staging) -> bool:
    """Whether a file is an instance to stage.

    Raises:
        ConversionError: It is none, and not known as anything else: an instance of the series may be lost.
    """
    if start[MARK_OFFSET:] == DICOM_MARK and PureWindowsPath(name).name.lower() != "dicomdir":
        return True
    if found := lost_instance(name, start):
        raise Refusal(
            Cause.DAMAGED,
            f"{staging.subject}: expected DICOM instances and what is known to lie beside them, found {found} "
            f"(file {staging.member_count}). Fetch the series again, or keep nothing but the series in its folder.",
        )
    staging.ignored_count += 1
    return False
