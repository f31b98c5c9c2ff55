"""Calls of dcm2niix for several series at once: whose file is whose, and whose warning.

Add here what is learnt about the files and the words of dcm2niix. Whether a file is right is decided by
``verification``; how the program is started stands on the ground.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from cspine_assets.domain.dcm2niix import dcm2niix_version, run_dcm2niix
from cspine_assets.domain.errors import ConversionError

_BY_SERIES_UID: Final = "%j"
_UID = re.compile(r"\d[\d.]{0,63}")
_CONVERTED = re.compile(r"Convert \d+ DICOM as (?P<path>.*) \(\d+(x\d+)+\)")
_TIMEOUT_S: Final = 600
"""A large 3-D series takes seconds; minutes mean a damaged one."""


@dataclass(frozen=True)
class Produced:
    """What one series came to in a call.

    Attributes:
        files: NIfTI files, of which there should be one.
        warnings: What the program said about it, each once, without file names and quoted values.
    """

    files: tuple[Path, ...]
    warnings: tuple[str, ...]


@cache
def converter_name() -> str:
    """Returns tool and version, such as ``dcm2niix v1.0.20260724``.

    Raises:
        ConversionError: The tool is not installed.
    """
    return f"dcm2niix {dcm2niix_version()}"


def convert_alone(series_folder: Path, output: Path) -> Produced:
    """Converts one series by itself; every file that comes out is its own.

    Args:
        series_folder: Holds the instances and nothing else.
        output: Created here.

    Raises:
        ConversionError: The program cannot be started or does not end.
    """
    output.mkdir(parents=True)
    said = run_dcm2niix(series_folder, output, _BY_SERIES_UID, timeout_s=_TIMEOUT_S).output
    warnings = tuple(dict.fromkeys(_cleaned(line) for line in said.splitlines() if _is_warning(line)))
    return Produced(tuple(sorted(output.glob("*.nii"))), warnings)


def convert_call(series_folder: Path, uids: Mapping[str, str], output: Path) -> dict[str, Produced]:
    """Converts several series in one call.

    Series that the call cannot tell apart (a UID that stands twice, or is none) are left out of the answer,
    and so is every series when the program does not end well: they are to be converted alone.

    Args:
        series_folder: Holds a folder per series.
        uids: SeriesInstanceUID of each series, by the name of its folder.
        output: Created here.
    """
    counts = Counter(uids.values())
    apart = {name: uid for name, uid in uids.items() if counts[uid] == 1 and _UID.fullmatch(uid)}
    output.mkdir(parents=True)
    try:
        said = run_dcm2niix(series_folder, output, _BY_SERIES_UID, timeout_s=_TIMEOUT_S).output
    except ConversionError:
        return {}
    files = sorted(output.glob("*.nii"))
    warnings = _warnings_by_owner(said, apart)
    return {
        name: Produced(tuple(file for file in files if _is_named_after(file.name, uid)), warnings[name])
        for name, uid in apart.items()
    }


def _is_named_after(file_name: str, uid: str) -> bool:
    """Whether a file is a series' own: its UID, then what dcm2niix appends (``a``, ``_e1``, ``_Eq_1``).

    One UID may be the beginning of another.
    """
    return re.fullmatch(re.escape(uid) + r"([A-Za-z_].*)?\.nii", file_name) is not None


def _warnings_by_owner(said: str, uids: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Gives each remark to the series whose file it names, or else to the one that is converted next."""
    found: dict[str, dict[str, None]] = {name: {} for name in uids}
    waiting: list[str] = []
    for line in said.splitlines():
        converted = _CONVERTED.match(line)
        if converted:
            stem = Path(converted["path"]).name + ".nii"
            owner = next((name for name, uid in uids.items() if _is_named_after(stem, uid)), None)
            found.get(owner or "", {}).update(dict.fromkeys(waiting))
            waiting = []
        elif _is_warning(line):
            owner = next((name for name in uids if f"/{name}/" in line), None)
            if owner is None:
                waiting.append(_cleaned(line))
            else:
                found[owner][_cleaned(line)] = None
    return {name: tuple(lines) for name, lines in found.items()}


def _is_warning(line: str) -> bool:
    return line.startswith(("Warning", "Error", "DICOM appears corrupt", "Unsupported", "Unable"))


def _cleaned(line: str) -> str:
    """Drops quoted values and paths from a remark: they lead to a person, or change from run to run."""
    line = re.sub(r"'[^']*'|\"[^\"]*\"", "", line)
    line = re.sub(r"\S*/\S*", "", line)
    return " ".join(line.split())[:200].replace("|", "/")
