"""Which GPUs can be used here, and if one cannot, why and what to do: the drivers' view and torch's view compared.

Add a case here when a machine with a GPU would otherwise train on its CPU without a message.
How devices become places for trainings is decided in ``devices``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Final, Literal

from cspine_assets.nnunet.hardware import Gpu, Hardware, read_hardware
from cspine_assets.nnunet.messages import Frozen
from cspine_assets.nnunet.torch_devices import TorchAnswer, TorchDevice, ask_torch

GUIDE: Final = "docs/training.md, section Devices"
CUDA_VARIABLE: Final = "CUDA_VISIBLE_DEVICES"
HIP_VARIABLE: Final = "HIP_VISIBLE_DEVICES"
ROCR_VARIABLE: Final = "ROCR_VISIBLE_DEVICES"
MPS_ENV: Final = {"PYTORCH_ENABLE_MPS_FALLBACK": "1"}
"""Operations that torch lacks on MPS run on the CPU instead of failing."""

CUDA_OF_DRIVER: Final = ((580, "13"), (525, "12"), (450, "11"))
"""Oldest driver branch for each major CUDA version (NVIDIA's CUDA compatibility guide)."""


class UsableGpu(Frozen):
    """A GPU, or a slice of one, that torch has computed on.

    Attributes:
        name: Such as ``cuda:0``, ``cuda:MIG-...`` or ``mps:0``; after the colon as the caller's environment names it.
        kind: As torch names it.
        env: What a child needs in its environment to see this device alone.
        identity: The same for every process of this machine, whatever its environment.
        model: For people, such as ``NVIDIA A100``.
        memory_mb: Of the device, or None where it shares the machine's.
    """

    name: str
    kind: Literal["cuda", "mps"]
    env: dict[str, str]
    identity: str
    model: str
    memory_mb: float | None


class GpuReport(Frozen):
    """What can be used, and what is wrong.

    Attributes:
        gpus: Those that can be used; empty: work runs on the CPU.
        build: The installed torch, for people.
        variable: The environment variable by which this torch is shown single GPUs.
        problem: What is wrong, or why there is no GPU; empty where all is as it should be.
        remedy: What to do about it; empty where nothing can be done.
        is_unused: A GPU is there, or is asked for, and is not used, and nobody has asked for that.
    """

    gpus: tuple[UsableGpu, ...]
    build: str
    variable: str = CUDA_VARIABLE
    problem: str = ""
    remedy: str = ""
    is_unused: bool = False

    @property
    def sentence(self) -> str:
        """Problem and remedy, or what is used."""
        if self.problem:
            return f"{self.problem} {self.remedy}".strip()
        return f"{', '.join(gpu.model for gpu in self.gpus)}; {self.build}."


class _Finding(Frozen):
    problem: str = ""
    remedy: str = ""
    is_unused: bool = True


def report_gpus() -> GpuReport:
    """Return which GPUs can be used in this environment, and what to do about those that cannot.

    Costs seconds the first time on a machine, and nothing afterwards.
    """
    hardware, answer = read_hardware(), ask_torch()
    variable = _variable(answer)
    gpus = tuple(_usable(hardware, answer, variable))
    finding = _finding(hardware, answer, variable, gpus)
    return GpuReport(gpus=gpus, build=answer.build, variable=variable, **finding.model_dump())


def _variable(answer: TorchAnswer) -> str:
    """Returns the variable that names single GPUs; AMD's runtime prefers its own to NVIDIA's."""
    return HIP_VARIABLE if answer.hip else CUDA_VARIABLE


def _named(answer: TorchAnswer) -> list[str] | None:
    """Returns the GPUs that the environment names, or None where it names none and all are visible."""
    value = os.environ.get(CUDA_VARIABLE)
    if answer.hip:
        value = os.environ.get(HIP_VARIABLE, value)
    if value is None:
        return None
    return [name.strip() for name in value.split(",")]


def _usable(hardware: Hardware, answer: TorchAnswer, variable: str) -> Iterator[UsableGpu]:
    named = _named(answer)
    wanted = _slices_and_whole(hardware) if named is None else named
    if any(name.startswith("MIG-") for name in wanted):
        yield from _each_alone(wanted, variable)
        return
    for device in answer.devices:
        if device.error:
            continue
        if device.kind == "mps":
            yield _as_usable(device, f"mps:{device.index}", env=MPS_ENV)
        else:
            which = named[device.index] if named and device.index < len(named) else str(device.index)
            yield _as_usable(device, f"cuda:{which}", env={variable: which})


def _slices_and_whole(hardware: Hardware) -> list[str]:
    """Returns UUIDs of all slices and undivided GPUs, where some GPU is divided; else nothing."""
    if not any(gpu.slices for gpu in hardware.gpus):
        return []
    return [name for gpu in hardware.gpus for name in gpu.slices or ([gpu.uuid] if gpu.uuid else [])]


def _each_alone(names: Sequence[str], variable: str) -> Iterator[UsableGpu]:
    """Yields slices one by one: CUDA shows one process a single slice, whatever the list says."""
    for name in names:
        for device in ask_torch({variable: name}).devices[:1]:
            if not device.error:
                yield _as_usable(device, f"cuda:{name}", env={variable: name})


def _as_usable(device: TorchDevice, name: str, *, env: dict[str, str]) -> UsableGpu:
    # of a slice torch may report the UUID of the whole GPU
    is_slice = name.startswith("cuda:MIG-")
    identity = name if is_slice or device.uuid is None else device.uuid
    return UsableGpu(
        name=name, kind=device.kind, env=env, identity=identity, model=device.name, memory_mb=device.memory_mb
    )


def _finding(hardware: Hardware, answer: TorchAnswer, variable: str, gpus: Sequence[UsableGpu]) -> _Finding:
    """Returns the first thing that is wrong, the most basic one first."""
    if answer.version is None:
        return _Finding(problem=f"torch cannot be asked for devices: {answer.error}.", remedy="Run `make setup`.")
    looks = (_hidden(answer), _wrong_build(hardware, answer, gpus), _broken_driver(hardware, answer, gpus))
    for found in looks:
        if found is not None:
            return found
    return (
        _not_there(hardware, answer, variable, gpus)
        or _failing(answer)
        or (_Finding(is_unused=False) if gpus else _none(hardware, answer))
    )


def _hidden(answer: TorchAnswer) -> _Finding | None:
    named = _named(answer)
    if named is None or named[0] not in ("", "-1"):
        return None
    variable = HIP_VARIABLE if answer.hip and HIP_VARIABLE in os.environ else CUDA_VARIABLE
    value = os.environ[variable]
    return _Finding(
        problem=f"{variable} is {f'set to {value!r}' if value else 'empty'}, which hides all GPUs.",
        remedy="Unset it to use them.",
        is_unused=False,
    )


def _wrong_build(hardware: Hardware, answer: TorchAnswer, gpus: Sequence[UsableGpu]) -> _Finding | None:
    """Looks for a GPU of a vendor for which this torch is not built."""
    if gpus:
        return None
    fits = {"nvidia": answer.cuda, "amd": answer.hip, "apple": None}
    gpu = next((gpu for gpu in hardware.gpus if not fits[gpu.vendor]), None)
    if gpu is None or any(fits[other.vendor] for other in hardware.gpus):
        return None
    remedy = {
        "nvidia": f"Install a torch for CUDA {_newest_cuda(hardware.driver)} or older",
        "amd": "Install a torch for ROCm",
        "apple": "Install Python and torch for arm64, which bring MPS",
    }[gpu.vendor]
    return _Finding(
        problem=f"{_described(hardware.gpus)} cannot be used: {answer.build} is not made for it.",
        remedy=f"{remedy} ({GUIDE}).",
    )


def _newest_cuda(driver: str | None) -> str:
    """Returns the newest major version of CUDA that a driver can run."""
    branch = int(driver.split(".")[0]) if driver and driver.split(".")[0].isdigit() else CUDA_OF_DRIVER[0][0]
    return next((cuda for oldest, cuda in CUDA_OF_DRIVER if branch >= oldest), CUDA_OF_DRIVER[-1][1])


def _broken_driver(hardware: Hardware, answer: TorchAnswer, gpus: Sequence[UsableGpu]) -> _Finding | None:
    if gpus or not answer.cuda:
        return None
    if "too old" in answer.error:
        needed = next((oldest for oldest, cuda in CUDA_OF_DRIVER if answer.cuda.split(".")[0] == cuda), None)
        update = f"Update the driver to {needed} or newer" if needed else "Update the driver"
        driver = f"the NVIDIA driver {hardware.driver}" if hardware.driver else "the NVIDIA driver"
        older = f", or install a torch for CUDA {_newest_cuda(hardware.driver)}" if hardware.driver else ""
        return _Finding(
            problem=f"{_described(hardware.gpus)} cannot be used: {driver} is too old for {answer.build}.",
            remedy=f"{update}{older} ({GUIDE}).",
        )
    if hardware.error:
        return _Finding(
            problem=f"The NVIDIA driver does not work; nvidia-smi: {hardware.error}",
            remedy="Restart the machine, or install the driver again.",
        )
    return None


def _not_there(hardware: Hardware, answer: TorchAnswer, variable: str, gpus: Sequence[UsableGpu]) -> _Finding | None:
    """Looks for names in the environment that torch did not find."""
    named = _named(answer) or []
    found = {gpu.name.partition(":")[2] for gpu in gpus} | {
        named[device.index] for device in answer.devices if device.index < len(named)
    }
    missing = [name for name in named if name not in found]
    if not missing or not (answer.cuda or answer.hip):
        return None
    # CUDA ignores whatever follows a name that it does not know
    there = _there(hardware, variable)
    unknown = [name for name in missing if not any(_means(name, one) for one in there)] or missing
    return _Finding(
        problem=f"{variable} names {', '.join(unknown)}, and torch finds no such GPU. "
        f"This machine has {', '.join(there) or 'no GPU'}.",
        remedy=f"Correct {variable}, or unset it.",
    )


def _there(hardware: Hardware, variable: str) -> list[str]:
    """Returns the names by which GPUs may be asked for, by the driver's tool, else by torch."""
    nvidia = [gpu for gpu in hardware.gpus if gpu.vendor == "nvidia"]
    if nvidia and variable == CUDA_VARIABLE:
        return [name for gpu in nvidia for name in (gpu.slices or (f"{gpu.index} ({gpu.uuid})",))]
    return [
        f"{device.index} ({device.uuid or device.name})"
        for device in ask_torch({variable: None, CUDA_VARIABLE: None}).devices
    ]


def _means(name: str, known: str) -> bool:
    """Whether a name in the environment means a GPU as ``_there`` describes it; UUIDs may be shortened."""
    number, _, uuid = known.partition(" (")
    return bool(name) and (name == number or (not name.isdigit() and (uuid or number).startswith(name)))


def _failing(answer: TorchAnswer) -> _Finding | None:
    """Looks for a device that torch lists and cannot compute on."""
    failing = next((device for device in answer.devices if device.error), None)
    if failing is None:
        return None
    remedy = f"Install a torch that is built for this GPU ({GUIDE})." if "kernel image" in failing.error else ""
    what = f"{failing.kind}:{failing.index} ({failing.name})"
    return _Finding(problem=f"{answer.build} cannot compute on {what}: {failing.error}.", remedy=remedy)


def _none(hardware: Hardware, answer: TorchAnswer) -> _Finding:
    if hardware.gpus:
        why = answer.error or "torch lists no device"
        return _Finding(
            problem=f"{_described(hardware.gpus)} cannot be used by {answer.build}: {why}.",
            remedy=f"See {GUIDE}.",
        )
    return _Finding(problem="No GPU was found.", is_unused=False)


def _described(gpus: Sequence[Gpu]) -> str:
    return ", ".join(gpu.name for gpu in gpus) or "The GPU"
