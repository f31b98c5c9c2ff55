"""The GPUs of this machine as its drivers list them, apart from torch.

Add a kind of GPU here when torch can use it. What torch can really use is asked in ``torch_devices``; what the two
together mean is said in ``gpus``.
"""

from __future__ import annotations

import csv
import json
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final, Literal

from cspine_assets.domain.files import fingerprint_text
from cspine_assets.nnunet.messages import Frozen
from cspine_assets.nnunet.remembered import recall, remember

TOOL_LIMIT_S: Final = 30.0
"""For nvidia-smi and rocm-smi; without persistence mode the driver needs some seconds to load."""

RETRY_AFTER_S: Final = 300.0
"""Answers with an error are asked again after this time: a driver may have been repaired without a restart."""

VISIBLE: Final = "_VISIBLE_DEVICES"
_ALSO_DECIDES: Final = ("CUDA_DEVICE_ORDER", "HSA_OVERRIDE_GFX_VERSION", "SLURM_JOB_ID")
_NVIDIA_DRIVER: Final = Path("/proc/driver/nvidia")
_AMD_NODES: Final = Path("/sys/class/kfd/kfd/topology/nodes")
_ROW: Final = re.compile(r"GPU (?P<index>\d+): .*\(UUID: (?P<uuid>GPU-[^)]+)\)")
_SLICE: Final = re.compile(r"MIG .*\(UUID: (?P<uuid>MIG-[^)]+)\)")


class Gpu(Frozen):
    """One GPU.

    Attributes:
        vendor: Decides which build of torch can use it.
        index: As the driver counts.
        name: For people.
        memory_mb: Of the whole GPU, or None where the driver does not report it.
        uuid: As nvidia-smi prints it, or None.
        slices: UUIDs of its MIG instances; empty where it is not divided.
    """

    vendor: Literal["nvidia", "amd", "apple"]
    index: int
    name: str
    memory_mb: float | None = None
    uuid: str | None = None
    slices: tuple[str, ...] = ()


class Hardware(Frozen):
    """What the drivers list.

    Attributes:
        gpus: All of them; empty where there are none or no driver's tool is installed.
        driver: Version of NVIDIA's driver, or None.
        error: What the driver's tool printed when it failed; empty when it did not.
    """

    gpus: tuple[Gpu, ...] = ()
    driver: str | None = None
    error: str = ""


def read_hardware() -> Hardware:
    """Return the GPUs of this machine; remembered until the machine changes."""
    return _hardware(machine_key())


@cache
def _hardware(key: str) -> Hardware:
    known = recall("hardware", key, Hardware)
    if known is not None:
        return known
    found = _nvidia()
    gpus = (*found.gpus, *_amd(), *_apple())
    found = found.model_copy(update={"gpus": gpus})
    if not found.error:
        remember("hardware", key, found)
    return found


def machine_key() -> str:
    """Return a key that changes when GPUs, drivers or their visibility may have changed; costs no process."""
    environment = {name: value for name, value in os.environ.items() if name.endswith(VISIBLE) or name in _ALSO_DECIDES}
    nodes = [node for pattern in ("nvidia*", "kfd", "dri/renderD*", "dxg") for node in Path("/dev").glob(pattern)]
    mig = [str(path) for path in _NVIDIA_DRIVER.glob("capabilities/gpu*/mig/gi*")]
    tools = [tool for name in ("nvidia-smi", "rocm-smi") if (tool := shutil.which(name))]
    return fingerprint_text(
        platform.node(),
        platform.platform(),
        _text(Path("/proc/sys/kernel/random/boot_id")),
        _text(_NVIDIA_DRIVER / "version"),
        _text(Path("/sys/module/amdgpu/version")),
        json.dumps(sorted(f"{node} {os.access(node, os.R_OK | os.W_OK)}" for node in nodes)),
        json.dumps(sorted(mig)),
        json.dumps([_stamp(tool) for tool in tools]),  # on WSL the driver shows itself by nvidia-smi alone
        json.dumps(environment, sort_keys=True),
    )


def _nvidia() -> Hardware:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return Hardware()
    fields = "--query-gpu=index,uuid,name,memory.total,driver_version"
    listed, error = _printed(tool, fields, "--format=csv,noheader,nounits")
    rows = [row for row in csv.reader(listed.splitlines(), skipinitialspace=True) if len(row) == 5 and row[0].isdigit()]
    slices = _slices(_printed(tool, "-L")[0]) if rows else {}
    gpus = tuple(
        Gpu(
            vendor="nvidia",
            index=int(index),
            name=name,
            memory_mb=float(memory) if memory.isdigit() else None,  # N/A where the memory is shared with the host
            uuid=uuid,
            slices=tuple(slices.get(uuid, ())),
        )
        for index, uuid, name, memory, _ in rows
    )
    return Hardware(gpus=gpus, driver=rows[0][4] if rows else None, error="" if gpus else error)


def _slices(listed: str) -> dict[str, list[str]]:
    """Returns the MIG instances of each GPU by its UUID, from ``nvidia-smi -L``."""
    slices: dict[str, list[str]] = {}
    for line in listed.splitlines():
        if gpu := _ROW.search(line):
            current = slices.setdefault(gpu["uuid"], [])
        elif (found := _SLICE.search(line)) and slices:
            current.append(found["uuid"])
    return slices


def _amd() -> Iterator[Gpu]:
    """Yields AMD's GPUs by rocm-smi, else by the kernel, which knows no names."""
    tool = shutil.which("rocm-smi")
    listed = _printed(tool, "--showproductname", "--json")[0] if tool else ""
    try:
        cards = [card for name, card in json.loads(listed).items() if name.startswith("card")]
    except (ValueError, AttributeError):
        cards = []
    names = [str(card.get("Card Series") or card.get("Card series") or "AMD GPU") for card in cards]
    for index, name in enumerate(names or ["AMD GPU"] * _amd_nodes()):
        yield Gpu(vendor="amd", index=index, name=name)


def _amd_nodes() -> int:
    """Returns the number of AMD GPUs that the kernel knows; its nodes without SIMD units are processors."""
    found = (
        re.search(r"^simd_count (\d+)", _text(node / "properties"), re.MULTILINE) for node in _children(_AMD_NODES)
    )
    return sum(match is not None and int(match[1]) > 0 for match in found)


def _apple() -> Iterator[Gpu]:
    if platform.system() == "Darwin" and platform.machine() == "arm64":
        yield Gpu(vendor="apple", index=0, name="Apple GPU")


def _printed(tool: str, *arguments: str) -> tuple[str, str]:
    """Returns the output of a tool, and in the second place what it printed if it failed."""
    try:
        asked = subprocess.run([tool, *arguments], capture_output=True, text=True, check=False, timeout=TOOL_LIMIT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        return "", str(error)
    return asked.stdout, " ".join((asked.stderr or asked.stdout).split()) if asked.returncode else ""


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _children(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _stamp(path: str) -> str:
    status = Path(path).stat()
    return f"{path} {status.st_size} {status.st_mtime_ns}"
