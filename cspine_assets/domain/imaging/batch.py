"""Many exams converted on all cores, each failing for itself.

Add here how exams are shared out. What happens to one exam is the matter of ``conversion``, and dying
processes that of ``workers``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from cspine_assets.domain.housekeeping import sweep_scratch
from cspine_assets.domain.imaging.conversion import ConversionTask, convert_together
from cspine_assets.domain.imaging.outcome import Failed, Outcome
from cspine_assets.domain.imaging.refusal import Cause
from cspine_assets.domain.workers import each_in_workers

EXAMS_PER_CALL: Final = 8
"""Series in one call of dcm2niix: its start (10 ms) is shared, and a killed run loses few exams."""


def convert_exams(
    tasks: Sequence[ConversionTask],
    scratch: Path,
    *,
    workers: int = 2,
    exams_per_call: int = EXAMS_PER_CALL,
    finished: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:
    """Converts many exams and returns an outcome for each, in their order; one that fails stops none.

    Args:
        tasks: Of different exams.
        scratch: Folder for unpacked files; what killed runs on this machine left there is removed first.
        workers: Processes at a time; with 0 all is done in this one.
        exams_per_call: Series in one call of dcm2niix.
        finished: Called in this process and thread for every outcome as soon as it is there, so that it can
            be kept at once; what it raises ends the whole.
    """
    outcomes: dict[str, Outcome] = {}
    for outcome in each_converted(tasks, scratch, workers=workers, exams_per_call=exams_per_call):
        outcomes[outcome.request.exam_id] = outcome
        if finished is not None:
            finished(outcome)
    return [outcomes[task.request.exam_id] for task in tasks]


def each_converted(
    tasks: Sequence[ConversionTask], scratch: Path, *, workers: int = 2, exams_per_call: int = EXAMS_PER_CALL
) -> Iterator[Outcome]:
    """Yields an outcome for each exam as soon as it is there, in no fixed order; see ``convert_exams``."""
    sweep_scratch(scratch)
    # small enough that every worker has something to do, and the last one does not work alone for long
    size = max(1, min(exams_per_call, -(-len(tasks) // (2 * max(workers, 1)))))
    chunks = [tasks[start : start + size] for start in range(0, len(tasks), size)]
    if workers < 1:
        for chunk in chunks:
            yield from convert_together(chunk, scratch)
        return
    work = partial(convert_together, scratch=scratch)
    yield from each_in_workers(chunks, work, lost=_lost, workers=workers, preload=[__name__])


def _lost(task: ConversionTask) -> Outcome:
    return Failed(
        task.request,
        Cause.WORKER_DIED,
        f"{task.request.exam_id}: expected a conversion, the worker process died over it twice (out of memory, or a "
        "crash in a library). Convert it again with fewer workers.",
    )
