import pytest

from cspine_assets.domain.cohort.exams import build_patients
from cspine_assets.domain.cohort.integrity import find_leaks
from cspine_assets.domain.cohort.splits import PUBLISHED, make_splits
from cspine_assets.domain.phantom.cohort import write_cohort
from cspine_assets.domain.phantom.settings import CohortSettings
from cspine_assets_tests.domain.cohort.whole_cohort import examine_folder


@pytest.mark.parametrize("archived", [False, True])
def test_a_synthetic_cohort_passes_every_check_from_files_to_split(tmp_path, archived):
    report = write_cohort(tmp_path / "download", CohortSettings(patients=12, seed=1, matrix=32, archived=archived))
    cohort = examine_folder(report.destination, report.provenance_file, tmp_path / "checksums.parquet")
    split = make_splits(cohort.tables.exams, cohort.provenance, settings=PUBLISHED)

    assert len(cohort.tables.exams) == report.exams
    assert build_patients(cohort.tables.cases, cohort.tables.exams)["exam_count"].sum() == report.exams
    assert (cohort.provenance["provenance"] == "expert").sum() == report.expert_masks
    assert len(cohort.tables.image_manifest) == report.instances
    assert cohort.findings["message"].tolist() == []
    assert find_leaks(split).empty


def test_tables_alone_are_a_cohort_without_files(tmp_path):
    settings = CohortSettings(patients=40, seed=2, tables_only=True)
    report = write_cohort(tmp_path / "download", settings)
    cohort = examine_folder(report.destination, report.provenance_file, tmp_path / "checksums.parquet")
    assert len(cohort.tables.image_manifest) == report.instances
    assert set(cohort.findings["check_name"]) == {"files_present"}
    assert sorted(cohort.findings["table_name"]) == ["image", "mask", "series"]
