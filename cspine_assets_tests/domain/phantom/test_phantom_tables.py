from __future__ import annotations

import hashlib
import io
import zipfile

import numpy as np
import pydicom
import pytest

from cspine_assets.domain.errors import CSpineError
from cspine_assets.domain.phantom.demographics import draw_patients
from cspine_assets.domain.phantom.plan import plan_cohort
from cspine_assets.domain.phantom.settings import CohortSettings

NODES = ("case", "imaging_study", "mr_series", "annotation_file", "image_manifest", "clinical_manifest")


def md5(content):
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def test_tables_have_the_release_s_columns_and_rows(cohort):
    exams, patients = len(cohort.exams), cohort.report.patients
    shapes = {node: cohort.table(node).shape for node in NODES}
    assert shapes["case"] == (patients, 21)
    assert shapes["imaging_study"] == (exams, 19)
    assert shapes["mr_series"] == (exams, 40)
    assert shapes["annotation_file"][0] == 2 * exams
    assert shapes["image_manifest"][0] == cohort.report.instances
    assert shapes["clinical_manifest"][0] == 5


def test_every_row_refers_to_a_row_that_is_there(cohort):
    case, study, series = (cohort.table(node) for node in NODES[:3])
    annotation, instance = cohort.table("annotation_file"), cohort.table("image_manifest")
    for keys in (case.submitter_id, study.submitter_id, series.submitter_id, annotation.submitter_id):
        assert keys.is_unique
    assert set(study.case_ids) == set(case.submitter_id)
    assert set(series["imaging_studies.submitter_id"]) == set(study.submitter_id)
    assert set(annotation["mr_series_files.submitter_id"]) == set(series.submitter_id)
    assert instance.submitter_id.is_unique
    counts = instance.groupby("series_uid").size().to_dict()
    assert counts == dict(zip(series.submitter_id, series.number_of_instances.astype(int), strict=True))


def test_sizes_and_checksums_are_true(cohort):
    paths = {path.name: path for path in cohort.root.rglob("*") if path.is_file()}
    for node in ("annotation_file", "clinical_manifest"):
        for row in cohort.table(node).itertuples():
            content = paths[row.file_name].read_bytes()
            assert (len(content), md5(content)) == (int(row.file_size), row.md5sum)


def test_the_image_manifest_describes_the_instances_in_the_archives(cohort):
    manifest = cohort.table("image_manifest").set_index("instance_uid")
    for exam in cohort.exams[:3]:
        with zipfile.ZipFile(cohort.archive(exam)) as archive:
            for name in archive.namelist():
                content = archive.read(name)
                header = pydicom.dcmread(io.BytesIO(content), stop_before_pixels=True)
                row = manifest.loc[header.SOPInstanceUID]
                assert row.md5sum == md5(content)
                assert row.file_name == name.rsplit("/", 1)[-1]
                assert (row.series_uid, row.case_ids) == (header.SeriesInstanceUID, header.PatientID)


def test_the_tables_hold_the_release_s_traps(cohort):
    case, series, annotation = (cohort.table(node) for node in ("case", "mr_series", "annotation_file"))
    assert {"SIEMENS", "Siemens", "GE MEDICAL SYSTEMS"} == set(series.manufacturer)
    assert set(series.lossy_image_compression) == {"00"}
    assert (series.diffusion_b_value == "").all()
    over = case[case.age_at_index_gt89 == "Yes"]
    assert list(over.age_at_index) == [""]
    masks = annotation[annotation.file_name.str.endswith("_SEG.nii.gz")]
    assert set(masks.annotation_method) == {"Retrospective_auto"}
    assert cohort.table("imaging_study").case_ids.duplicated().sum() == 2


def test_headers_agree_with_the_series_table(cohort):
    series = cohort.table("mr_series").set_index("submitter_id")
    for exam in cohort.exams:
        with zipfile.ZipFile(cohort.archive(exam)) as archive:
            header = pydicom.dcmread(io.BytesIO(archive.read(archive.namelist()[0])))
        row = series.loc[exam.series_uid]
        assert header.Manufacturer == row.manufacturer
        assert float(header.MagneticFieldStrength) == float(row.magnetic_field_strength)
        assert float(header.EchoTime) == float(row.echo_time)
        assert float(header.SpacingBetweenSlices) == float(row.spacing_between_slices)
        assert header.PixelSpacing[0] == pytest.approx(float(row.pixel_spacing))
        assert str(header.PatientName) == header.PatientID == row.case_ids


def test_people_are_distributed_as_in_the_release():
    patients = draw_patients(CohortSettings(patients=1232, seed=3))
    assert sum(patient.sex == "Female" for patient in patients) == 675
    assert sum(patient.race == "Asian" for patient in patients) == 24
    assert sum(patient.age_years > 89 for patient in patients) == 12
    ages = [patient.age_years for patient in patients if patient.age_years <= 89]
    assert np.mean(ages) == pytest.approx(54.5, abs=1.5)
    assert len({patient.patient_id for patient in patients}) == 1232


def test_exams_are_acquired_as_in_the_release():
    exams = plan_cohort(CohortSettings(patients=1000, seed=3)).exams
    vendors = [exam.acquisition.is_ge for exam in exams]
    strengths = [exam.acquisition.scanner.field_strength_t for exam in exams]
    assert np.mean(vendors) == pytest.approx(466 / 1255, abs=0.01)
    assert np.mean([strength == 1.5 for strength in strengths]) == pytest.approx(747 / 1255, abs=0.06)
    assert len({exam.series_uid for exam in exams} | {exam.study_uid for exam in exams}) == 2 * len(exams)


@pytest.mark.parametrize("fraction", [0.0, 0.5, 1.0])
def test_the_share_of_experts_is_as_asked(fraction):
    patients = draw_patients(CohortSettings(patients=10, seed=5, expert_fraction=fraction))
    assert sum(patient.has_expert_masks for patient in patients) == 10 * fraction


@pytest.mark.parametrize("wrong", [{"patients": 0}, {"matrix": 8}, {"slices_max": 3}, {"expert_fraction": 1.2}])
def test_impossible_settings_are_refused_by_name(wrong):
    with pytest.raises(CSpineError, match=next(iter(wrong))):
        CohortSettings(**{"patients": 4, "seed": 1, **wrong})
