from dataclasses import dataclass

import pandas as pd
import pytest

from cspine_assets.domain.cohort.evidence import read_evidence
from cspine_assets.domain.cohort.exams import build_patients
from cspine_assets.domain.cohort.provenance import build_annotation_provenance
from cspine_assets.domain.cohort.summaries import build_demographics, build_imaging_parameters
from cspine_assets.domain.tables.midrc import AnnotationFiles, Cases

FIRST = "593973-000001_Study-MR-1_Series-1"


@dataclass
class Parts:
    patients: pd.DataFrame
    exams: pd.DataFrame
    provenance: pd.DataFrame
    splits: pd.DataFrame

    def demographics(self):
        return build_demographics(self.patients, self.exams, self.provenance, self.splits)

    def imaging(self):
        return build_imaging_parameters(self.exams, self.provenance, self.splits)


@pytest.fixture
def parts(build, frames, download, experts):
    download.add_patient(50, age_at_index=None, age_at_index_gt89="Yes")
    exams = build(download).frame
    tables = frames(download)
    evidence = read_evidence(experts(FIRST, "593973-000003_Study-MR-1_Series-1"))
    provenance = build_annotation_provenance(exams, tables[AnnotationFiles], [evidence]).frame
    splits = provenance[["exam_id"]].assign(part=["test"] + ["unannotated"] * (len(exams) - 1))
    return Parts(build_patients(tables[Cases], exams), exams, provenance, splits)


def test_demographics_count_patients_and_leave_withheld_ages_out(parts):
    patients = parts.patients
    table = (
        parts.demographics()
        .set_index(["grouped_by", "group_value", "variable", "value"])
        .sort_index()
        .loc[("all", "all")]
    )
    age = table.loc[("age_years", "all")]
    assert (age["patient_count"], age["missing_count"]) == (6, 1)
    assert age["mean"] == pytest.approx(patients["age_years"].mean())
    assert age["sd_sample"] == pytest.approx(patients["age_years"].astype(float).std(ddof=1))
    assert table.loc[("sex", "Male"), "patient_count"] == 4
    assert table.loc[("age_over_89", "Yes"), "patient_count"] == 1


def test_a_patient_with_both_kinds_of_masks_counts_in_each(parts):
    table = (
        parts.demographics().query("variable == 'sex'").groupby(["grouped_by", "group_value"])["patient_count"].sum()
    )
    assert table["all"].to_dict() == {"all": 7}
    assert table["provenance"].to_dict() == {"expert": 2, "model": 6}


def test_summaries_are_told_by_part_sex_manufacturer_and_field_strength_too(parts):
    table = parts.imaging()
    groups = table.groupby("grouped_by")["group_value"].unique().map(sorted).to_dict()
    assert groups == {
        "all": ["all"],
        "provenance": ["expert", "model"],
        "part": ["test", "unannotated"],
        "sex": ["Female", "Male"],
        "manufacturer": ["GE", "Siemens"],
        "field_strength": ["1.5 T", "3 T"],
    }
    slices = table.query("parameter == 'number_of_instances'").groupby("grouped_by")["exam_count"].sum()
    assert set(slices) == {8}


def test_imaging_parameters_count_exams(parts):
    table = parts.imaging().set_index(["grouped_by", "group_value", "parameter", "value"]).sort_index()
    everybody = table.loc[("all", "all")]
    assert everybody.loc["magnetic_field_strength_t"]["exam_count"].to_dict() == {"1.5": 4, "3": 4}
    assert everybody.loc[("echo_time_ms", "all"), "mean"] == 101.5
    assert everybody.loc[("slice_spacing_mm", "all"), "missing_count"] == 8
    assert table.loc[("provenance", "expert", "pixel_spacing_mm", "all"), "exam_count"] == 2
