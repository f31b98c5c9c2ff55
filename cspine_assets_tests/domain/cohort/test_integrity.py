import pytest

from cspine_assets.domain.cohort.integrity import (
    find_file_differences,
    find_instance_differences,
    find_unpaired_files,
    require_no_blocking,
)
from cspine_assets.domain.cohort.midrc_tables import read_midrc_table
from cspine_assets.domain.cohort.source import find_source
from cspine_assets.domain.errors import TableError
from cspine_assets.domain.tables.midrc import ImageManifest, MrSeries

FIRST = "593973-000001_Study-MR-1_Series-1"


def instances(download, folder):
    source = find_source(download.write(folder))
    return find_instance_differences(
        read_midrc_table(source, MrSeries).frame, read_midrc_table(source, ImageManifest).frame
    )


def test_a_healthy_cohort_has_no_findings(build, download, tmp_path):
    exams = build(download).frame
    source = find_source(download.write(tmp_path / "download"))
    assert find_unpaired_files(exams).empty
    assert find_file_differences(exams, source).empty
    assert instances(download, tmp_path / "again").empty


def test_a_missing_mask_row_is_found(build, download):
    download.annotation_file.pop(1)
    found = find_unpaired_files(build(download).frame)
    assert found["subject"].tolist() == [f"{FIRST}_SEG.nii.gz"]


def test_a_missing_instance_is_found_by_sum_and_series(download, tmp_path):
    download.image_manifest.pop(0)
    found = instances(download, tmp_path)
    assert found["subject"].tolist() == ["all rows", download.mr_series[0]["submitter_id"]]


def test_instances_on_the_wrong_series_are_found_though_the_sum_is_right(download, tmp_path):
    download.image_manifest[0]["SeriesInstanceUID"] = download.mr_series[1]["submitter_id"]
    assert len(instances(download, tmp_path)) == 2


@pytest.mark.parametrize(("kind", "ending"), [("annotation", ".nii.gz"), ("segmentation", "_SEG.nii.gz")])
def test_a_file_of_another_size_is_found(build, download, tmp_path, kind, ending):
    exams = build(download).frame
    folder = download.write(tmp_path / "download")
    (folder / f"DukeCSpineSeg_{kind}" / f"{FIRST}{ending}").write_text("short")
    found = find_file_differences(exams, find_source(folder))
    assert found["subject"].tolist() == [f"{FIRST}{ending}"]
    with pytest.raises(TableError, match="1 finding"):
        require_no_blocking(found)


def test_a_lost_mask_blocks_and_a_lost_scan_warns_while_its_dicom_is_there(build, download, tmp_path):
    exams = build(download).frame
    folder = download.write(tmp_path / "download")
    (folder / "DukeCSpineSeg_segmentation" / f"{FIRST}_SEG.nii.gz").unlink()
    (folder / "DukeCSpineSeg_annotation" / f"{FIRST}.nii.gz").unlink()
    found = find_file_differences(exams, find_source(folder)).set_index("subject")["severity"]
    assert found.to_dict() == {f"{FIRST}.nii.gz": "warns", f"{FIRST}_SEG.nii.gz": "blocks"}


def test_a_file_that_nothing_lists_is_found(build, download, tmp_path):
    exams = build(download).frame
    folder = download.write(tmp_path / "download")
    (folder / "DukeCSpineSeg_annotation" / "593973-000077_Study-MR-1_Series-1.nii.gz").write_text("x")
    found = find_file_differences(exams, find_source(folder))
    assert found["subject"].tolist() == ["593973-000077_Study-MR-1_Series-1.nii.gz"]


def test_a_download_without_dicom_is_no_fault(build, download, tmp_path):
    exams = build(download).frame
    series, download.mr_series = download.mr_series, []
    folder = download.write(tmp_path / "download")
    download.mr_series = series
    assert find_source(folder).series == {}
    assert find_file_differences(exams, find_source(folder)).empty
