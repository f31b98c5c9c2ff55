"""The child that asks torch which devices it can use: one line of JSON on its standard output.

Change this file when torch has to be asked something more.
What the answer means belongs in ``gpus``; nothing but torch may be imported here.
"""

from __future__ import annotations

import sys
import traceback

from cspine_assets.nnunet.torch_devices import MOST_QUOTED, TorchAnswer, TorchDevice

BUSY = ("out of memory", "busy or unavailable")
"""A device that another process fills or owns alone is usable all the same, once that process has ended."""


def answer() -> TorchAnswer:
    """Return torch's version, its build, and every device it lists with the result of a first small computation."""
    try:
        import torch
    except Exception as error:  # noqa: BLE001 - a broken installation raises anything
        traceback.print_exc()
        return TorchAnswer(error=_short(error))
    cuda, hip = torch.version.cuda, getattr(torch.version, "hip", None)
    devices: list[TorchDevice] = []
    said = ""
    try:
        if cuda or hip:
            torch.cuda.init()  # type: ignore[no-untyped-call]  # torch types it nowhere
            devices = [_cuda_device(index) for index in range(torch.cuda.device_count())]
    except Exception as error:  # noqa: BLE001 - drivers fail in any way; what torch says is the answer
        traceback.print_exc()
        said = _short(error)
    if torch.backends.mps.is_available():
        devices.append(TorchDevice(kind="mps", index=0, name="Apple GPU", error=_tried("mps")))
    return TorchAnswer(version=str(torch.__version__), cuda=cuda, hip=hip, devices=tuple(devices), error=said)


def _cuda_device(index: int) -> TorchDevice:
    import torch

    properties = torch.cuda.get_device_properties(index)
    uuid = getattr(properties, "uuid", None)
    return TorchDevice(
        kind="cuda",
        index=index,
        name=properties.name,
        memory_mb=properties.total_memory / 2**20,
        uuid=f"GPU-{uuid}" if uuid else None,
        error=_tried(f"cuda:{index}"),
    )


def _tried(device: str) -> str:
    """Returns why a sum of two numbers on a device fails: a build may lack the kernels for an old or new GPU."""
    import torch

    try:
        torch.ones(2, device=device).sum().item()
    except Exception as error:  # noqa: BLE001 - as above
        traceback.print_exc()
        return "" if any(word in str(error) for word in BUSY) else _short(error)
    return ""


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:MOST_QUOTED]


if __name__ == "__main__":
    answered = answer().model_dump_json()
    sys.stdout.write(f"\n{answered}\n")
