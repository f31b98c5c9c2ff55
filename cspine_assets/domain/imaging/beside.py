"""What lies beside the instances of a series, told by its name and first bytes, so that no slice is lost unseen.

Add an ending here when a file is met that belongs to a download and is no slice. Whatever is not known as something
else might be a slice whose bytes are lost, and is refused by ``archive``.
"""

from __future__ import annotations

import re
from pathlib import PureWindowsPath
from typing import Final

from cspine_assets.domain.imaging.folders import TELLS_NOTHING

_NAMES: Final = frozenset(
    ("thumbs.db", "desktop.ini", "dicomdir", "lockfile", "version", "readme", "index", "manifest", "checksums", "notes")
)
_BEGINNINGS: Final = ("license", "licence", "copying", "readme", "md5sum", "sha1sum", "sha256sum", "._")
_ENDINGS: Final = (
    *(".txt", ".md", ".rst", ".log", ".rtf", ".pdf", ".doc", ".docx", ".odt", ".xls", ".xlsx", ".csv", ".tsv"),
    *(".json", ".xml", ".yml", ".yaml", ".toml", ".ini", ".inf", ".cfg", ".htm", ".html", ".css", ".js"),
    *(".jpg", ".jpeg", ".png", ".gif", ".bmp", ".svg", ".ico", ".bval", ".bvec", ".nii", ".mat"),
    *(".md5", ".sha1", ".sha256", ".sha512", ".sfv", ".url", ".lnk", ".exe", ".dll", ".bat", ".sh", ".py", ".db"),
)
_HIDDEN_FOLDERS: Final = frozenset(("__macosx",))
_PACKED: Final = (".gz", ".tgz", ".tar", ".bz2", ".xz", ".zst", ".7z", ".rar", ".zip")
_DICOM_ENDINGS: Final = (".dcm", ".dicom", ".ima", ".mr")

_FIRST_GROUPS: Final = (b"\x08\x00", b"\x02\x00", b"\x00\x08", b"\x00\x02")
"""Groups with which a DICOM file without preamble begins, in either byte order."""


def lost_instance(name: str, start: bytes) -> str | None:
    """Returns why a file without a DICOM mark may be a slice of the series, None where it is known as something else.

    Args:
        name: Its name, with folders where it has some; it may hold a person's, so it is not repeated.
        start: Its first 132 bytes.
    """
    path = PureWindowsPath(name)
    base = path.name.lower()
    if base.startswith(".") or any(part.lower() in _HIDDEN_FOLDERS for part in path.parts):
        return None
    called_dicom = base.endswith(_DICOM_ENDINGS)
    known = base in _NAMES or base.startswith(_BEGINNINGS) or base.endswith((".nii.gz", *_ENDINGS))
    if known and not called_dicom:
        return None
    return _what_it_is(base, start, called_dicom=called_dicom)


def _what_it_is(base: str, start: bytes, *, called_dicom: bool) -> str:
    if not start.strip(b"\0"):
        return f"{'a file of zeros' if start else 'an empty file'}, where a slice may have been"
    if base.endswith((".hdr", ".img", ".hdr.gz", ".img.gz")):
        return "a half of a pair of .hdr and .img (Analyze, or NIfTI in two files); save it as .nii.gz"
    if base.endswith(_PACKED):
        return "a packed file that is no zip, where slices may be; unpack it"
    if _is_without_preamble(start):
        return "a DICOM instance without the 128 bytes and the mark DICM before it; write them (`dcmconv`, `gdcmconv`)"
    if called_dicom or TELLS_NOTHING.fullmatch(base):
        return "a file that is named as a slice and has no DICOM mark: it is cut, damaged or of another kind"
    return "a file that is no DICOM and not known as anything else; take it out of the folder if it is no slice"


def _is_without_preamble(start: bytes) -> bool:
    """Whether bytes begin with an element of group 2 or 8, as old tools wrote DICOM."""
    return start[:2] in _FIRST_GROUPS and bool(re.match(rb"[A-Z]{2}|.{2}\0\0", start[4:8], re.S)) and len(start) > 8
