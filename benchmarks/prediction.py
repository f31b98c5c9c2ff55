"""Prediction by 2d, 3d_fullres and their ensemble: ours against nnU-Net's three commands, on the same files and models.

Change a way only with its reason; the study that they all predict stands in ``prediction_study``. CPU time is that of
whole process trees, interpreters and imports included; two runs, of few exams and of many, part the cost of the start
from that of an exam.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from benchmarks.prediction_study import (
    CPU,
    SETTINGS,
    SLICES,
    Size,
    folders_of,
    make_study,
    models_of,
    test_cases,
    test_images,
)
from cspine_assets.nnunet.dataset import ANNOTATED, FILE_ENDING
from cspine_assets.nnunet.environment import KEPT_MEMORY, child_environment
from cspine_assets.nnunet.prediction import Predictor, mask_path, predict_cases
from cspine_assets.nnunet.process import Supervision
from cspine_assets.nnunet.profiles import Configuration

BUDGET = 3.0
"""Times less CPU than the three commands."""

BUDGET_EXAMS = 200
"""For which the budget holds."""

SIZES = (Size(96, few=4, many=20), Size(448, few=3, many=9))
"""The demo's matrix, and the release's usual one."""

NETWORKS = "networks"
THEIRS = "nnU-Net's three commands, as they come"
THEIRS_FRUGAL = "the same with one worker everywhere"
OURS = "in memory, one child"
_BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Spent:
    """What commands cost together.

    Attributes:
        seconds: Wall time.
        cpu_seconds: Of all processes.
    """

    seconds: float
    cpu_seconds: float


@dataclass(frozen=True)
class Price:
    """What a way costs, from two runs.

    Attributes:
        many: The run of many exams.
        cpu_per_exam: CPU seconds.
        cpu_at_start: CPU seconds that no exam adds to.
    """

    many: Spent
    cpu_per_exam: float
    cpu_at_start: float

    def cpu_seconds(self, exams: int) -> float:
        """Of a run of so many exams."""
        return self.cpu_at_start + exams * self.cpu_per_exam


def predict_ours(root: Path, count: int) -> None:
    """Predicts test cases of a study as the platform does."""
    result = predict_cases(
        models_of(root),
        test_cases(root, count),
        root / f"ours_{count}",
        settings=SETTINGS,
        postprocessing={},
        slot=CPU,
        supervision=Supervision(log_path=root / "logs" / f"predict_{count}.log", on_message=lambda _: None),
    )
    if result.failed:
        raise RuntimeError(f"cases failed: {result.failed}")


def _commands(root: Path, count: int, workers: int | None) -> list[list[str]]:
    """Returns nnU-Net's three commands, with its own numbers of workers or with one everywhere."""
    images, out = test_images(root, count), _their_folder(root, count, workers)
    how = ["-d", str(ANNOTATED.number), "--save_probabilities", "--disable_tta", "-device", "cpu"]
    predict_workers = [] if workers is None else ["-npp", str(workers), "-nps", str(workers)]
    ensemble_workers = [] if workers is None else ["-np", str(workers)]
    predict = [
        [str(_BIN / "nnUNetv2_predict"), "-i", str(images), "-o", str(out / name), "-c", name, *how, *predict_workers]
        for name in Configuration
    ]
    folders = [str(out / name) for name in Configuration]
    ensemble = [str(_BIN / "nnUNetv2_ensemble"), "-i", *folders, "-o", str(out / "ensemble"), *ensemble_workers]
    return [*predict, ensemble]


def _their_folder(root: Path, count: int, workers: int | None) -> Path:
    return root / f"theirs_{count}_{workers or 'usual'}"


