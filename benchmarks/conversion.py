"""Conversion of 448 x 448 x 15 series: ours with all its checks, beside one shell call per series as it was published.

Change what is asked for only with its reason. Processor time is that of every process that had a part, its start
included; what is converted is synthetic and lies in the page cache for all ways alike.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.forkserver
import os
import resource
import shlex
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from cspine_assets.domain.dcm2niix import dcm2niix_binary
from cspine_assets.domain.imaging.batch import convert_exams
from cspine_assets.domain.imaging.compression import read_nifti_bytes
from cspine_assets.domain.imaging.conversion import ConversionTask
from cspine_assets.domain.imaging.nifti_header import without_free_text
from cspine_assets.domain.imaging.outcome import Converted
from cspine_assets.domain.imaging.sources import SeriesRequest

SLICES = 15
PUBLISHED_ROUNDS, ROUNDS = 4, 140
"""Every series is converted so often, over what stood there. A shell call costs the same whichever it is; our
processes start once for a cohort, so with nine series there are as many as in the study, 1,260 and not 1,255."""

TIMES_LESS = 4.0
"""So many times less processor time than the published way is asked for."""


@dataclass(frozen=True)
class Cost:
    """What a series cost, in ms: of wall time, and of processor time over all processes."""

    wall_ms: float
    processor_ms: float


def published(series: list[Path], out: Path, program: str) -> int:
    """Converts folder by folder with a shell command each, compressed by dcm2niix, and renames what comes out."""
    aside = out / "aside"
    aside.mkdir(parents=True)
    for _ in range(PUBLISHED_ROUNDS):
        for folder in series:
            command = [program, "-b", "n", "-z", "y", "-m", "y", "-f", "%j", "-o", str(aside), str(folder)]
            os.system(shlex.join(command) + " > /dev/null")  # noqa: S605 - a shell is the published way
            (made,) = aside.glob("*.nii.gz")
            made.replace(_place(out, folder))
    return PUBLISHED_ROUNDS * len(series)


def unpacked_and_published(series: list[Path], out: Path, program: str) -> int:
    """Unpacks every archive, as often as it is converted, and goes on as published."""
    for number in range(PUBLISHED_ROUNDS):
        for path in series:
            with zipfile.ZipFile(path) as archive:
                archive.extractall(out / "unpacked" / str(number) / path.stem)
    return published(sorted((out / "unpacked" / "0").iterdir()), out, program)


def ours(series: list[Path], out: Path, workers: int) -> int:
    """Converts with every check of headers, identity and result; compresses, hashes, and moves each to its place."""
    tasks = [
        ConversionTask(SeriesRequest(f"{number}-{_uid(path)}", None, _uid(path), SLICES, path), _place(out, path))
        for number in range(ROUNDS)
        for path in series
    ]
    outcomes = convert_exams(tasks, out / "scratch", workers=workers)
    if not all(isinstance(outcome, Converted) for outcome in outcomes):
        raise RuntimeError("expected every series of the phantom to be converted")
    # the server of worker processes, and all that it has waited for, counts once it has been waited for itself
    multiprocessing.forkserver._forkserver._stop()  # type: ignore[attr-defined]
    return len(outcomes)


def barest(series: list[Path], out: Path) -> int:
    """Converts all series of a round in one call, neither compressed nor checked nor renamed: nothing can be below."""
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory(dir=out.parent) as folder:
            command = [dcm2niix_binary(), "-g", "i", "-b", "n", "-z", "n", "-f", "%j", "-o", folder, series[0].parent]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return ROUNDS * len(series)


def _uid(series: Path) -> str:
    return series.name.removesuffix(".zip")


def _place(out: Path, series: Path) -> Path:
    return out / f"{_uid(series)}.nii.gz"


def _is_usual(path: Path) -> bool:
    """Whether an archive holds one of the usual acquisitions: in every cohort there is a 3-D one of more slices."""
    with zipfile.ZipFile(path) as archive:
        return sum(not member.is_dir() for member in archive.infolist()) == SLICES


def cost_of(work: Callable[..., int], *arguments: object) -> Cost:
    """Runs a way of converting in a process of its own and returns what a series cost, with all its children."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=_run, args=(sender, work, arguments))
    process.start()
    sender.close()
    cost: Cost = receiver.recv()
    process.join()
    return cost


