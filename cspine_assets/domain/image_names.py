"""Names of image files: their endings, and the name of the case that they stand for.

Every door that takes a folder of images pairs and passes over files by these rules. Add an ending here when people
bring files of a new kind. What is in a file is not looked at here.
"""

from __future__ import annotations

import unicodedata
from typing import Final

NIFTI_ENDINGS: Final = (".nii.gz", ".nii")
_OTHER_IMAGES: Final = {
    ".hdr": "a pair of .hdr and .img (Analyze, or NIfTI in two files)",
    ".hdr.gz": "a pair of .hdr and .img (Analyze, or NIfTI in two files)",
    ".mha": "MetaImage",
    ".mhd": "MetaImage",
    ".nrrd": "NRRD",
    ".nhdr": "NRRD",
    ".mgz": "FreeSurfer's MGH",
    ".mgh": "FreeSurfer's MGH",
    ".mnc": "MINC",
    ".nii.zip": "a zipped NIfTI",
    ".nii.bz2": "a NIfTI packed with bzip2",
    ".nii.xz": "a NIfTI packed with xz",
    ".nii.zst": "a NIfTI packed with zstd",
}
"""Images of other kinds: they are taken for cases, so that each is refused by its name and none is passed over."""


def without_ending(name: str) -> str | None:
    """Returns a file's name without the ending of an image, in composed Unicode; None where it is no image's name.

    Endings count in any case. Names count in normalization form C: macOS writes an umlaut as two characters, Linux and
    Windows as one.
    """
    low = name.lower()
    ending = next((known for known in (*NIFTI_ENDINGS, *_OTHER_IMAGES) if low.endswith(known)), None)
    if ending is None or name.startswith(".") or len(name) == len(ending):
        return None
    return unicodedata.normalize("NFC", name[: -len(ending)])


def is_nifti_name(name: str) -> bool:
    """Whether a name is that of a single-file NIfTI, by its ending in any case."""
    return name.lower().endswith(NIFTI_ENDINGS)


def refusal_of_ending(name: str) -> str | None:
    """Returns why a file of this name is not read, None for a NIfTI and for an ending that says nothing."""
    found = next((kind for ending, kind in _OTHER_IMAGES.items() if name.lower().endswith(ending)), None)
    return None if found is None else f"expected a NIfTI file (.nii.gz or .nii), found {found}. Save it as .nii.gz."
