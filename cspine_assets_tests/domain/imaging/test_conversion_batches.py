from __future__ import annotations

import pytest

from cspine_assets.domain.imaging.batch import convert_exams
from cspine_assets.domain.imaging.conversion import ConversionTask
from cspine_assets.domain.imaging.outcome import Converted, Failed
from cspine_assets.domain.imaging.sources import SeriesRequest
from cspine_assets_tests.domain.imaging.dicom_series import PATIENT, SLICES, UID, make_instances, write_series


def make_tasks(tmp_path, count, bad=()):
    tasks = []
    for number in range(count):
        instances = make_instances(uid=f"{UID}{number}", seed=number)[: 3 if number in bad else None]
        series = write_series(tmp_path / f"{number}.zip", instances)
        request = SeriesRequest(f"exam-{number}", PATIENT, f"{UID}{number}", SLICES, series=series)
        tasks.append(ConversionTask(request, tmp_path / "home" / f"{number}.nii.gz"))
    return tasks


@pytest.mark.parametrize("workers", [0, 2])
def test_each_exam_fails_alone_and_outcomes_come_in_order(workers, tmp_path):
    told = []
    tasks = make_tasks(tmp_path, 7, bad=(2, 5))
    outcomes = convert_exams(tasks, tmp_path / "scratch", workers=workers, exams_per_call=3, finished=told.append)
    assert [o.request.exam_id for o in outcomes] == [t.request.exam_id for t in tasks]
    assert [type(o) for o in outcomes] == [Failed if n in (2, 5) else Converted for n in range(7)]
    assert sorted(o.request.exam_id for o in told) == sorted(o.request.exam_id for o in outcomes)
    assert not list((tmp_path / "scratch").iterdir())


def test_no_exams_give_no_outcomes(tmp_path):
    assert convert_exams([], tmp_path / "scratch") == []
