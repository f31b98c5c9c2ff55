"""Prediction by 2d, 3d_fullres and their ensemble: ours against nnU-Net's three commands, on the same files and models.

Change a size only with its reason. CPU time is that of whole process trees, interpreters and imports included. The
networks are tiny and the same in all ways: full ones would cost minutes of CPU an exam, equally in each, and on a GPU
none; what is compared is all that happens around them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import psutil

from cspine_assets.domain.phantom.cohort import write_cohort
from cspine_assets.domain.phantom.settings import CohortSettings
from cspine_assets.nnunet.dataset import ANNOTATED, CHANNEL_ENDING, FILE_ENDING, Case, write_raw_dataset
from cspine_assets.nnunet.devices import Slot
from cspine_assets.nnunet.environment import NnunetFolders, child_environment
from cspine_assets.nnunet.messages import CaseStage, ChildMessage
from cspine_assets.nnunet.plans import Plans, Split, plan_and_preprocess
from cspine_assets.nnunet.prediction import (
    PredictionCase,
    PredictionSettings,
    Predictor,
    mask_path,
    model_of,
    predict_cases,
)
from cspine_assets.nnunet.process import Supervision
from cspine_assets.nnunet.profiles import DEMO, FOLDS, Configuration, Profile, SmallNetwork
from cspine_assets.nnunet.training import Crew, train_fold

BUDGET = 3.0
"""Times less CPU than the three commands; the reference measured 3.4."""

CPU = Slot(number=0, device="cpu", env={})
TRAINED_ON = 4
NETWORKS_FILE = "networks_cpu_seconds.txt"
_BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Size:
    """Volumes to predict.

    Attributes:
        matrix: Rows and columns.
        exams: How many.
    """

    matrix: int
    exams: int


SIZES = (Size(96, 20), Size(448, 6))
"""The demo's matrix, and the release's usual one."""


@dataclass(frozen=True)
class Spent:
    """What commands cost together.

    Attributes:
        seconds: Wall time.
        cpu_seconds: Of all processes.
    """

    seconds: float
    cpu_seconds: float


def _profile(matrix: int) -> Profile:
    """Returns a profile whose networks see a whole slice, cost next to nothing and are trained for a moment."""
    networks = {
        Configuration.FLAT: SmallNetwork(
            base_features=2, stages=3, convolutions=1, max_patch_size=(matrix, matrix), batch_size=2
        ),
        Configuration.FULL_RESOLUTION: SmallNetwork(
            base_features=1, stages=2, convolutions=1, max_patch_size=(16, matrix, matrix), batch_size=2, flat_stages=1
        ),
    }
    recipes = {
        name: recipe.model_copy(update={"epochs": 1, "iterations": 8, "validation_iterations": 1})
        for name, recipe in DEMO.recipes.items()
    }
    return DEMO.model_copy(update={"networks": networks, "recipes": recipes})


def _study(root: Path, size: Size) -> NnunetFolders:
    """Makes volumes, a raw dataset and five folds of both configurations; the folds are copies of one."""
    source = root / "download"
    settings = CohortSettings(patients=TRAINED_ON + size.exams, seed=7, matrix=size.matrix, expert_fraction=1.0)
    write_cohort(source, settings)
    masks = {path.name.removesuffix(f"_SEG{FILE_ENDING}"): path for path in _niftis(source, "segmentation")}
    images = {path.name.removesuffix(FILE_ENDING): path for path in _niftis(source, "annotation")}
    cases = [
        Case(
            case_id=name,
            part="train" if number < TRAINED_ON else "test",
            image=image,
            label=masks[name] if number < TRAINED_ON else None,
        )
        for number, (name, image) in enumerate(sorted(images.items()))
        if number < TRAINED_ON + size.exams
    ]
    folders = NnunetFolders.under(root / "nnunet")
    write_raw_dataset(folders.raw, ANNOTATED, cases)
    trained = [case.case_id for case in cases if case.part == "train"]
    split = Split(train=tuple(trained[1:]), val=tuple(trained[:1]))
    profile = _profile(size.matrix)
    plans = plan_and_preprocess(
        folders, ANNOTATED, [split], profile=profile, workers=1, supervision=_supervision(root, "plan")
    )
    for name in Configuration:
        _train(folders, plans, name, profile, root)
    return folders


def _niftis(source: Path, part: str) -> list[Path]:
    return sorted((source / f"DukeCSpineSeg_{part}").glob(f"*{FILE_ENDING}"))


def _train(folders: NnunetFolders, plans: Plans, name: Configuration, profile: Profile, root: Path) -> None:
    fold = train_fold(
        folders,
        plans,
        configuration=name,
        fold=0,
        profile=profile,
        lease=lambda: nullcontext(CPU),
        crew=Crew(workers=1, augmentation_workers=0),
        supervision=_supervision(root, f"train-{name}"),
    )
    for number in FOLDS[1:]:
        shutil.copytree(fold.fold_folder, fold.model_folder / f"fold_{number}")


def _supervision(root: Path, name: str) -> Supervision:
    return Supervision(log_path=root / "logs" / f"{name}.log", on_message=lambda _: None)


class _NetworkMeter:
    """Adds up the CPU time of a predicting child while its networks are at work, by the stages that it tells."""

    def __init__(self) -> None:
        self.cpu_seconds = 0.0
        self._since: float | None = None

    def listen(self, message: ChildMessage) -> None:
        """Hears where the child is."""
        child = next(
            (one for one in psutil.Process().children() if "cspine_assets.nnunet.children.predict" in one.cmdline()),
            None,
        )
        if child is None:
            return
        spent = sum(child.cpu_times()[:2])
        if self._since is not None:
            self.cpu_seconds += spent - self._since
        at_work = isinstance(message, CaseStage) and message.stage.startswith("the networks of")
        self._since = spent if at_work else None


def predict_ours(root: Path) -> None:
    """Predicts the test cases of a study as the platform does, and writes down what the networks alone cost."""
    meter = _NetworkMeter()
    folders, profile = NnunetFolders.under(root / "nnunet"), _profile(1)  # it names trainer and plans, no more
    images = sorted((folders.raw / str(ANNOTATED) / "imagesTs").iterdir())
    result = predict_cases(
        [model_of(folders, str(ANNOTATED), name, FOLDS, profile=profile) for name in Configuration],
        [PredictionCase(case_id=path.name.removesuffix(CHANNEL_ENDING), image=path) for path in images],
        root / "ours",
        settings=PredictionSettings(disable_tta=True, step_size=0.5),
        postprocessing={},
        slot=CPU,
        supervision=Supervision(log_path=root / "logs" / "predict.log", on_message=meter.listen),
    )
    (root / NETWORKS_FILE).write_text(f"{meter.cpu_seconds}", encoding="ascii")
    if result.failed:
        raise RuntimeError(f"cases failed: {result.failed}")


def _commands(root: Path, workers: int | None) -> list[list[str]]:
    """Returns nnU-Net's three commands, with its own numbers of workers or with one everywhere."""
    images, out = root / "nnunet" / "raw" / str(ANNOTATED) / "imagesTs", root / "theirs"
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


