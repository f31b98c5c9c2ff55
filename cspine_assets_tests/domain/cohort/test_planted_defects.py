"""Every fault that the phantom can plant: found by the check meant for it, in the right row, and by no other."""

import shutil
from dataclasses import replace

import pytest

from cspine_assets.domain.cohort.integrity import CHECKS, examine
from cspine_assets.domain.cohort.rejected_rows import TABLE_ROWS
from cspine_assets.domain.cohort.split_files import place_exams, read_split_file
from cspine_assets.domain.errors import CSpineError, TableError
from cspine_assets.domain.phantom.cohort import PROVENANCE_FILE, write_cohort
from cspine_assets.domain.phantom.defects import DEFECTS, SPLIT_FILE, plant_defects
from cspine_assets.domain.phantom.plan import plan_cohort
from cspine_assets.domain.phantom.settings import CohortSettings
from cspine_assets_tests.domain.cohort.whole_cohort import examine_folder

SETTINGS = CohortSettings(patients=8, seed=5, matrix=32, slices_min=5, slices_max=6, expert_fraction=0.75)
EXAMS = plan_cohort(SETTINGS).exams
CHECK_NAMES = {check.name for check in CHECKS}
REJECTED = {name for name, defect in DEFECTS.items() if defect.check == TABLE_ROWS}
FOUND = [name for name, defect in DEFECTS.items() if defect.check in CHECK_NAMES - {TABLE_ROWS}]


@pytest.fixture(scope="session")
def healthy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("defects") / "download"
    write_cohort(folder, SETTINGS)
    return folder


@pytest.fixture
def plant(healthy, tmp_path):
    def run(*names):
        folder = shutil.copytree(healthy, tmp_path / "download")
        return folder, plant_defects(folder, EXAMS, names)

    return run


@pytest.fixture
def examined(tmp_path):
    return lambda folder: examine_folder(folder, folder / PROVENANCE_FILE, tmp_path / "checksums.parquet")


def test_a_healthy_cohort_has_no_findings(healthy, examined):
    cohort = examined(healthy)
    assert cohort.findings["message"].tolist() == []
    looked_at = cohort.integrity["checked_count"]
    assert looked_at["files_present"] == 3 * len(EXAMS) + 5
    assert looked_at["file_checksums"] == 2 * len(EXAMS) + 6 + len(cohort.tables.image_manifest)
    assert "synthetic" in cohort.integrity.loc["published_counts", "note"]


def test_a_manifest_may_name_series_in_any_order(healthy, examined):
    tables = examined(healthy).tables
    reversed_one = replace(tables, image_manifest=tables.image_manifest.iloc[::-1])
    assert examine(reversed_one)["message"].tolist() == []


@pytest.mark.parametrize("name", FOUND)
def test_a_planted_fault_is_found_by_its_own_check_alone(plant, examined, name):
    folder, (planted,) = plant(name)
    found = examined(folder).findings
    assert set(found["check_name"]) == {planted.check}, found["message"].tolist()
    assert planted.subject in set(found["subject"]), found["subject"].tolist()
    assert set(found["exam_id"].dropna()) <= {planted.exam_id}


def test_a_table_without_a_required_column_is_refused(plant, examined):
    folder, (planted,) = plant("missing_column")
    with pytest.raises(TableError, match=planted.check) as error:
        examined(folder)
    assert planted.subject in str(error.value)


@pytest.mark.parametrize("name", sorted(REJECTED))
def test_a_row_that_cannot_be_used_costs_its_exams_and_nobody_elses(plant, examined, healthy, name):
    everybody = examined(healthy).tables.exams
    folder, _ = plant(name)
    cohort = examined(folder)
    assert set(cohort.findings["check_name"]) == {TABLE_ROWS}, cohort.findings["message"].tolist()
    left_out = set(everybody["exam_id"]) - set(cohort.tables.exams["exam_id"])
    assert left_out == set(cohort.findings["exam_id"].dropna())
    assert 0 < len(left_out) < len(everybody)
    blocked = cohort.findings[cohort.findings["exam_id"].notna()]
    assert blocked["message"].str.contains(r"_RSNA_\d+\.tsv, line \d+: expected").all()
    assert cohort.integrity.loc[TABLE_ROWS, "blocking_count"] == len(cohort.findings)


def test_an_unknown_column_is_kept_and_reported(plant, examined):
    folder, (planted,) = plant("unknown_column")
    cohort = examined(folder)
    assert cohort.read["case"].drift == (planted.subject,)
    assert cohort.read["case"].frame["extra_columns"].str.contains("race_ethnicity").all()
    assert cohort.findings.empty


@pytest.mark.parametrize("name", ["leaking_split", "split_of_others"])
def test_a_split_that_cannot_be_is_refused_with_the_name_concerned(plant, examined, name):
    folder, (planted,) = plant(name)
    cohort = examined(folder)
    assert cohort.findings.empty
    with pytest.raises(TableError, match=planted.subject):
        place_exams(cohort.tables.exams, read_split_file(folder / SPLIT_FILE))


def test_faults_of_several_kinds_are_each_found(plant, examined):
    names = ("lost_mask", "truncated_mask", "altered_instance", "orphan_series")
    folder, planted = plant(*names)
    found = examined(folder).findings
    assert sorted(zip(found["check_name"], found["subject"], strict=True)) == sorted(
        (fault.check, fault.subject) for fault in planted
    )


def test_every_defect_belongs_to_a_test():
    tested = {*FOUND, *REJECTED, "missing_column", "unknown_column", "leaking_split", "split_of_others"}
    assert tested == set(DEFECTS)


def test_an_unknown_defect_is_named(healthy):
    with pytest.raises(CSpineError, match="no_such_fault"):
        plant_defects(healthy, EXAMS, ["no_such_fault"])
