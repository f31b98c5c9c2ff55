"""Machines with GPUs, faked at their edges: tools of the drivers on the PATH, and a torch that the child imports."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

FIRST, SECOND = "GPU-5c89852c-0000-4000-8000-000000000001", "GPU-7d11aa00-0000-4000-8000-000000000002"
SLICES = ("MIG-c9b80000-0000-5000-8000-000000000001", "MIG-c9b80000-0000-5000-8000-000000000002")

TORCH = """
import json, os
from types import SimpleNamespace as Named
_told = json.loads({told!r})
with open({asked!r}, "a") as log:
    log.write(json.dumps(os.environ.get("CUDA_VISIBLE_DEVICES")) + "\\n")
__version__ = _told["version"]
version = Named(cuda=_told["cuda"], hip=_told["hip"])
def _visible():
    names = os.environ.get("CUDA_VISIBLE_DEVICES")
    if _told["hip"]:
        names = os.environ.get("HIP_VISIBLE_DEVICES", names)
    found = []
    if names is None:
        return [one for one in _told["devices"] if one["number"] is not None] or _told["devices"][:1]
    for name in names.split(","):
        hit = [one for one in _told["devices"]
               if name == str(one["number"]) or (len(name) > 3 and one["uuid"].startswith(name))]
        if len(hit) != 1:
            break
        found += hit
        if one_alone := hit[0]["uuid"].startswith("MIG-"):
            break
    return found
def _init():
    if _told["error"]:
        raise RuntimeError(_told["error"])
    if not _visible():
        raise RuntimeError("No CUDA GPUs are available")
def _properties(index):
    one = _visible()[index]
    return Named(name=one["name"], total_memory=one["memory_mb"] * 2**20, uuid=one["uuid"].partition("-")[2])
cuda = Named(init=_init, device_count=lambda: len(_visible()), get_device_properties=_properties)
backends = Named(mps=Named(is_available=lambda: _told["mps"]))
def ones(count, device):
    if _told["fault"]:
        raise RuntimeError(_told["fault"])
    return Named(sum=lambda: Named(item=lambda: 2.0))
"""


@dataclass(frozen=True)
class FakeMachine:
    """A machine without GPUs and with the real torch, until something is put in."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch

    def nvidia(self, *uuids: str, driver: str = "580.65.06", slices: tuple[str, ...] = (), fault: str = "") -> None:
        """Puts NVIDIA GPUs in, the first one divided into ``slices``; with a fault nvidia-smi prints it and fails."""
        rows = [f"{n}, {uuid}, NVIDIA A100-SXM4-80GB, 81559, {driver}" for n, uuid in enumerate(uuids)]
        listed = []
        for number, uuid in enumerate(uuids):
            listed.append(f"GPU {number}: NVIDIA A100-SXM4-80GB (UUID: {uuid})")
            for device, part in enumerate(slices if number == 0 else ()):
                listed.append(f"  MIG 3g.40gb     Device  {device}: (UUID: {part})")
        self._tool("nvidia-smi", {"-L": listed}, otherwise=rows, fault=fault)

    def amd(self) -> None:
        """Puts an AMD GPU in."""
        self._tool("rocm-smi", {}, otherwise=[json.dumps({"card0": {"Card Series": "AMD Instinct MI210"}})])

    def torch(
        self,
        *uuids: str,
        version: str = "2.13.0",
        cuda: str | None = "13.0",
        hip: str | None = None,
        mps: bool = False,
        error: str = "",
        fault: str = "",
        memory_mb: int = 81_000,
    ) -> None:
        """Installs a torch that can use these GPUs, by number (slices by UUID alone)."""
        whole = [uuid for uuid in uuids if not uuid.startswith("MIG-")]
        devices = [
            {
                "number": whole.index(uuid) if uuid in whole else None,
                "uuid": uuid,
                "name": "NVIDIA A100-SXM4-80GB" if cuda else "AMD Instinct MI210",
                "memory_mb": memory_mb,
            }
            for uuid in uuids
        ]
        told = {"version": version, "cuda": cuda, "hip": hip, "mps": mps, "error": error, "fault": fault}
        package = self.folder / "site" / "torch"
        package.mkdir(parents=True, exist_ok=True)
        asked = str(self.folder / "asked")
        (package / "__init__.py").write_text(TORCH.format(told=json.dumps(told | {"devices": devices}), asked=asked))
        self.monkeypatch.setenv("PYTHONPATH", str(package.parent))

    @property
    def times_asked(self) -> int:
        """How often the fake torch was imported."""
        log = self.folder / "asked"
        return len(log.read_text().splitlines()) if log.exists() else 0

    def _tool(self, name: str, answers: dict[str, list[str]], *, otherwise: list[str], fault: str = "") -> None:
        script = self.folder / "bin" / name
        script.parent.mkdir(exist_ok=True)
        body = f"import sys\nanswers, otherwise, fault = {answers!r}, {otherwise!r}, {fault!r}\n"
        body += "print(fault) if fault else print('\\n'.join(answers.get(sys.argv[1], otherwise)))\n"
        script.write_text(f"#!{sys.executable}\n{body}sys.exit(9 if fault else 0)\n")
        script.chmod(0o755)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeMachine]:
    """A machine that remembers nothing yet, and whose environment names no device."""
    folder = tmp_path / "machine"
    (folder / "bin").mkdir(parents=True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    monkeypatch.setenv("PATH", f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
    for name in ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    yield FakeMachine(folder, monkeypatch)
