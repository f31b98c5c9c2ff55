"""Patients are taken together as far as the disk allows."""

from types import SimpleNamespace

import pytest

from cspine_assets.defs.exam_files import EXAMS_AT_A_TIME, batches


def study(patients: list[str], *, in_archives: bool) -> SimpleNamespace:
    exams = {patient: ["exam"] * (2 if patient.endswith("7") else 1) for patient in patients}
    return SimpleNamespace(source=SimpleNamespace(in_archives=in_archives), exams_by_patient=exams)


PATIENTS = [f"p{number:04d}" for number in range(3 * EXAMS_AT_A_TIME)]


def test_files_inside_archives_are_copied_out_for_some_exams_at_a_time():
    opened = study(PATIENTS, in_archives=True)
    lists = list(batches(opened, PATIENTS))
    exams = [sum(len(opened.exams_by_patient[patient]) for patient in some) for some in lists]
    assert [patient for some in lists for patient in some] == PATIENTS
    assert len(lists) == 4
    assert all(EXAMS_AT_A_TIME <= count <= EXAMS_AT_A_TIME + 1 for count in exams[:-1])


def test_files_that_lie_free_are_worked_on_together():
    assert list(batches(study(PATIENTS, in_archives=False), PATIENTS)) == [PATIENTS]


@pytest.mark.parametrize("in_archives", [False, True])
def test_nobody_is_no_list(in_archives: bool):
    assert list(batches(study([], in_archives=in_archives), [])) == []
