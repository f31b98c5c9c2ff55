"""How many trainings may run at once on this machine, and which device each of them gets.

Change this file when machines, schedulers or the sharing of a device change.
What a training does with its device belongs in ``training``.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cspine_assets.domain.errors import ModelError
from cspine_assets.domain.machine import usable_cores
from cspine_assets.nnunet.gpus import MPS_ENV, UsableGpu, report_gpus
from cspine_assets.nnunet.holds import HeldError, Holder, held, read_holder

Device = Literal["cpu", "cuda", "mps"]

CPU_TRAININGS = 2
"""Each fills one core and about 600 MB; more of them would slow each other down on a usual workstation."""

CORES_PER_TRAINING = 2
"""The published recipe wants 16-33 core-seconds of augmentation per epoch of 100 s, and a core for itself."""

USABLE_MEMORY = 0.95
"""Of a GPU's memory; the rest goes to the driver and to fragmentation."""

DEFAULT_ASKED_MB = 11_000
"""nnU-Net's default plans aim at 8 GB and take 9 to 11 (docstrings of its planners)."""

WAIT_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Slot:
    """A place for one training.

    Attributes:
        number: Counts from 0 over all places.
        device: As torch names its kind.
        env: What a child needs in its environment to see just this device.
        name: The device, such as ``cuda:0``; several places may share one.
        share: Counts the places on one device from 0.
        identity: Of a GPU, the same whatever the environment calls it; empty where only the name is known.
    """

    number: int
    device: Device
    env: dict[str, str]
    name: str = ""
    share: int = 0
    identity: str = ""

    @property
    def place(self) -> str:
        """The device and the place on it, fit for a file name."""
        return _place(self.name or f"{self.device}:{self.number}", self.share)


@dataclass(frozen=True, kw_only=True)
class SlotState:
    """A place and who is in it; ``holder`` is None where it is free."""

    slot: Slot
    holder: Holder | None


def training_slots(
    *,
    devices: Sequence[str] | None = None,
    slots_per_device: int | None = None,
    asked_mb: float = DEFAULT_ASKED_MB,
) -> tuple[Slot, ...]:
    """The places for trainings: those of each GPU that torch can use; without any, on the CPU.

    Args:
        devices: Names to take instead of what is found, such as ``cuda:1`` or ``cpu:0``. One that does not
            exist fails when a training starts on it.
        slots_per_device: Trainings at once on one device. None: one on a CPU's, and on a GPU as many as its
            memory and the machine's cores can feed.
        asked_mb: GPU memory that one training asks for.

    Raises:
        ModelError: A name is not of the form ``cpu:N``, ``cuda:N`` or ``mps:0``.
    """
    found = _named_gpus(devices)
    if devices is not None:
        names = list(dict.fromkeys("mps:0" if name == "mps" else name for name in devices))
    else:
        names = list(found) or [f"cpu:{n}" for n in range(min(CPU_TRAININGS, _cores()))]
    gpus = {name: found.get(name) or _stated(name) for name in names}
    shares = {
        name: slots_per_device or _slots_of(gpu.memory_mb if gpu else None, asked_mb, devices=len(names))
        for name, gpu in gpus.items()
    }
    # the first place of every device before the second of any: trainings spread before they share
    places = sorted((share, position, name) for position, name in enumerate(names) for share in range(shares[name]))
    return tuple(_slot(number, name, gpus[name], share) for number, (share, _, name) in enumerate(places))


def _named_gpus(devices: Sequence[str] | None) -> dict[str, UsableGpu]:
    """Returns the GPUs that torch can use, by name; torch is not asked where the CPU alone is wanted."""
    if devices is not None and all(name.startswith("cpu:") for name in devices):
        return {}
    return {gpu.name: gpu for gpu in report_gpus().gpus}


def _stated(name: str) -> UsableGpu | None:
    """Returns a GPU as its name states it, though torch did not find it; None for the CPU."""
    kind, _, which = name.partition(":")
    if kind == "cpu" and which:
        return None
    if kind == "cuda" and which:
        env = {report_gpus().variable: which}
        return UsableGpu(name=name, kind="cuda", env=env, identity=name, model="", memory_mb=None)
    if name == "mps:0":
        return UsableGpu(name=name, kind="mps", env=MPS_ENV, identity=name, model="", memory_mb=None)
    raise ModelError(
        f"expected a device like cuda:0, mps:0 or cpu:0, got '{name}'. Correct it with `cspine training devices=NAME`."
    )


def _slots_of(memory_mb: float | None, asked_mb: float, *, devices: int) -> int:
    if memory_mb is None:
        return 1
    by_memory = int(memory_mb * USABLE_MEMORY // asked_mb)
    by_cores = _cores() // (CORES_PER_TRAINING * devices)
    return max(1, min(by_memory, by_cores))


def _slot(number: int, name: str, gpu: UsableGpu | None, share: int) -> Slot:
    if gpu is None:
        return Slot(number=number, device="cpu", env={}, name=name, share=share)
    return Slot(number=number, device=gpu.kind, env=gpu.env, name=name, share=share, identity=gpu.identity)


@contextmanager
def leased_slot(
    folder: Path, slots: Sequence[Slot], *, what: str = "a training or prediction", timeout_s: float | None = None
) -> Iterator[Slot]:
    """A slot that nobody else of this machine has, across threads and processes.

    The lease is a lock on a file; the system frees it when its holder dies. A GPU is leased for the whole machine,
    whatever the home; places on the CPU for one home.

    Args:
        folder: For the locks of places on the CPU.
        slots: From which to take the first free one.
        what: What it is for, as ``slot_states`` tells others.
        timeout_s: Longest wait; None waits for ever.

    Raises:
        ModelError: No slot became free within ``timeout_s``.
    """
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    with ExitStack() as stack:
        while (slot := _taken(stack, folder, slots, what)) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise ModelError(
                    f"{what}: no free training slot among {len(slots)} within {timeout_s:g} s; "
                    "`cspine devices` shows who holds them"
                )
            time.sleep(WAIT_S)
        yield slot


def _taken(stack: ExitStack, folder: Path, slots: Sequence[Slot], what: str) -> Slot | None:
    for slot in slots:
        try:
            hold = stack.enter_context(held(_lock_file(folder, slot), what))
        except HeldError:
            continue
        hold.tell(device=slot.name)
        return slot
    return None


def slot_states(folder: Path, slots: Sequence[Slot]) -> tuple[SlotState, ...]:
    """Who is in each place now."""
    return tuple(SlotState(slot=slot, holder=read_holder(_lock_file(folder, slot))) for slot in slots)


def machine_leases() -> Path:
    """The folder for locks of GPUs, which all homes and users of the machine share."""
    return Path(tempfile.gettempdir()) / "cspine-gpu-leases"


def _lock_file(folder: Path, slot: Slot) -> Path:
    if slot.device == "cpu":
        return folder / f"{slot.place}.lock"
    shared = machine_leases()
    if not shared.is_dir():
        shared.mkdir(exist_ok=True)
        shared.chmod(0o777)  # whatever this user's mask is, others lease there too
    return shared / f"{_place(slot.identity or slot.name, slot.share)}.lock"


def _place(name: str, share: int) -> str:
    return f"{name}-{share}".replace(":", "-").replace("/", "-")


def _cores() -> int:
    return usable_cores()
