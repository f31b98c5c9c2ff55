"""Patients scored in several processes, each alone: a bad exam costs its patient, and nobody else.

Change here how the work is shared out. What a score is stands in ``score``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Final

from cspine_assets.domain.errors import CSpineError, unexpected_reason
from cspine_assets.domain.evaluation.score import MetricFrames, Part, ScoredPair, concat_frames, score_pairs
from cspine_assets.domain.machine import usable_cores
from cspine_assets.domain.workers import each_in_workers

_PATIENTS_PER_CHUNK: Final = 4
_PATIENTS_PER_WORKER: Final = 20
"""A process takes two seconds to start, as long as some twenty patients take: fewer are scored in this one."""


@dataclass(frozen=True)
class PatientPairs:
    """Everything of one patient that is to be scored; the pairs of an exam stand together."""

    patient_id: str
    pairs: tuple[ScoredPair, ...]


@dataclass(frozen=True)
class PatientScore:
    """The rows of one patient.

    Attributes:
        patient_id: Patient.
        frames: Rows of all exams that could be scored for every predictor.
        failure: What was wrong with the others, or None.
    """

    patient_id: str
    frames: MetricFrames
    failure: str | None = None


def score_patients(patients: Sequence[PatientPairs], *, parts: Collection[Part]) -> Iterator[PatientScore]:
    """Yields every patient's rows as they are done, in no fixed order.

    Args:
        patients: Their pairs; a patient without any has no rows.
        parts: Tables to make.
    """
    chunks = [patients[start : start + _PATIENTS_PER_CHUNK] for start in range(0, len(patients), _PATIENTS_PER_CHUNK)]
    work = partial(score_each, parts=frozenset(parts))
    busy = sum(bool(patient.pairs) for patient in patients)
    workers = min(usable_cores(), busy // _PATIENTS_PER_WORKER)
    if workers <= 1:
        for chunk in chunks:
            yield from work(list(chunk))
        return
    # the two modules that take longest to import
    preload = ["cspine_assets.domain.evaluation.patient_score", "cspine_assets.domain.evaluation.surface"]
    yield from each_in_workers(chunks, work, lost=_lost, workers=workers, preload=preload)


def score_each(patients: list[PatientPairs], parts: Collection[Part]) -> list[PatientScore]:
    """Returns the scores of some patients, one after another."""
    return [_score(patient, parts) for patient in patients]


def _score(patient: PatientPairs, parts: Collection[Part]) -> PatientScore:
    scored, failures = [], []
    for exam_id, pairs in groupby(patient.pairs, key=lambda pair: pair.case.exam_id):
        try:
            scored.append(score_pairs(list(pairs), parts=parts))
        except CSpineError as error:
            failures.append(f"{exam_id}: {error}")
        except Exception as error:  # noqa: BLE001 - masks that nobody foresaw, and a whole cohort waits
            failures.append(unexpected_reason(exam_id, error))
    frames = scored[0] if len(scored) == 1 else concat_frames(scored)
    return PatientScore(patient.patient_id, frames, "; ".join(failures) or None)


def _lost(patient: PatientPairs) -> PatientScore:
    failure = "the process that scored it ended twice, maybe out of memory; materialize it again with fewer at a time"
    return PatientScore(patient.patient_id, concat_frames([]), failure)