def _run(sender: Connection, work: Callable[..., int], arguments: tuple[object, ...]) -> None:
    start, before = time.perf_counter(), _processor_s()
    count = work(*arguments)
    wall_s, processor_s = time.perf_counter() - start, _processor_s() - before
    sender.send(Cost(wall_s / count * 1e3, processor_s / count * 1e3))


def _processor_s() -> float:
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in spent)


def different_files(ones: Path, others: Path) -> int:
    """Returns how many inflated files differ, the time of day in the header apart: it is removed from ours."""
    different = 0
    for one in sorted(ones.glob("*.nii.gz")):
        plain = [without_free_text(read_nifti_bytes(path, subject="benchmark")) for path in (one, others / one.name)]
        different += (plain[0].head, plain[0].voxels) != (plain[1].head, plain[1].voxels)
    return different


def main() -> None:
    """Writes the phantom, converts it in every way, and prints what a series costs."""
    # every worker process imports this module anew, and no worker needs a phantom
    from cspine_assets.domain.phantom.cohort import write_cohort  # noqa: PLC0415
    from cspine_assets.domain.phantom.settings import CohortSettings  # noqa: PLC0415

    # no fewer series than one call of dcm2niix takes: the same one twice in a call is converted alone
    cohort = CohortSettings(patients=8, seed=1, matrix=448, slices_min=SLICES, slices_max=SLICES)
    with tempfile.TemporaryDirectory(prefix="cspine-bench-") as folder:
        root = Path(folder)
        write_cohort(root / "download", cohort)
        zips = [path for path in sorted((root / "download").rglob("case_image/**/*.zip")) if _is_usual(path)]
        for path in zips:
            with zipfile.ZipFile(path) as archive:
                archive.extractall(root / "series" / path.stem)
        folders = sorted((root / "series").iterdir())
        command, program = str(Path(sys.executable).with_name("dcm2niix")), str(dcm2niix_binary())
        cores = len(os.sched_getaffinity(0))
        costs = {
            "folders, published: the installed command": cost_of(published, folders, root / "a", command),
            "folders, published: the bare program": cost_of(published, folders, root / "b", program),
            f"folders, ours, {cores} workers": cost_of(ours, folders, root / "c", cores),
            "zips, published: unzip, the installed command": cost_of(unpacked_and_published, zips, root / "d", command),
            f"zips, ours, {cores} workers": cost_of(ours, zips, root / "e", cores),
            "barest: one call, no gzip, no check": cost_of(barest, folders, root / "f"),
        }
        _print_costs(costs)
        print(f"inflated files that differ: {different_files(root / 'a', root / 'c')} from folders,", end=" ")
        print(f"{different_files(root / 'a', root / 'e')} from zips, of {len(folders)} each")


def _print_costs(costs: dict[str, Cost]) -> None:
    print(f"per series of 448 x 448 x {SLICES}{'':<21}{'cpu ms':>8}{'wall ms':>9}{'cores':>7}{'times less cpu':>16}")
    published_ms: dict[str, float] = {}
    for name, cost in costs.items():
        source = "zips" if name.startswith("zips") else "folders"
        if "published" in name:
            published_ms[source] = cost.processor_ms
        less = published_ms[source] / cost.processor_ms
        missed = f"  UNDER {TIMES_LESS:g}" if "ours" in name and less < TIMES_LESS else ""
        spent = f"{cost.processor_ms:>8.1f}{cost.wall_ms:>9.1f}{cost.processor_ms / cost.wall_ms:>7.2f}"
        print(f"{name:<49}{spent}{less:>16.2f}{missed}")


if __name__ == "__main__":
    main()
