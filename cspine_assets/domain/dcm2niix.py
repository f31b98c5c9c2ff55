"""The dcm2niix program of the installed wheel: where it is, which version, and one run of it.

Add here what is true of every run of dcm2niix: its options, its environment, its limits of time.
Judging what came out of a run belongs to the wing that asked for it, never here.
"""

from __future__ import annotations

import importlib
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cspine_assets.domain.errors import ConversionError

OPTIONS: Final[tuple[str, ...]] = ("-g", "i", "-b", "n", "-z", "n", "-m", "y")
"""Ignore the user's own defaults file, no sidecar, no compression, merge a series whatever its echo or time.

The published conversion used ``-b n -z y -m y``. Compressing afterwards gives the same bytes once inflated and
costs a fraction of the time; a defaults file in somebody's home folder must not move a voxel.
"""

_TUNABLES: Final = "GLIBC_TUNABLES"
_MEMORY: Final = "glibc.malloc.mmap_threshold=33554432:glibc.malloc.trim_threshold=1073741824:glibc.malloc.hugetlb=1"
"""Memory that it has freed is used again, and taken in large pages. It takes memory for every picture anew, and to have
that cleared page by page by the system is a fifth of its processor time: 5.0 ms a series of 448 x 448 x 15 with this,
6.2 without. Other C libraries than glibc do not read it."""


@dataclass(frozen=True)
class FinishedRun:
    """What one run of dcm2niix said; its return code alone proves neither success nor failure."""

    return_code: int
    output: str


def dcm2niix_binary() -> Path:
    """Returns the path of the executable inside the installed ``dcm2niix`` package.

    Raises:
        ConversionError: The package is not installed, or its executable is missing.
    """
    advice = "Install it with `pip install 'dcm2niix>=1.0.20260724'`."
    try:
        binary = Path(str(importlib.import_module("dcm2niix").bin))
    except (ImportError, AttributeError) as error:
        raise ConversionError(f"The package `dcm2niix` is needed to convert DICOM series. {advice}") from error
    executable = next((path for path in (binary, binary.with_suffix(".exe")) if path.is_file()), None)
    if executable is None or not os.access(executable, os.X_OK):
        raise ConversionError(f"Expected the executable of `dcm2niix` at {binary}; none is there. {advice}")
    return executable


def dcm2niix_version() -> str:
    """Returns the version that the executable itself reports, such as ``v1.0.20260724``.

    Raises:
        ConversionError: The executable is missing, or reports no version.
    """
    finished = _run([str(dcm2niix_binary()), "--version"], timeout_s=60)
    lines = finished.output.split()
    version = next((word for word in reversed(lines) if word.startswith("v1.")), None)
    if version is None:
        raise ConversionError(f"Expected a version from dcm2niix, got {finished.output[:200]!r}. Reinstall it.")
    return version


def run_dcm2niix(
    source_folder: Path, destination_folder: Path, name_pattern: str, *, timeout_s: float = 3600
) -> FinishedRun:
    """Converts every series below a folder to uncompressed NIfTI and returns what the program said.

    Args:
        source_folder: Searched five folders deep; may hold many series.
        destination_folder: Existing folder, best a fresh one: dcm2niix renames rather than overwrites.
        name_pattern: dcm2niix's own pattern of file names, such as ``%j`` for the SeriesInstanceUID.
        timeout_s: The run is ended after so many seconds.

    Raises:
        ConversionError: The executable is missing or cannot be started, or the run took too long. A return code
            other than 0 is not raised: the caller compares the files with the headers.
    """
    arguments = [str(dcm2niix_binary()), *OPTIONS, "-f", name_pattern]
    return _run([*arguments, "-o", str(destination_folder), str(source_folder)], timeout_s=timeout_s)


def _run(arguments: Sequence[str], timeout_s: float) -> FinishedRun:
    try:
        finished = subprocess.run(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
            # what the user has set comes last, and so holds
            env={**os.environ, _TUNABLES: f"{_MEMORY}:{os.environ.get(_TUNABLES, '')}".rstrip(":")},
        )
    except subprocess.TimeoutExpired as error:
        raise ConversionError(
            f"dcm2niix took more than {timeout_s:g} s on {arguments[-1]}. Look for damaged files there."
        ) from error
    except OSError as error:
        raise ConversionError(f"{arguments[0]} cannot be started: {error}. Reinstall `dcm2niix`.") from error
    return FinishedRun(finished.returncode, finished.stdout)
