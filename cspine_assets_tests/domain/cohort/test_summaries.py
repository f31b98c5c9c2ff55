import pytest

from cspine_assets.domain.cohort.evidence import read_evidence
from cspine_assets.domain.cohort.exams import build_patients
from cspine_assets.domain.cohort.provenance import build_annotation_provenance
from cspine_assets.domain.cohort.summaries import build_demographics, build_imaging_parameters
from cspine_assets.domain.tables.midrc import AnnotationFiles, Cases

FIRST = "593973-000001_Study-MR-1_Series-1"


@pytest.fixture
def parts(build, frames, download, experts):
    download.add_patient(50, age_at_index=None, age_at_index_gt89="Yes")
    exams = build(download).frame
    tables = frames(download)
    evidence = read_evidence(experts(FIRST, "593973-000003_Study-MR-1_Series-1"))
    provenance = build_annotation_provenance(exams, tables[AnnotationFiles], evidence).frame
    return build_patients(tables[Cases], exams), exams, provenance


def test_demographics_count_patients_and_leave_withheld_ages_out(parts):
    patients, _, provenance = parts
    table = build_demographics(patients, provenance).set_index(["provenance", "variable", "value"])
    age = table.loc[("all", "age_years", "all")]
    assert (age["patient_count"], age["missing_count"]) == (6, 1)
    assert age["mean"] == pytest.approx(patients["age_years"].mean())
    assert age["sd_sample"] == pytest.approx(patients["age_years"].astype(float).std(ddof=1))
    assert table.loc[("all", "sex", "Male"), "patient_count"] == 4
    assert table.loc[("all", "age_over_89", "Yes"), "patient_count"] == 1


def test_a_patient_with_both_kinds_of_masks_counts_in_each(parts):
    patients, _, provenance = parts
    table = build_demographics(patients, provenance)
    sexes = table[table["variable"] == "sex"].groupby("provenance")["patient_count"].sum()
    assert sexes.to_dict() == {"all": 7, "expert": 2, "model": 6}


def test_imaging_parameters_count_exams(parts):
    _, exams, provenance = parts
    table = build_imaging_parameters(exams, provenance).set_index(["provenance", "parameter", "value"])
    field = table.loc["all"].loc["magnetic_field_strength_t"]["exam_count"].to_dict()
    assert field == {"1.5": 4, "3": 4}
    assert table.loc[("all", "echo_time_ms", "all"), "mean"] == 101.5
    assert table.loc[("all", "slice_spacing_mm", "all"), "missing_count"] == 8
    assert table.loc[("expert", "pixel_spacing_mm", "all"), "exam_count"] == 2
