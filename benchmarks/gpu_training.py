"""Trainings at once on one device against nnU-Net's own command one after the other: epochs an hour, and what it takes.

Without a GPU it is small and uses the CPU.
It needs no data but the phantom. The stock trainer is started by a script, because the stock command knows no shorter
training than a thousand epochs; its recipe, its class and its loaders are untouched, and it skips the validation that
ours does. What a training may cost beside the stock trainer's epoch is measured too, epoch by epoch in one process.
How trainings are run stands in ``cspine_assets.nnunet``.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np
import psutil

from benchmarks.catalog import Size
from benchmarks.results import Column, Results, Row, Table, Value
from benchmarks.runner import cores
from cspine_assets.domain.phantom.cohort import write_cohort
from cspine_assets.domain.phantom.settings import CohortSettings
from cspine_assets.nnunet.dataset import ANNOTATED, Case, write_raw_dataset
from cspine_assets.nnunet.devices import Slot, training_slots
from cspine_assets.nnunet.environment import NnunetFolders, child_environment
from cspine_assets.nnunet.messages import EpochFinished
from cspine_assets.nnunet.plans import Plans, Split, plan_and_preprocess
from cspine_assets.nnunet.process import Supervision
from cspine_assets.nnunet.profiles import DEMO, FULL, Configuration, Profile
from cspine_assets.nnunet.training import Crew, train_fold

PROJECT = Path(__file__).resolve().parents[1]
"""For the stock trainer's process to import from; not this folder, whose names hide modules of Python's own."""

OVERHEAD_LIMIT = 0.03
"""Of a stock epoch: more would be a reason to train without us."""

SAMPLE_S = 1.0


@dataclass(frozen=True)
class Load:
    """What was in use while trainings ran, as means over samples; NaN where nobody tells."""

    gpu_percent: float
    gpu_memory_mb: float
    cpu_cores: float
    memory_mb: float


@dataclass(frozen=True)
class Throughput:
    """One line of the table."""

    how: str
    at_once: int
    epochs: int
    seconds: float
    epoch_seconds: float
    load: Load

    @property
    def epochs_an_hour(self) -> float:
        """Over the whole time, starts of processes included."""
        return 3600 * self.epochs / self.seconds


@dataclass
class Meter:
    """Samples GPU, cores and memory of this process and all below it."""

    gpu: str | None
    samples: list[tuple[float, float, float, float]] = field(default_factory=list)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Samples until the block ends."""
        end = threading.Event()
        thread = threading.Thread(target=self._run, args=(end,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            end.set()
            thread.join()

    def load(self) -> Load:
        """Means over all samples."""
        if not self.samples:
            return Load(*[float("nan")] * 4)
        return Load(
            *(
                float(np.nanmean(column)) if not np.all(np.isnan(column)) else float("nan")
                for column in np.array(self.samples).T
            )
        )

    def _run(self, end: threading.Event) -> None:
        before, then = self._cpu_seconds(), time.monotonic()
        while not end.wait(SAMPLE_S):
            now, cpu = time.monotonic(), self._cpu_seconds()
            gpu, gpu_memory = self._gpu()
            self.samples.append((gpu, gpu_memory, max(0.0, cpu - before) / (now - then), self._memory_mb()))
            before, then = cpu, now

    @staticmethod
    def _family() -> list[psutil.Process]:
        me = psutil.Process()
        return [me, *me.children(recursive=True)]

    def _cpu_seconds(self) -> float:
        return self._sum(lambda process: sum(process.cpu_times()[:2]))

    def _memory_mb(self) -> float:
        return self._sum(lambda process: process.memory_info().rss / 1e6)

    def _sum(self, of: Callable[[psutil.Process], float]) -> float:
        total = 0.0
        for process in self._family():
            try:
                total += of(process)
            except psutil.NoSuchProcess:
                continue
        return total

    def _gpu(self) -> tuple[float, float]:
        tool = shutil.which("nvidia-smi")
        if self.gpu is None or tool is None:
            return float("nan"), float("nan")
        query = ["--query-gpu=utilization.gpu,memory.used", "--format=csv,noheader,nounits", "-i", self.gpu]
        asked = subprocess.run([tool, *query], capture_output=True, text=True, check=False)
        try:
            percent, memory = (float(value) for value in asked.stdout.split(","))
        except ValueError:
            return float("nan"), float("nan")
        return percent, memory


@dataclass(frozen=True)
class Bench:
    """A planned dataset, the way it is trained, and the device."""

    root: Path
    plans: Plans
    profile: Profile
    slot: Slot
    workers: int

    @property
    def folders(self) -> NnunetFolders:
        """nnU-Net's three folders."""
        return NnunetFolders.under(self.root / "nnunet")


def prepare(root: Path, profile: Profile, *, patients: int, matrix: int, slot: Slot, workers: int) -> Bench:
    """Writes a phantom cohort and lets nnU-Net plan and preprocess it."""
    download = root / "download"
    write_cohort(download, CohortSettings(patients=patients, seed=1, matrix=matrix, expert_fraction=1.0))
    images = {path.name.removesuffix(".nii.gz"): path for path in (download / "DukeCSpineSeg_annotation").iterdir()}
    masks = {
        path.name.removesuffix(".nii.gz").removesuffix("_SEG"): path
        for path in (download / "DukeCSpineSeg_segmentation").iterdir()
    }
    names = sorted(images.keys() & masks.keys())
    cases = [Case(case_id=name, part="train", image=images[name], label=masks[name]) for name in names]
    folders = NnunetFolders.under(root / "nnunet")
    write_raw_dataset(folders.raw, ANNOTATED, cases)
    # a thin validation: what is measured is epochs
    splits = [Split(train=tuple(n for n in names if n != held), val=(held,)) for held in names]
    plans = plan_and_preprocess(
        folders,
        ANNOTATED,
        splits,
        profile=profile,
        workers=workers,
        supervision=Supervision(log_path=root / "plan.log", on_message=lambda _: None),
    )
    return Bench(root, plans, profile, slot, workers)


STOCK = """
import json, sys, time
from pathlib import Path
import torch
from nnunetv2.run.run_training import get_trainer_from_args
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from cspine_assets.nnunet.children.trainer import SupervisedTrainer as ours
from cspine_assets.nnunet.children.trainer import trainer_class
from cspine_assets.nnunet.profiles import Configuration, Profile

what, configuration, fold, device, profile = sys.argv[1:6]
profile = Profile.model_validate_json(profile)
recipe = profile.recipes[Configuration(configuration)]
torch.set_num_threads(1)
if device == "cuda":
    torch.backends.cudnn.benchmark = True


def told(trainer):
    \"\"\"The recipe's numbers on nnU-Net's own trainer; everything within an epoch stays its own.\"\"\"
    trainer.num_epochs, trainer.num_iterations_per_epoch = recipe.epochs, recipe.iterations
    trainer.num_val_iterations_per_epoch = recipe.validation_iterations
    return trainer


def stock():
    return told(get_trainer_from_args("108", configuration, int(fold), device=torch.device(device)))


if what == "train":
    trainer = stock()
    trainer.run_training()
    starts, ends = (trainer.logger.get_value(f"epoch_{key}_timestamps", step=None) for key in ("start", "end"))
    print(json.dumps([end - start for start, end in zip(starts, ends)]))
else:
    # one trainer, two ways through an epoch, turn and turn about: same network, same data, same machine load
    folder = Path(sys.argv[6])
    plans = json.loads((folder / f"{profile.plans_identifier}.json").read_text())
    description = json.loads((folder / "dataset.json").read_text())
    trainer = trainer_class(profile, lambda message: None)(
        plans | {"continue_training": False}, configuration, int(fold), description, torch.device(device)
    )
    seldom, always = trainer.logger.plot_progress_png, trainer._draw_now
    trainer.num_epochs = 2 * recipe.epochs
    trainer.on_train_start()

    def epoch(supervised, plots):
        cls = ours if supervised else nnUNetTrainer
        trainer.logger.plot_progress_png = (seldom if supervised else always) if plots else (lambda folder: None)
        if supervised:
            save = lambda filename: ours.save_checkpoint(trainer, filename)
        else:
            save = lambda filename: nnUNetTrainer.save_checkpoint(trainer, filename)
        trainer.save_checkpoint = save
        trainer.save_every = 1  # every epoch writes a checkpoint, both ways
        began = time.perf_counter()
        cls.on_epoch_start(trainer)
        trainer.on_train_epoch_start()
        outputs = [cls.train_step(trainer, next(trainer.dataloader_train)) for _ in range(recipe.iterations)]
        trainer.on_train_epoch_end(outputs)
        with torch.no_grad():
            trainer.on_validation_epoch_start()
            steps = range(recipe.validation_iterations)
            outputs = [trainer.validation_step(next(trainer.dataloader_val)) for _ in steps]
            trainer.on_validation_epoch_end(outputs)
        cls.on_epoch_end(trainer)
        return time.perf_counter() - began

    plots = what == "overhead with plots"
    epoch(False, False), epoch(True, False)  # the first ones load and compile
    pairs = []
    for number in range(recipe.epochs - 1):
        order = (False, True) if number % 2 else (True, False)
        seconds = {way: epoch(way, plots) for way in order}
        pairs.append([seconds[False], seconds[True]])
    print(json.dumps(pairs))
"""


def _child(bench: Bench, configuration: Configuration, fold: int, what: str, results: Path) -> list[object]:
    """Runs the script above in a process of its own and returns what it answers."""
    folders = NnunetFolders(raw=bench.folders.raw, preprocessed=bench.folders.preprocessed, results=results)
    environment = child_environment(
        folders, workers=bench.workers, augmentation_workers=bench.profile.augmentation_workers
    )
    arguments = [what, configuration, str(fold), bench.slot.device, bench.profile.model_dump_json()]
    done = subprocess.run(
        [sys.executable, "-c", STOCK, *arguments, str(bench.plans.folder)],
        env=environment | bench.slot.env | {"PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{what} failed:\n{done.stderr[-3000:]}")
    answer: list[object] = json.loads(done.stdout.splitlines()[-1])
    return answer


def stock_one_after_the_other(bench: Bench, configuration: Configuration, trainings: int) -> Throughput:
    """nnU-Net's own trainer, a process per fold, one after the other."""
    meter, began, epochs = Meter(_gpu_of(bench)), time.monotonic(), []
    with meter.running():
        for fold in range(trainings):
            with tempfile.TemporaryDirectory(dir=bench.root) as results:
                epochs += _child(bench, configuration, fold, "train", Path(results))
    return _line("nnU-Net, one after the other", 1, epochs, time.monotonic() - began, meter)


def ours_at_once(bench: Bench, configuration: Configuration, at_once: int) -> Throughput:
    """Our trainings, several at once on one device."""
    meter, began, seconds = Meter(_gpu_of(bench)), time.monotonic(), []
    share = bench.profile.augmentation_workers
    crew = Crew(workers=bench.workers, augmentation_workers=share and max(1, share // at_once))
    with meter.running(), tempfile.TemporaryDirectory(dir=bench.root) as results:

        def one(fold: int) -> None:
            train_fold(
                NnunetFolders(raw=bench.folders.raw, preprocessed=bench.folders.preprocessed, results=Path(results)),
                bench.plans,
                configuration=configuration,
                fold=fold,
                profile=bench.profile,
                lease=lambda: nullcontext(bench.slot),
                crew=crew,
                supervision=Supervision(
                    log_path=Path(results) / f"{fold}.log",
                    on_message=lambda said: seconds.append(said.seconds) if isinstance(said, EpochFinished) else None,
                ),
            )

        with ThreadPoolExecutor(at_once) as threads:
            list(threads.map(one, range(at_once)))
    return _line("ours", at_once, seconds, time.monotonic() - began, meter)


def _line(how: str, at_once: int, epochs: Sequence[object], seconds: float, meter: Meter) -> Throughput:
    typical = float(np.median(np.array(epochs, dtype=float)))
    return Throughput(how, at_once, len(epochs), seconds, typical, meter.load())


def _gpu_of(bench: Bench) -> str | None:
    return bench.slot.env.get("CUDA_VISIBLE_DEVICES")


def overhead(bench: Bench, configuration: Configuration, *, plots: bool) -> tuple[float, float, float]:
    """Returns the median seconds of a stock epoch, of ours, and the median of their paired ratios."""
    with tempfile.TemporaryDirectory(dir=bench.root) as results:
        what = "overhead with plots" if plots else "overhead"
        pairs = np.array(_child(bench, configuration, 0, what, Path(results)), dtype=float)
    stock, ours = np.median(pairs, axis=0)
    return float(stock), float(ours), float(np.median(pairs[:, 1] / pairs[:, 0]))


def _throughput_table(title: str, lines: Sequence[Throughput]) -> Table:
    first = lines[0].epochs_an_hour
    columns = (
        *(Column(name, 0) for name in ("at once", "epochs")),
        Column("wall s an epoch"),
        Column("epochs an hour", 0),
        Column("ratio"),
        *(Column(name, 0) for name in ("GPU %", "GPU MB")),
        Column("cores", 1),
        Column("memory MB", 0),
    )
    return Table(title, columns, [Row(line.how, _throughput_values(line, first)) for line in lines])


def _throughput_values(line: Throughput, first: float) -> tuple[Value, ...]:
    load = (line.load.gpu_percent, line.load.gpu_memory_mb, line.load.cpu_cores, line.load.memory_mb)
    epochs = (line.at_once, line.epochs, line.epoch_seconds, line.epochs_an_hour, line.epochs_an_hour / first)
    return (*epochs, *(None if np.isnan(value) else value for value in load))


def _profile(device: str, epochs: int, iterations: int) -> Profile:
    """The published recipe in short, with nnU-Net's own plans on a GPU and the demo's small networks on a CPU."""
    standing = FULL if device == "cuda" else DEMO
    short = {"epochs": epochs, "iterations": iterations, "validation_iterations": max(1, iterations // 5)}
    recipes = {name: recipe.model_copy(update=short) for name, recipe in FULL.recipes.items()}
    workers = standing.augmentation_workers
    if workers is None:
        workers = min(12, cores())
    return standing.model_copy(update={"recipes": recipes, "augmentation_workers": workers, "pools": "threads"})


@dataclass(frozen=True)
class Work:
    """How much is trained.

    Attributes:
        configurations: One after the other.
        stock_trainings: Of the stock trainer, one after the other; its epochs are run for the overhead as well.
        at_once: Numbers of trainings at once.
        epochs: Of every training.
        iterations: Of an epoch; nnU-Net's are 250.
        patients: Of the phantom cohort.
        matrix: Of its slices.
        pairs: Of epochs, for the overhead.
    """

    configurations: tuple[Configuration, ...]
    stock_trainings: int
    at_once: tuple[int, ...]
    epochs: int
    iterations: int
    patients: int
    matrix: int
    pairs: int


BOTH: Final = tuple(Configuration)
FLAT: Final = (Configuration.FLAT,)
SMALLEST: Final = Work(FLAT, stock_trainings=0, at_once=(1,), epochs=1, iterations=1, patients=3, matrix=32, pairs=1)
ON_CPU: Final[Mapping[Size, Work]] = MappingProxyType(
    {
        Size.SMALLEST: SMALLEST,
        Size.USUAL: Work(FLAT, 2, (1, 2), epochs=3, iterations=10, patients=12, matrix=64, pairs=10),
        Size.LARGE: Work(BOTH, 2, (1, 2), epochs=3, iterations=50, patients=12, matrix=64, pairs=20),
    }
)
"""Small enough for a CPU: it shows that everything runs, and what the supervision costs."""

ON_GPU: Final[Mapping[Size, Work]] = MappingProxyType(
    {
        Size.SMALLEST: SMALLEST,
        Size.USUAL: Work(FLAT, 2, (1, 2, 3, 4), epochs=3, iterations=100, patients=40, matrix=384, pairs=20),
        Size.LARGE: Work(BOTH, 2, (1, 2, 3, 4), epochs=3, iterations=250, patients=40, matrix=384, pairs=20),
    }
)


def run(size: Size, folder: Path) -> Results:
    """Plan a phantom dataset and train it every way."""
    slot = training_slots()[0]
    on_gpu = slot.device == "cuda"
    work = (ON_GPU if on_gpu else ON_CPU)[size]
    profile = _profile(slot.device, work.epochs, work.iterations)
    workers = min(8, cores()) if on_gpu else 1
    bench = prepare(folder, profile, patients=work.patients, matrix=work.matrix, slot=slot, workers=workers)
    tables = [table for configuration in work.configurations for table in _tables(bench, configuration, work)]
    note = "" if on_gpu else "No GPU was found: small networks were trained on the CPU."
    return Results(tuple(tables), (note,) if note else ())


def _tables(bench: Bench, configuration: Configuration, work: Work) -> tuple[Table, Table]:
    lines = [stock_one_after_the_other(bench, configuration, work.stock_trainings)] if work.stock_trainings else []
    lines += [ours_at_once(bench, configuration, n) for n in work.at_once]
    where = f"{configuration} on {bench.slot.name}"
    title = f"{where}, {work.epochs} epochs of {work.iterations} iterations a training"
    longer = bench.profile.recipes[configuration].model_copy(update={"epochs": work.pairs + 1})
    profile = bench.profile.model_copy(update={"recipes": dict.fromkeys(Configuration, longer)})
    return _throughput_table(title, lines), _overhead_table(where, replace(bench, profile=profile), configuration, work)


def _overhead_table(where: str, bench: Bench, configuration: Configuration, work: Work) -> Table:
    """Return what our supervision costs; the first pair of epochs is left out, for it loads and compiles."""
    rows = []
    # the smallest size saves the second process
    for plots in (True,) if work.pairs == 1 else (False, True):
        stock, ours, ratio = overhead(bench, configuration, plots=plots)
        what = "with pictures as each draws them" if plots else "without pictures"
        limit = 1 + OVERHEAD_LIMIT
        rows.append(Row(what, (stock, ours, ratio, limit), ratio <= limit))
    columns = (Column("stock, wall s", 3), Column("ours, wall s", 3), Column("ours / stock", 3), Column("at most", 2))
    return Table(f"{where}: {work.pairs} paired epochs", columns, rows)
