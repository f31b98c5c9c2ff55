"""How much disk a step of nnU-Net will need, with the formula, and whether it is there.

Add an estimate here when another step fills disks. What is written, and where, belongs to the step itself.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

FLOAT_BYTES = 4

CHECKPOINTS_AT_ONCE = 4
"""The latest, the one before it, the best, and the one being written aside."""

SMALL_FILES_BYTES = 5_000_000
"""Logs, plans, the picture of the progress and that of the network."""

PREPROCESSED_VOXEL_BYTES = 6
"""Image as float32 and mask as int16; blosc2 makes less of it."""


@dataclass(frozen=True)
class DiskNeed:
    """Bytes that a step will need at most, and how that was reckoned."""

    bytes: int
    formula: str


class DiskFullError(OSError):
    """There is less room than a step needs."""


def training_need(
    *,
    parameters: int,
    optimizer_states: int,
    validation_voxels: int,
    labels: int,
    probabilities: bool,
    standing_bytes: int = 0,
) -> DiskNeed:
    """What a training and its validation write.

    Args:
        parameters: Of the network.
        optimizer_states: Numbers that the optimizer keeps per parameter: 1 for SGD with momentum, 2 for AdamW.
        validation_voxels: Of all validation cases together.
        labels: Background included.
        probabilities: Whether the softmax of the validation cases is kept.
        standing_bytes: Size of checkpoints that stand already and will be replaced.
    """
    per_parameter = FLOAT_BYTES * (1 + optimizer_states)
    per_voxel = 1 + (FLOAT_BYTES * labels if probabilities else 0)
    checkpoints = CHECKPOINTS_AT_ONCE * parameters * per_parameter
    total = max(0, checkpoints - standing_bytes) + validation_voxels * per_voxel + SMALL_FILES_BYTES
    return DiskNeed(
        total,
        f"{CHECKPOINTS_AT_ONCE} checkpoints x {parameters:,} parameters x {per_parameter} B"
        + (f" - {_readable(standing_bytes)} that stand" if standing_bytes else "")
        + f" + {validation_voxels:,} validation voxels x {per_voxel} B"
        + f" + {_readable(SMALL_FILES_BYTES)} of logs and pictures",
    )


def preprocessing_need(*, cases: int, median_voxels: int, configurations: int) -> DiskNeed:
    """What preprocessing writes.

    Args:
        cases: Training cases.
        median_voxels: Of a resampled case, the median.
        configurations: How many are preprocessed.
    """
    return DiskNeed(
        cases * median_voxels * PREPROCESSED_VOXEL_BYTES * configurations,
        f"{cases} cases x {median_voxels:,} voxels x {PREPROCESSED_VOXEL_BYTES} B x {configurations} configurations",
    )


def require_free_disk(folder: Path, need: DiskNeed) -> None:
    """Make sure that a folder's disk has room.

    Raises:
        DiskFullError: It has not; names the folder, what is needed and by which formula, and what is free.
    """
    free = shutil.disk_usage(folder).free
    if free < need.bytes:
        raise DiskFullError(
            f"{folder}: needs {_readable(need.bytes)} of free disk ({need.formula}), there are {_readable(free)}. "
            "Make room or move the home; what is done so far stands, and the next call goes on from there."
        )


def _readable(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
