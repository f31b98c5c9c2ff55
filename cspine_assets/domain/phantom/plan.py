"""Which exams a synthetic cohort holds, under which names: everything the tables say before a voxel is drawn.

Add here what must agree between headers, tables and file names.
Writing any of them does not belong here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

import numpy as np

from cspine_assets.domain.phantom.demographics import SMALLEST_WITH_EXCEPTIONS, Patient, draw_patients
from cspine_assets.domain.phantom.protocol import Acquisition, draw_acquisition, draw_scanners
from cspine_assets.domain.phantom.settings import CohortSettings

UID_ROOT: Final = "1.2.826.0.1.3680043.10.474.593973"
_UIDS_PER_EXAM: Final = 100


@dataclass(frozen=True)
class ExamPlan:
    """One exam: who, when, how, and under which names and identifiers."""

    index: int
    patient: Patient
    study_number: int
    series_number: int
    age_years: int
    days_to_study: int
    shifted_date: date
    acquisition: Acquisition
    first_uid_number: int
    instance_order: tuple[int, ...]

    @property
    def exam_id(self) -> str:
        """Returns the stem of the shipped files' names."""
        return f"{self.patient.patient_id}_Study-MR-{self.study_number}_Series-{self.series_number}"

    @property
    def image_file_name(self) -> str:
        """Returns the file name of the shipped MRI."""
        return f"{self.exam_id}.nii.gz"

    @property
    def mask_file_name(self) -> str:
        """Returns the file name of the shipped mask."""
        return f"{self.exam_id}_SEG.nii.gz"

    @property
    def study_uid(self) -> str:
        """Returns the StudyInstanceUID."""
        return self._uid(0)

    @property
    def series_uid(self) -> str:
        """Returns the SeriesInstanceUID."""
        return self._uid(1)

    @property
    def frame_uid(self) -> str:
        """Returns the FrameOfReferenceUID."""
        return self._uid(2)

    @property
    def archive_name(self) -> str:
        """Returns the path of the zip of DICOM instances below ``case_image``."""
        return f"{self.patient.patient_id}/{self.study_uid}/{self.series_uid}.zip"

    def instance_uid(self, position: int) -> str:
        """Returns the SOPInstanceUID of the slice at a position, 0 being the first along the slice axis."""
        return self._uid(3 + self.instance_order[position])

    def instance_number(self, position: int) -> int:
        """Returns the InstanceNumber of the slice at a position: an order of its own, from 1."""
        return self.instance_order[position] + 1

    def _uid(self, offset: int) -> str:
        return f"{UID_ROOT}.{self.first_uid_number + offset}"


@dataclass(frozen=True)
class CohortPlan:
    """All patients and exams of a cohort, both in the order of their ids."""

    settings: CohortSettings
    patients: tuple[Patient, ...]
    exams: tuple[ExamPlan, ...]


def plan_cohort(settings: CohortSettings) -> CohortPlan:
    """Plans a cohort: draws its patients and exams; reads and writes nothing."""
    patients = draw_patients(settings)
    owners = [(patient, number) for patient in patients for number in range(1, patient.exam_count + 1)]
    with_exceptions = settings.patients >= SMALLEST_WITH_EXCEPTIONS
    rng = np.random.default_rng([settings.seed, 2])
    scanners = draw_scanners(rng, len(owners), with_exceptions=with_exceptions)
    three_d = _three_d_exam(owners) if with_exceptions else None
    first_uid = int(rng.integers(1_000, 9_000)) * _UIDS_PER_EXAM
    exams = []
    for index, (patient, study_number) in enumerate(owners):
        own = np.random.default_rng([settings.seed, 3, index])
        acquisition = draw_acquisition(own, settings, scanners[index], is_3d=index == three_d)
        days = 0 if study_number == 1 else int(own.integers(120, 1500))
        exams.append(
            ExamPlan(
                index=index,
                patient=patient,
                study_number=study_number,
                series_number=int(own.integers(2, 10)),
                age_years=patient.age_years + days // 365,
                days_to_study=days,
                shifted_date=date(2010, 1, 4) + timedelta(days=days + int(own.integers(0, 2000))),
                acquisition=acquisition,
                first_uid_number=first_uid + index * _UIDS_PER_EXAM,
                instance_order=_instance_order(own, acquisition.slices),
            )
        )
    return CohortPlan(settings, patients, tuple(exams))


def _three_d_exam(owners: list[tuple[Patient, int]]) -> int:
    """Returns the exam acquired in 3-D: an expert's if there is one, of a patient with one exam if there is one."""
    ranked = sorted(
        range(len(owners)), key=lambda index: (not owners[index][0].has_expert_masks, owners[index][0].exam_count)
    )
    return ranked[0]


def _instance_order(rng: np.random.Generator, slices: int) -> tuple[int, ...]:
    """Returns the place of each position in the order of InstanceNumber: half the series are out of order."""
    ordered = np.arange(slices)
    return tuple(int(place) for place in (rng.permutation(ordered) if rng.random() < 0.5 else ordered))
