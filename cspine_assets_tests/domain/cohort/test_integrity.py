import pytest

from cspine_assets_tests.domain.cohort.whole_cohort import examine_folder

FIRST = "593973-000001_Study-MR-1_Series-1"


@pytest.fixture
def find(download, experts, tmp_path):
    """Writes the download, spoils it on the disk, and returns what is found."""

    def run(spoil=lambda folder: None):
        folder = download.write(tmp_path / "download")
        spoil(folder)
        return examine_folder(folder, experts(FIRST), tmp_path / "checksums.parquet").findings

    return run


def test_a_healthy_cohort_has_no_findings(find):
    assert find()["message"].tolist() == []


def test_instances_on_the_wrong_series_are_found_though_the_sum_is_right(download, find):
    download.image_manifest[0]["SeriesInstanceUID"] = download.mr_series[1]["submitter_id"]
    assert find()["check_name"].tolist() == ["instance_sums"] * 2


def test_a_manifest_that_names_no_series_is_held_to_the_sum_alone(download, find):
    for row in download.image_manifest:
        del row["SeriesInstanceUID"]
    download.image_manifest.pop()
    assert find()["subject"].tolist() == ["all rows"]


def test_a_lost_mask_blocks_and_a_lost_scan_warns_while_its_dicom_is_there(find):
    def spoil(folder):
        (folder / "DukeCSpineSeg_segmentation" / f"{FIRST}_SEG.nii.gz").unlink()
        (folder / "DukeCSpineSeg_annotation" / f"{FIRST}.nii.gz").unlink()

    found = find(spoil).set_index("subject")["severity"]
    assert found.to_dict() == {f"{FIRST}.nii.gz": "warns", f"{FIRST}_SEG.nii.gz": "blocks"}


def test_a_part_that_was_not_downloaded_is_one_finding(download, find):
    def spoil(folder):
        for archive in folder.rglob("*.zip"):
            archive.unlink()

    found = find(spoil)
    assert found[["check_name", "severity", "subject"]].to_numpy().tolist() == [["files_present", "warns", "all"]]
