"""How many trainings may run at once on this machine, and which device each of them gets.

Change this file when machines, schedulers or the sharing of a device change.
What a training does with its device belongs in ``training``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from cspine_assets.domain.errors import ModelError

Device = Literal["cpu", "cuda"]

CPU_TRAININGS = 2
"""Each fills one core and about 600 MB; more of them would slow each other down on a usual workstation."""

WAIT_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Slot:
    """A place for one training.

    Attributes:
        number: Counts from 0.
        device: As torch names it.
        env: What a child needs in its environment to see just this device.
    """

    number: int
    device: Device
    env: dict[str, str]


def training_slots() -> tuple[Slot, ...]:
    """One slot per CUDA device that this torch can use; without any, one or two on the CPU."""
    gpus = _cuda_devices()
    if gpus:
        return tuple(
            Slot(number=number, device="cuda", env={"CUDA_VISIBLE_DEVICES": gpu}) for number, gpu in enumerate(gpus)
        )
    count = min(CPU_TRAININGS, len(os.sched_getaffinity(0)))
    return tuple(Slot(number=number, device="cpu", env={}) for number in range(count))


@contextmanager
def leased_slot(folder: Path, slots: tuple[Slot, ...], *, timeout_s: float | None = None) -> Iterator[Slot]:
    """A slot that no other training of this machine has, across threads and processes.

    The lease is a lock on a file in ``folder``; the system frees it when its holder dies.

    Raises:
        ModelError: No slot became free within ``timeout_s``; None waits for ever.
    """
    folder.mkdir(parents=True, exist_ok=True)
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    while True:
        for slot in slots:
            lock = FileLock(folder / f"{slot.device}-{slot.number}.lock", thread_local=False)
            try:
                lock.acquire(blocking=False)
            except Timeout:
                continue
            try:
                yield slot
            finally:
                lock.release()
            return
        if deadline is not None and time.monotonic() > deadline:
            raise ModelError(f"no free training slot among {len(slots)} within {timeout_s:g} s (locks in {folder})")
        time.sleep(WAIT_S)


def _cuda_devices() -> list[str]:
    """Devices for ``CUDA_VISIBLE_DEVICES``, without loading torch into this process."""
    if version("torch").endswith("+cpu"):
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in (part.strip() for part in visible.split(",")) if name not in ("", "-1")]
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    listed = subprocess.run([tool, "--list-gpus"], capture_output=True, text=True, check=False)
    return [str(i) for i, _ in enumerate(line for line in listed.stdout.splitlines() if line.startswith("GPU "))]
