"""Conversion of 448 x 448 x 15 series: ours with all its checks, beside one shell call per series as it was published.

Change what is asked for only with its reason. Processor time is that of every process that had a part, its start
included; what is converted is synthetic and lies in the page cache for all ways alike.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Final

from benchmarks.catalog import Size
from benchmarks.results import Column, Results, Row, Table
from benchmarks.runner import Processor, cores, end_worker_server, in_a_process
from cspine_assets.domain.dcm2niix import dcm2niix_binary
from cspine_assets.domain.imaging.batch import convert_exams
from cspine_assets.domain.imaging.compression import read_nifti_bytes
from cspine_assets.domain.imaging.conversion import ConversionTask
from cspine_assets.domain.imaging.nifti_header import without_free_text
from cspine_assets.domain.imaging.outcome import Converted
from cspine_assets.domain.imaging.sources import SeriesRequest
from cspine_assets.domain.phantom.cohort import write_cohort
from cspine_assets.domain.phantom.settings import CohortSettings

SLICES = 15


@dataclass(frozen=True)
class Rounds:
    """How often every series is converted, by the published way and by ours, and the rows of its slices."""

    published: int
    ours: int
    matrix: int = 448


ROUNDS: Final[Mapping[Size, Rounds]] = MappingProxyType(
    {Size.SMALLEST: Rounds(1, 1, matrix=64), Size.USUAL: Rounds(4, 140), Size.LARGE: Rounds(16, 560)}
)
"""Every series is converted so often, over what stood there. A shell call costs the same whichever it is; our
processes start once for a cohort, so with nine series there are as many as in the study, 1,260 and not 1,255."""

TIMES_LESS = 4.0
"""So many times less processor time than the published way is asked for."""


@dataclass(frozen=True)
class Cost:
    """What a series cost, in ms: of wall time, and of processor time over all processes."""

    wall_ms: float
    processor_ms: float


def published(series: list[Path], out: Path, program: str, rounds: int) -> int:
    """Converts folder by folder with a shell command each, compressed by dcm2niix, and renames what comes out."""
    aside = out / "aside"
    aside.mkdir(parents=True)
    for _ in range(rounds):
        for folder in series:
            command = [program, "-b", "n", "-z", "y", "-m", "y", "-f", "%j", "-o", str(aside), str(folder)]
            os.system(shlex.join(command) + " > /dev/null")  # noqa: S605 - a shell is the published way
            (made,) = aside.glob("*.nii.gz")
            made.replace(_place(out, folder))
    return rounds * len(series)


def unpacked_and_published(series: list[Path], out: Path, program: str, rounds: int) -> int:
    """Unpacks every archive, as often as it is converted, and goes on as published."""
    for number in range(rounds):
        for path in series:
            with zipfile.ZipFile(path) as archive:
                archive.extractall(out / "unpacked" / str(number) / path.stem)
    return published(sorted((out / "unpacked" / "0").iterdir()), out, program, rounds)


def ours(series: list[Path], out: Path, workers: int, rounds: int) -> int:
    """Converts with every check of headers, identity and result; compresses, hashes, and moves each to its place."""
    tasks = [
        ConversionTask(SeriesRequest(f"{number}-{_uid(path)}", None, _uid(path), SLICES, path), _place(out, path))
        for number in range(rounds)
        for path in series
    ]
    outcomes = convert_exams(tasks, out / "scratch", workers=workers)
    if not all(isinstance(outcome, Converted) for outcome in outcomes):
        raise RuntimeError("expected every series of the phantom to be converted")
    end_worker_server()
    return len(outcomes)


def barest(series: list[Path], out: Path, rounds: int) -> int:
    """Converts all series of a round in one call, neither compressed nor checked nor renamed: nothing can be below."""
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(dir=out.parent) as folder:
            command = [dcm2niix_binary(), "-g", "i", "-b", "n", "-z", "n", "-f", "%j", "-o", folder, series[0].parent]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return rounds * len(series)


def _uid(series: Path) -> str:
    return series.name.removesuffix(".zip")


def _place(out: Path, series: Path) -> Path:
    return out / f"{_uid(series)}.nii.gz"


def _is_usual(path: Path) -> bool:
    """Whether an archive holds one of the usual acquisitions: in every cohort there is a 3-D one of more slices."""
    with zipfile.ZipFile(path) as archive:
        return sum(not member.is_dir() for member in archive.infolist()) == SLICES


def cost_of(work: Callable[..., int], *arguments: object) -> Cost:
    """Run a way of converting and return what a series cost, with all children."""
    start, before = time.perf_counter(), Processor.now()
    count = work(*arguments)
    spent, wall_s = Processor.now().since(before), time.perf_counter() - start
    return Cost(wall_s / count * 1e3, (spent.own_s + spent.children_s) / count * 1e3)


def different_files(ones: Path, others: Path) -> int:
    """Returns how many inflated files differ, the time of day in the header apart: it is removed from ours."""
    different = 0
    for one in sorted(ones.glob("*.nii.gz")):
        plain = [without_free_text(read_nifti_bytes(path, subject="benchmark")) for path in (one, others / one.name)]
        different += (plain[0].head, plain[0].voxels) != (plain[1].head, plain[1].voxels)
    return different


def run(size: Size, folder: Path) -> Results:
    """Write the phantom, convert it in every way, and return what a series costs."""
    rounds = ROUNDS[size]
    zips, folders = _series(folder, rounds.matrix)
    command, program = str(Path(sys.executable).with_name("dcm2niix")), str(dcm2niix_binary())

    def cost(way: Callable[..., int], series: list[Path], out: str, *arguments: object) -> Cost:
        # where times mean nothing, a second of imports for each way is not worth it
        apart = cost_of if size is Size.SMALLEST else partial(in_a_process, cost_of)
        return apart(way, series, folder / out, *arguments)

    theirs = cost(published, folders, "a", command, rounds.published)
    rows = [
        _row("folders, published: the installed command", theirs, theirs),
        _row("folders, published: the bare program", cost(published, folders, "b", program, rounds.published), theirs),
        _row(f"folders, ours, {cores()} workers", cost(ours, folders, "c", cores(), rounds.ours), theirs, TIMES_LESS),
        _row("limit: one call, no gzip, no check", cost(barest, folders, "f", rounds.ours), theirs),
    ]
    zipped = cost(unpacked_and_published, zips, "d", command, rounds.published)
    rows += [
        _row("zips, published: unzip, the installed command", zipped, zipped),
        _row(f"zips, ours, {cores()} workers", cost(ours, zips, "e", cores(), rounds.ours), zipped, TIMES_LESS),
    ]
    columns = (Column("CPU ms", 1), Column("wall ms", 1), Column("cores"), Column("ratio"), Column("target", 1))
    different = [different_files(folder / "a", folder / name) for name in ("c", "e")]
    if any(different):
        raise RuntimeError(f"expected the published volumes, got {different} others from folders and from zips")
    note = f"The volumes of both ways are the same: {len(folders)} from folders and {len(zips)} from zips."
    return Results((Table(f"For each series of {rounds.matrix} x {rounds.matrix} x {SLICES}", columns, rows),), (note,))


def _series(folder: Path, matrix: int) -> tuple[list[Path], list[Path]]:
    """Write the series as archives and as folders."""
    # no fewer series than one call of dcm2niix takes: the same one twice in a call is converted alone
    cohort = CohortSettings(patients=8, seed=1, matrix=matrix, slices_min=SLICES, slices_max=SLICES)
    write_cohort(folder / "download", cohort)
    zips = [path for path in sorted((folder / "download").rglob("case_image/**/*.zip")) if _is_usual(path)]
    for path in zips:
        with zipfile.ZipFile(path) as archive:
            archive.extractall(folder / "series" / path.stem)
    return zips, sorted((folder / "series").iterdir())


def _row(name: str, cost: Cost, theirs: Cost, target: float | None = None) -> Row:
    ratio = theirs.processor_ms / cost.processor_ms
    values = (cost.processor_ms, cost.wall_ms, cost.processor_ms / cost.wall_ms, ratio, target)
    return Row(name, values, None if target is None else ratio >= target)