def _spent(commands: Sequence[Sequence[str]], environment: Mapping[str, str], log_path: Path) -> Spent:
    """Runs commands one after the other and returns what they and all their children cost."""
    began, cpu = time.perf_counter(), 0.0
    for command in commands:
        with log_path.open("wb") as log:
            process = subprocess.Popen(list(command), env=dict(environment), stdout=log, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said = log_path.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{command[0]} ended with status {process.returncode}: {said}")
        cpu += usage.ru_utime + usage.ru_stime
    return Spent(time.perf_counter() - began, cpu)


def _require_equal(root: Path, count: int) -> None:
    """Makes sure that both ways wrote the same bytes, and not for want of anything to write.

    nnU-Net's commands are those with one thread, as ours has: at another number of threads torch adds in another order.
    """
    for predictor in Predictor:
        theirs = _masks(_their_folder(root, count, workers=1) / predictor, count)
        for path in theirs:
            ours = mask_path(root / f"ours_{count}", predictor, path.name.removesuffix(FILE_ENDING))
            if ours.read_bytes() != path.read_bytes():
                raise RuntimeError(f"{predictor} {path.name}: our mask is not nnU-Net's")
        if not any(_labels(path).any() for path in theirs):
            raise RuntimeError(f"{predictor}: all masks are empty, and equal to any other empty mask")


def _voxels_of_threads(root: Path, count: int) -> int:
    """Counts voxels in which nnU-Net's masks differ from its own at another number of threads."""
    folders = [_their_folder(root, count, workers) for workers in (None, 1)]
    pairs = [
        pair
        for predictor in Predictor
        for pair in zip(*(_masks(folder / predictor, count) for folder in folders), strict=True)
    ]
    return sum(int(np.count_nonzero(_labels(one) != _labels(other))) for one, other in pairs)


def _masks(folder: Path, count: int) -> list[Path]:
    masks = sorted(folder.glob(f"*{FILE_ENDING}"))
    if len(masks) != count:
        raise RuntimeError(f"{folder}: expected {count} masks of nnU-Net, found {len(masks)}")
    return masks


def _labels(mask: Path) -> NDArray[np.uint8]:
    return np.asanyarray(nib.load(mask).dataobj)


def _prices(root: Path, size: Size) -> dict[str, Price]:
    """Runs every way on few exams and on many."""
    frugal = child_environment(folders_of(root), workers=1, augmentation_workers=1)
    usual = os.environ | {name: frugal[name] for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}
    log = root / "command.log"

    def price(few: Spent, many: Spent) -> Price:
        per_exam = (many.cpu_seconds - few.cpu_seconds) / (size.many - size.few)
        return Price(many, per_exam, many.cpu_seconds - size.many * per_exam)

    def theirs(workers: int | None, environment: Mapping[str, str]) -> Price:
        few, many = (_spent(_commands(root, count, workers), environment, log) for count in (size.few, size.many))
        return price(few, many)

    this = [sys.executable, "-m", "benchmarks.prediction", str(root)]
    few, many = (_spent([[*this, str(count)]], os.environ, log) for count in (size.few, size.many))
    prices = {THEIRS: theirs(None, usual), THEIRS_FRUGAL: theirs(1, frugal), OURS: price(few, many)}
    _require_equal(root, size.many)
    return prices


def _stages(root: Path, way: str, count: int) -> dict[str, float]:
    """CPU seconds per exam by stage, of one process with one thread."""
    environment = child_environment(folders_of(root), workers=1, augmentation_workers=1)
    command = [sys.executable, "-m", "benchmarks.prediction_stages", way, str(root), str(count)]
    _spent([command], environment | (KEPT_MEMORY if way == "ours" else {}), root / "command.log")
    spent: dict[str, float] = json.loads((root / f"stages_{way}.json").read_text())
    return spent


def _print_prices(size: Size, prices: Mapping[str, Price]) -> None:
    ours = prices[OURS]
    print(f"{size.many} exams of {size.matrix} x {size.matrix} x {SLICES}, five folds each; masks equal byte for byte")
    heads = f"{'wall s':>8}{'CPU s':>8}{'at start':>10}{'per exam':>10}"
    print(f"  {'way':<42}{heads}{f'at {BUDGET_EXAMS}':>8}{'/ ours':>8}")
    for name, price in prices.items():
        spent = f"{price.many.seconds:>8.1f}{price.many.cpu_seconds:>8.1f}{price.cpu_at_start:>10.1f}"
        whole = price.cpu_seconds(BUDGET_EXAMS)
        ratio = whole / ours.cpu_seconds(BUDGET_EXAMS)
        print(f"  {name:<42}{spent}{price.cpu_per_exam:>10.2f}{whole:>8.0f}{ratio:>8.2f}")


def _print_stages(prices: Mapping[str, Price], theirs: Mapping[str, float], ours: Mapping[str, float]) -> None:
    print(f"  {'CPU s per exam, by stage':<52}{'commands':>10}{'ours':>10}")
    for stage, seconds in theirs.items():
        print(f"  {stage:<52}{seconds:>10.2f}{ours[stage]:>10.2f}")
    rest = [prices[way].cpu_per_exam - sum(part.values()) for way, part in ((THEIRS, theirs), (OURS, ours))]
    print(f"  {'processes, queues, waiting threads (the rest)':<52}{rest[0]:>10.2f}{rest[1]:>10.2f}")


def _print_verdict(prices: Mapping[str, Price], theirs: Mapping[str, float], ours: Mapping[str, float]) -> None:
    """Prints the ratio, and what becomes of it with other networks: these cost the same in both."""
    cost, our_cost = (prices[way].cpu_seconds(BUDGET_EXAMS) / BUDGET_EXAMS for way in (THEIRS, OURS))
    around, our_around = cost - theirs[NETWORKS], our_cost - ours[NETWORKS]
    ratio, limit = cost / our_cost, (around - BUDGET * our_around) / (BUDGET - 1)
    print(f"  at least {BUDGET:g} times less CPU: {'reached' if ratio >= BUDGET else 'NOT REACHED'} ({ratio:.2f})")
    print(f"  without the networks, which a GPU would run: {around / our_around:.2f}")
    print(f"  if nothing but the networks cost us anything: {cost / ours[NETWORKS]:.2f}")
    print(f"  {BUDGET:g} times holds for networks of up to {limit:.1f} CPU s an exam, the same in both ways")


def _measure(size: Size) -> None:
    with tempfile.TemporaryDirectory(prefix="cspine-bench-") as folder:
        root = Path(folder)
        make_study(root, size)
        prices = _prices(root, size)
        theirs, ours = (_stages(root, way, size.many) for way in ("theirs", "ours"))
        voxels = _voxels_of_threads(root, size.many)
    _print_prices(size, prices)
    print(
        f"  masks of nnU-Net's two ways, of more threads and of one, differ in {voxels} voxels; ours are those of one"
    )
    _print_stages(prices, theirs, ours)
    _print_verdict(prices, theirs, ours)


def main() -> None:
    """Measures every size."""
    for size in SIZES:
        _measure(size)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        predict_ours(Path(sys.argv[1]), int(sys.argv[2]))
    else:
        main()
