import pytest

from cspine_assets.domain.cohort.exams import build_exams, build_patients, normalize_manufacturer
from cspine_assets.domain.tables.base import empty_frame
from cspine_assets.domain.tables.midrc import AnnotationFiles, Cases

FIRST = "593973-000001_Study-MR-1_Series-1"


def test_every_exam_has_one_row_with_its_links(build, download):
    built = build(download)
    assert len(built.frame) == 7
    assert built.findings.empty
    row = built.frame.set_index("exam_id").loc["593973-000003_Study-MR-2_Series-1"]
    assert (row["patient_id"], row["study_number"], row["series_number"]) == ("593973-000003", 2, 1)
    assert row["series_uid"].endswith(".352")
    assert row["mask_file_name"] == "593973-000003_Study-MR-2_Series-1_SEG.nii.gz"
    assert (row["manufacturer"], row["manufacturer_raw"]) == ("Siemens", "SIEMENS")
    assert row["echo_time_ms"] == 101.5


def test_row_order_does_not_count(build, download):
    expected = build(download).frame
    for name in ("case", "imaging_study", "mr_series", "annotation_file"):
        getattr(download, name).reverse()
    assert build(download).frame.equals(expected)


def test_an_age_over_89_is_missing_and_said_so(build, download):
    download.add_patient(50, age_at_index=None, age_at_index_gt89="Yes")
    row = build(download).frame.set_index("patient_id").loc["593973-000050"]
    assert row.isna()["age_years"]
    assert row["age_over_89"]


@pytest.mark.parametrize(
    ("table", "column", "value", "check"),
    [
        ("annotation_file", "mr_series_files.submitter_id", "1.2.9", "foreign_keys"),
        ("mr_series", "imaging_studies.submitter_id", "1.2.9", "foreign_keys"),
        ("mr_series", "case_ids", "593973-000002", "foreign_keys"),
        ("imaging_study", "case_ids", "593973-000002", "foreign_keys"),
    ],
)
def test_an_exam_with_a_broken_link_is_left_out_and_named(build, download, table, column, value, check):
    getattr(download, table)[0][column] = value
    built = build(download)
    assert FIRST not in set(built.frame["exam_id"])
    assert len(built.frame) == 6
    blocking = built.findings[built.findings["severity"] == "blocks"]
    assert set(blocking["exam_id"]) == {FIRST}
    assert check in set(blocking["check_name"])


def test_an_exam_without_a_case_is_left_out_and_named(build, download):
    download.case.pop(0)
    built = build(download)
    assert built.findings["exam_id"].tolist() == [FIRST]
    assert "midrc.cases" in built.findings["message"][0]


def test_a_series_without_files_is_named(build, download):
    download.annotation_file = download.annotation_file[2:]
    built = build(download)
    assert set(built.findings["severity"]) == {"warns"}
    assert download.mr_series[0]["submitter_id"] in set(built.findings["subject"])


def test_a_strange_file_name_is_named(build, download):
    download.annotation_file.append({"submitter_id": "x", "file_name": "scan.nii.gz"})
    assert build(download).findings["subject"].tolist() == ["scan.nii.gz"]


def test_a_file_listed_twice_leaves_its_exam_out(build, download):
    download.annotation_file.append({**download.annotation_file[0], "submitter_id": "again"})
    built = build(download)
    assert built.findings["check_name"].tolist() == ["file_names"]
    assert FIRST not in set(built.frame["exam_id"])


def test_an_exam_without_a_mask_keeps_its_row(build, download):
    download.annotation_file.pop(1)
    row = build(download).frame.set_index("exam_id").loc[FIRST]
    assert row.isna()["mask_file_name"]


def test_a_release_without_files_has_no_exams(frames, download):
    cases, studies, series, _files = frames(download).values()
    built = build_exams(cases, studies, series, empty_frame(AnnotationFiles))
    assert built.frame.empty
    assert len(built.findings) == 7


def test_patients_without_an_exam_are_kept(build, frames, download):
    exams = build(download).frame
    download.add_patient(60, exams=0)
    patients = build_patients(frames(download)[Cases], exams).set_index("patient_id")
    assert patients["exam_count"].to_dict()["593973-000060"] == 0
    assert patients["exam_count"].to_dict()["593973-000003"] == 2


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("SIEMENS", "Siemens"),
        ("Siemens Healthineers", "Siemens"),
        ("GE MEDICAL SYSTEMS", "GE"),
        ("GE_MEDICAL", "GE"),
        ("Genesis", None),
    ],
)
def test_manufacturers_have_one_spelling(raw, name):
    assert normalize_manufacturer(raw) == name
