"""What the fault tests share: a training long enough to be broken, run by a step under a parent, and who is left."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psutil

from cspine_assets.domain.workers import each_in_workers
from cspine_assets.nnunet.messages import EpochFinished, Note
from cspine_assets_tests.nnunet.tiny import TINY, planned, train
from cspine_assets_tests.processes import alive, command_of, within

EPOCHS = 6
SAVE_EVERY = 2
LONG = TINY.model_copy(
    update={
        "recipes": {
            name: recipe.model_copy(update={"epochs": EPOCHS, "iterations": 12, "save_every": SAVE_EVERY})
            for name, recipe in TINY.recipes.items()
        }
    }
)

WITHIN_S = 5.0
"""In which nothing of a training may be left, whoever was killed."""


@dataclass
class Heard:
    """What a training has told, and what to do when it tells of an epoch."""

    at_epoch: int = 0
    blow: object = None
    epochs: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __call__(self, message) -> None:
        if isinstance(message, Note):
            self.notes.append(message.text)
        if isinstance(message, EpochFinished):
            self.epochs.append(message.epoch)
            if message.epoch == self.at_epoch and self.blow is not None:
                blow, self.blow = self.blow, None
                blow()

    def lost(self) -> int:
        """Epochs that had to be trained again."""
        return len(self.epochs) - len(set(self.epochs))


def family(pid: int | None = None) -> list[psutil.Process]:
    """The training children below a process, each followed by its workers."""
    below = psutil.Process(pid).children(recursive=True)
    trainers = [process for process in below if "children.train" in command_of(process)]
    children = [
        process for process in trainers if alive(process) and process.ppid() not in {other.pid for other in trainers}
    ]
    return [member for child in children for member in (child, *child.children(recursive=True))]


def left_of(processes: list[psutil.Process], limit_s: float = WITHIN_S) -> list[psutil.Process]:
    """Who of these is still alive after a while."""
    within(limit_s, lambda: not any(map(alive, processes)))
    return [process for process in processes if alive(process)]


def start_step(home: Path, results: Path, *, augmentation_workers: int = 0) -> subprocess.Popen[str]:
    """A parent that lets a step in a worker process train the fold, as the driver does; it prints what it hears."""
    return subprocess.Popen(
        [sys.executable, "-m", __spec__.name, str(home), str(results), str(augmentation_workers)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )


def wait_for_epoch(parent: subprocess.Popen[str], epoch: int) -> None:
    """Returns when the training has told of an epoch."""
    for line in parent.stdout:
        if line.strip() == f"epoch {epoch}":
            return
    raise AssertionError(f"the parent ended before epoch {epoch} with status {parent.wait()}")


def epochs_in(lines: list[str]) -> list[int]:
    """The epochs that a parent has told of."""
    return [int(line.split()[1]) for line in lines if line.startswith("epoch ")]


def _step(home: str, results: str, augmentation_workers: int, folds: list[int]) -> list[str]:
    def tell(message) -> None:
        if isinstance(message, EpochFinished):
            print("epoch", message.epoch, flush=True)

    made = [
        train(
            planned(Path(home), LONG),
            fold=fold,
            results=Path(results),
            on_message=tell,
            augmentation_workers=augmentation_workers,
        )
        for fold in folds
    ]
    return [f"{one.epochs} {one.resumed_from}" for one in made]


if __name__ == "__main__":
    # the parent's own default: a driver that is terminated says nothing more
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    step = partial(_step, sys.argv[1], sys.argv[2], int(sys.argv[3]))
    for result in each_in_workers([[0]], step, lost=lambda _: "lost", workers=1):
        print("made", result, flush=True)
