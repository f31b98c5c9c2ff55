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
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from benchmarks.catalog import Size
from benchmarks.prediction_stages import NETWORKS, masks_of, stages
from benchmarks.prediction_study import (
    CPU,
    SETTINGS,
    SLICES,
    StudySize,
    folders_of,
    make_study,
    models_of,
    test_cases,
    test_images,
)
from benchmarks.results import Column, Results, Row, Table
from cspine_assets.nnunet.dataset import ANNOTATED, FILE_ENDING
from cspine_assets.nnunet.environment import KEPT_MEMORY, child_environment
from cspine_assets.nnunet.prediction import Predictor, mask_path, predict_cases
from cspine_assets.nnunet.process import Supervision
from cspine_assets.nnunet.profiles import Configuration

BUDGET = 3.0
"""Times less CPU than the three commands."""

BUDGET_EXAMS = 200
"""For which the budget holds."""

SIZES: Final[Mapping[Size, tuple[StudySize, ...]]] = MappingProxyType(
    {
        Size.SMALLEST: (StudySize(64, few=1, many=1),),
        Size.USUAL: (StudySize(96, few=2, many=10), StudySize(448, few=2, many=6)),
        Size.LARGE: (StudySize(96, few=4, many=20), StudySize(448, few=3, many=9)),
    }
)
"""The demo's matrix, and the release's usual one."""

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


def _prices(root: Path, size: StudySize) -> dict[str, Price]:
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
    spent: dict[str, float] = json.loads((root / "command.log").read_text().splitlines()[-1])
    return spent


def _prices_table(size: StudySize, prices: Mapping[str, Price]) -> Table:
    ours = prices[OURS].cpu_seconds(BUDGET_EXAMS)
    rows = []
    for name, price in prices.items():
        whole = price.cpu_seconds(BUDGET_EXAMS)
        spent = (
            price.many.seconds,
            price.many.cpu_seconds,
            price.cpu_at_start,
            price.cpu_per_exam,
            whole,
            whole / ours,
        )
        target, met = (BUDGET, whole / ours >= BUDGET) if name == THEIRS else (None, None)
        rows.append(Row(name, (*spent, target), met))
    heads = ("wall s", "CPU s", "CPU s at start", "CPU s per exam", f"CPU s of {BUDGET_EXAMS} exams", "ratio", "target")
    return Table(f"{_title(size)}; masks equal byte for byte", [Column(head) for head in heads], rows)


def _title(size: StudySize) -> str:
    return f"{size.many} exams of {size.matrix} x {size.matrix} x {SLICES}, five folds each"


def _stages_table(size: StudySize, parts: Mapping[str, tuple[float, float]]) -> Table:
    rows = [Row(stage, (*spent, spent[0] / spent[1] if spent[1] else None)) for stage, spent in parts.items()]
    columns = (Column("nnU-Net, CPU s"), Column("ours, CPU s"), Column("ratio", 1))
    return Table(f"{_title(size)}: CPU seconds of each exam, by stage", columns, rows)


def _other_networks(
    size: StudySize, prices: Mapping[str, Price], theirs: Mapping[str, float], ours: Mapping[str, float]
) -> Table:
    """Return what becomes of the ratio with other networks: these cost the same in both ways."""
    cost, our_cost = (prices[way].cpu_seconds(BUDGET_EXAMS) / BUDGET_EXAMS for way in (THEIRS, OURS))
    around, our_around = cost - theirs[NETWORKS], our_cost - ours[NETWORKS]
    rows = [
        Row("ratio without the networks, which a GPU would run", (around / our_around,)),
        Row("ratio if ours cost nothing but the networks", (cost / ours[NETWORKS],)),
        Row(
            f"CPU s of networks for each exam up to which {BUDGET:g} times holds",
            ((around - BUDGET * our_around) / (BUDGET - 1),),
        ),
    ]
    return Table(f"{_title(size)}: with other networks", (Column("value"),), rows)


def _whole(root: Path, size: StudySize) -> Results:
    """Measure whole commands and their stages."""
    prices = _prices(root, size)
    theirs, ours = (_stages(root, way, size.many) for way in ("theirs", "ours"))
    parts = {stage: (seconds, ours[stage]) for stage, seconds in theirs.items()}
    rest = [prices[way].cpu_per_exam - sum(part.values()) for way, part in ((THEIRS, theirs), (OURS, ours))]
    parts["processes, queues, waiting threads (the rest)"] = (rest[0], rest[1])
    voxels = _voxels_of_threads(root, size.many)
    note = (
        f"At {size.matrix} x {size.matrix}, nnU-Net's masks with more threads and with one differ in {voxels} voxels;"
    )
    tables = (_prices_table(size, prices), _stages_table(size, parts), _other_networks(size, prices, theirs, ours))
    return Results(tables, (f"{note} ours are those of one.",))


def _stages_alone(root: Path, size: StudySize) -> Results:
    """Measure the stages in this process, without the eleven processes of whole commands."""
    theirs, ours = (stages(way, root, size.many) for way in ("theirs", "ours"))
    for predictor in Predictor:
        pairs = zip(*(_masks(masks_of(root, way, predictor), size.many) for way in ("theirs", "ours")), strict=True)
        if any(one.read_bytes() != other.read_bytes() for one, other in pairs):
            raise RuntimeError(f"{predictor}: our masks are not nnU-Net's")
    parts = {stage: (seconds, ours[stage]) for stage, seconds in theirs.items()}
    return Results((_stages_table(size, parts),), ("Whole commands are not run at this size; masks are equal.",))


def run(size: Size, folder: Path) -> Results:
    """Measure every study."""
    measure = _stages_alone if size is Size.SMALLEST else _whole
    parts = []
    for study in SIZES[size]:
        root = folder / str(study.matrix)
        make_study(root, study)
        parts.append(measure(root, study))
    return Results(
        tuple(table for part in parts for table in part.tables), tuple(note for part in parts for note in part.notes)
    )


if __name__ == "__main__":
    predict_ours(Path(sys.argv[1]), int(sys.argv[2]))
