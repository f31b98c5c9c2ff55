"""Asking torch which devices it can really use, in a child process, once per machine.

Change this file when the question, its time limit or the lifetime of the answer changes.
The child itself is ``children.devices``; what the answer means for a user is said in ``gpus``.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

from pydantic import ValidationError

from cspine_assets.domain.files import fingerprint_text
from cspine_assets.nnunet.hardware import RETRY_AFTER_S, machine_key
from cspine_assets.nnunet.messages import Frozen
from cspine_assets.nnunet.remembered import recall, remember

CHILD: Final = "cspine_assets.nnunet.children.devices"
TIME_LIMIT_S: Final = 180.0
"""Importing torch takes 2 s from a local disk, and more than a minute from a cluster's cold file system."""
MOST_QUOTED: Final = 300
"""Characters of an error that are worth showing."""


class TorchDevice(Frozen):
    """One device that torch lists.

    Attributes:
        kind: As torch names it; AMD's GPUs are ``cuda`` too.
        index: Among those that torch sees in this environment.
        name: For people.
        memory_mb: Of the device, or None where it shares the machine's.
        uuid: As nvidia-smi prints it, or None where torch does not report it.
        error: Why a first small computation failed; empty when it worked or the device was only busy.
    """

    kind: Literal["cuda", "mps"]
    index: int
    name: str
    memory_mb: float | None = None
    uuid: str | None = None
    error: str = ""


class TorchAnswer(Frozen):
    """What torch answered.

    Attributes:
        version: Of torch, or None where it could not be imported.
        cuda: CUDA version of the build, or None.
        hip: ROCm version of the build, or None.
        devices: All that torch lists.
        error: Why torch lists no device although it is built for them, or why it could not be asked.
    """

    version: str | None = None
    cuda: str | None = None
    hip: str | None = None
    devices: tuple[TorchDevice, ...] = ()
    error: str = ""

    @property
    def build(self) -> str:
        """The build for people, such as ``torch 2.13.0 (CUDA 13.0)``."""
        kind = f"CUDA {self.cuda}" if self.cuda else f"ROCm {self.hip}" if self.hip else "CPU build"
        if any(device.kind == "mps" for device in self.devices):
            kind = "MPS"
        return f"torch {self.version} ({kind})" if self.version else "no working torch"


_asked: dict[str, TorchAnswer] = {}
"""Answers in this process, by key."""


def ask_torch(changes: Mapping[str, str | None] | None = None) -> TorchAnswer:
    """Return what torch can use in this environment; asked once, remembered until the machine changes.

    An answer with an error is kept for some minutes only. Asking never fails: what went wrong is in the answer.

    Args:
        changes: Of environment variables for the question; None removes one.
    """
    environment = _with(os.environ, changes or {})
    key = fingerprint_text(machine_key(), _interpreter(), repr(sorted((changes or {}).items(), key=str)))
    if key not in _asked:
        _asked[key] = recall("torch", key, TorchAnswer) or _ask_again_soon(key) or _ask(key, environment)
    return _asked[key]


def _ask_again_soon(key: str) -> TorchAnswer | None:
    return recall("torch-errors", key, TorchAnswer, newer_than_s=RETRY_AFTER_S)


def _ask(key: str, environment: Mapping[str, str]) -> TorchAnswer:
    answer = _from_child(environment)
    failed = answer.error or any(device.error for device in answer.devices)
    remember("torch-errors" if failed else "torch", key, answer)
    return answer


def _from_child(environment: Mapping[str, str]) -> TorchAnswer:
    try:
        child = subprocess.run(
            [sys.executable, "-m", CHILD],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=TIME_LIMIT_S,
        )
    except subprocess.TimeoutExpired:
        return TorchAnswer(error=f"torch did not answer within {TIME_LIMIT_S:g} s")
    try:
        return TorchAnswer.model_validate_json(child.stdout.strip().rpartition("\n")[2])
    except ValidationError:
        last = child.stderr.strip().rpartition("\n")[2][-MOST_QUOTED:]
        return TorchAnswer(error=last or f"the child that asks torch ended with status {child.returncode}")


def _with(environment: Mapping[str, str], changes: Mapping[str, str | None]) -> dict[str, str]:
    merged = {**environment, **changes}
    return {name: value for name, value in merged.items() if value is not None}


def _interpreter() -> str:
    """Returns which Python and which torch would answer; an upgrade of torch in place changes its ``version.py``."""
    found = importlib.util.find_spec("torch")
    origin = Path(found.origin) if found and found.origin else None
    version = origin.with_name("version.py") if origin else None
    stamp = version.stat().st_mtime_ns if version and version.exists() else 0
    return f"{sys.executable} {sys.version} {origin} {stamp} {os.environ.get('PYTHONPATH')}"