def _require_equal(root: Path) -> None:
    """Makes sure that both ways wrote the same bytes: a faster wrong answer would be none."""
    for predictor in Predictor:
        theirs = sorted((root / "theirs" / predictor).glob(f"*{FILE_ENDING}"))
        for path in theirs:
            ours = mask_path(root / "ours", predictor, path.name.removesuffix(FILE_ENDING))
            if ours.read_bytes() != path.read_bytes():
                raise RuntimeError(f"{predictor} {path.name}: our mask is not nnU-Net's")
        if not theirs:
            raise RuntimeError(f"{predictor}: nnU-Net wrote no masks")


def _measure(size: Size) -> None:
    with tempfile.TemporaryDirectory(prefix="cspine-bench-") as folder:
        root = Path(folder)
        folders = _study(root, size)
        frugal = child_environment(folders, workers=1, augmentation_workers=1)
        usual = os.environ | {name: frugal[name] for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}
        log = root / "command.log"
        this = [sys.executable, "-m", "benchmarks.prediction", str(root)]
        ways = {
            "nnU-Net's three commands, as they come": _spent(_commands(root, None), usual, log),
            "the same with one worker everywhere": _spent(_commands(root, 1), frugal, log),
            "in memory, one child": _spent([this], os.environ, log),
        }
        _require_equal(root)
        networks = float((root / NETWORKS_FILE).read_text(encoding="ascii"))
    print(f"{size.exams} exams of {size.matrix} x {size.matrix} x 12-15, five folds each; masks equal byte for byte")
    ours = ways["in memory, one child"].cpu_seconds
    print(f"  {'way':<42}{'wall s':>8}{'CPU s':>8}{'CPU / ours':>12}{'around the networks':>21}")
    for name, spent in ways.items():
        around = (spent.cpu_seconds - networks) / (ours - networks)
        costs = f"{spent.seconds:>8.1f}{spent.cpu_seconds:>8.1f}{spent.cpu_seconds / ours:>12.2f}{around:>21.2f}"
        print(f"  {name:<42}{costs}")
    print(f"  the networks alone: {networks:.1f} CPU s in ours, and no less in the others")
    reached = next(iter(ways.values())).cpu_seconds / ours
    print(f"  at least {BUDGET:g} times less CPU: {'reached' if reached >= BUDGET else 'NOT REACHED'} ({reached:.2f})")


def main() -> None:
    """Measures every size."""
    for size in SIZES:
        _measure(size)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        predict_ours(Path(sys.argv[1]))
    else:
        main()
