"""Many masks checked on all cores, each failing for itself, with a picture of each that can be used.

Add here how masks are shared out. What is wrong with one mask is the matter of ``masks``, and dying processes that of
``workers``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

from cspine_assets.domain.errors import GeometryError, unexpected_reason
from cspine_assets.domain.imaging.masks import MaskFindings, check_mask
from cspine_assets.domain.imaging.refusal import Cause
from cspine_assets.domain.volume import Volume, read_geometry, read_mask, read_volume
from cspine_assets.domain.workers import each_in_workers

MASKS_PER_CHUNK: Final = 8

FEW: Final = 24
"""So many masks are not worth the start of worker processes: each takes 0.06 s of processor time at 448 x 448 x 15,
check and picture, and the start of two processes 1.5 s."""

Draw: TypeAlias = Callable[[Volume, Volume], bytes]
"""Draws a volume with its mask, as a PNG; a function at the top level of a module."""


@dataclass(frozen=True)
class MaskTask:
    """A mask to check.

    Attributes:
        mask: The file; None where there is none.
        volume: The exam's volume.
        destination: Where a usable mask is written.
        md5: Of the file, as the release lists it; None where it lists none.
    """

    exam_id: str
    patient_id: str
    mask: Path | None
    volume: Path
    destination: Path
    md5: str | None = None


@dataclass(frozen=True)
class CheckedMask:
    """A mask that was looked at, and a PNG of it on its volume where it can be used."""

    findings: MaskFindings
    picture: bytes | None = None


def each_checked(tasks: Sequence[MaskTask], *, draw: Draw, workers: int = 2) -> Iterator[CheckedMask]:
    """Yields each mask's findings as soon as they are there, in no fixed order; one that fails stops none.

    Args:
        tasks: Of different exams.
        draw: Draws a usable mask.
        workers: Processes at a time.
    """
    if len(tasks) <= FEW:
        for task in tasks:
            yield _checked(task, draw)
        return
    size = max(1, min(MASKS_PER_CHUNK, -(-len(tasks) // (2 * workers))))
    chunks = [tasks[start : start + size] for start in range(0, len(tasks), size)]
    work = partial(check_together, draw=draw)
    yield from each_in_workers(chunks, work, lost=_lost, workers=workers, preload=[__name__, draw.__module__])


def check_together(tasks: Sequence[MaskTask], *, draw: Draw) -> list[CheckedMask]:
    """Returns the findings of several masks, in their order."""
    return [_checked(task, draw) for task in tasks]


def _checked(task: MaskTask, draw: Draw) -> CheckedMask:
    try:
        return _looked_at(task, draw)
    # a hostile file, or a picture that cannot be drawn, raises what nobody listed, and a whole cohort waits
    except Exception as error:  # noqa: BLE001
        reason = unexpected_reason(task.exam_id, error)
        return CheckedMask(MaskFindings(task.exam_id, task.patient_id, Cause.UNEXPECTED, reason))


def _looked_at(task: MaskTask, draw: Draw) -> CheckedMask:
    try:
        grid = read_geometry(task.volume)
    except GeometryError as error:
        return CheckedMask(MaskFindings(task.exam_id, task.patient_id, Cause.NOT_A_VOLUME, f"{task.exam_id}: {error}"))
    findings = check_mask(
        task.mask,
        grid,
        exam_id=task.exam_id,
        patient_id=task.patient_id,
        destination=task.destination,
        md5=task.md5,
    )
    usable = findings.is_ok and findings.path is not None
    return CheckedMask(findings, draw(read_volume(task.volume), read_mask(task.destination)) if usable else None)


def _lost(task: MaskTask) -> CheckedMask:
    reason = (
        f"{task.exam_id}: expected a look at the mask, the worker process died over it twice (out of memory?). "
        "Check it again with fewer workers."
    )
    return CheckedMask(MaskFindings(task.exam_id, task.patient_id, Cause.WORKER_DIED, reason))
