import random
import shutil
import zipfile
from pathlib import Path

import pytest

from cspine_assets.domain.cohort.source import find_source
from cspine_assets.domain.cohort.source_file import SourceFile
from cspine_assets.domain.errors import SourceError

STEM = "593973-000001_Study-MR-1_Series-1"


def zip_part(folder: Path, part: str) -> None:
    with zipfile.ZipFile(folder / f"{part}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((folder / part).rglob("*")):
            archive.write(path, path.relative_to(folder))
        archive.writestr(f"__MACOSX/{part}/._{STEM}.nii.gz", b"junk")
    shutil.rmtree(folder / part)


@pytest.mark.parametrize("prefix", ["DukeCSpineSeg_", ""])
def test_an_extracted_download_is_found_whole(download, tmp_path, prefix):
    source = find_source(download.write(tmp_path, prefix=prefix))
    assert set(source.table_files) == set(download.tables())
    assert (len(source.images), len(source.masks), len(source.series)) == (7, 7, 7)
    assert source.notes == ()


def test_a_moved_download_is_unchanged_and_a_touched_one_is_not(download, tmp_path):
    folder = download.write(tmp_path / "download")
    states = find_source(folder).states
    moved = find_source(folder.rename(tmp_path / "elsewhere"))
    assert moved.states == states
    next(iter(moved.table_files.values())).path.touch()
    assert find_source(moved.folder).states != states


def test_archives_are_read_without_being_extracted(download, tmp_path):
    folder = download.write(tmp_path / "download")
    extracted = find_source(folder)
    for part in ("structured", "annotation", "segmentation", "imaging_files"):
        zip_part(folder, f"DukeCSpineSeg_{part}")
    source = find_source(folder)
    assert sorted(p.suffix for p in folder.iterdir()) == [".zip"] * 4
    assert (extracted.in_archives, source.in_archives) == (False, True)
    assert set(source.images) == set(extracted.images)
    assert set(source.series) == set(extracted.series)
    copy = source.masks[f"{STEM}_SEG.nii.gz"].materialize(tmp_path / "scratch")
    assert copy.read_text() == f"{STEM}_SEG.nii.gz"


def test_a_series_archive_is_found_through_patient_study_and_series(download, tmp_path):
    source = find_source(download.write(tmp_path))
    row = download.mr_series[0]
    keys = (row["case_ids"], row["imaging_studies.submitter_id"], row["submitter_id"])
    with zipfile.ZipFile(source.series_archive(*keys).open()) as archive:
        assert archive.namelist() == ["folder/1"]
    with pytest.raises(SourceError, match=r"expected case_image/593973-000009"):
        source.series_archive("593973-000009", *keys[1:])


def test_an_extracted_series_stands_for_its_archive(download, tmp_path):
    folder = download.write(tmp_path)
    archive = next(folder.rglob(f"{download.mr_series[0]['submitter_id']}.zip"))
    with zipfile.ZipFile(archive) as content:
        content.extractall(archive.with_suffix(""))
    archive.unlink()
    row = download.mr_series[0]
    found = find_source(folder).series_archive(
        row["case_ids"], row["imaging_studies.submitter_id"], row["submitter_id"]
    )
    with zipfile.ZipFile(found.open()) as content:
        assert content.read("folder/1") == b"dicom"


def test_the_newest_release_of_a_table_wins_and_the_older_is_noted(download, tmp_path):
    download.write(tmp_path, date="20250321")
    source = find_source(download.write(tmp_path, date="20260101"))
    assert all("20260101" in file.name for file in source.table_files.values())
    assert any("passed over" in note and "20250321" in note for note in source.notes)


def test_a_home_inside_the_folder_is_not_taken_for_scans(download, tmp_path):
    folder = download.write(tmp_path)
    home = folder / "cspine_home"
    (home / "lake").mkdir(parents=True)
    (home / "settings.json").write_text("{}")
    (home / "593973-000077_Study-MR-1_Series-1.nii.gz").write_text("prediction")
    assert "593973-000077_Study-MR-1_Series-1.nii.gz" not in find_source(folder).images


@pytest.mark.parametrize("make", ["absent", "empty", "file"])
def test_a_wrong_folder_is_refused_with_what_to_do(tmp_path, make):
    folder = tmp_path / "download"
    if make == "empty":
        folder.mkdir()
    if make == "file":
        folder.write_text("")
    with pytest.raises(SourceError, match=r"expected the folder of the CSpineSeg download.*Set CSPINE_SOURCE") as error:
        find_source(folder)
    assert "\n" not in str(error.value)


def test_a_damaged_archive_is_named(download, tmp_path):
    folder = download.write(tmp_path)
    (folder / "DukeCSpineSeg_annotation.zip").write_bytes(b"PK no zip")
    with pytest.raises(SourceError, match=r"DukeCSpineSeg_annotation\.zip: expected a whole zip archive"):
        find_source(folder)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_member_damaged_in_its_archive_is_named_and_leaves_no_copy(tmp_path, compression):
    archive = tmp_path / "masks.zip"
    with zipfile.ZipFile(archive, "w", compression) as content:
        content.writestr("a_SEG.nii.gz", random.Random(0).randbytes(594))
        start = len(content.infolist()[0].FileHeader())
    raw = bytearray(archive.read_bytes())
    raw[start + 12 : start + 16] = b"\xff" * 4
    archive.write_bytes(raw)
    with pytest.raises(SourceError, match=r"masks\.zip \(a_SEG\.nii\.gz\): expected a readable file of 594 bytes"):
        SourceFile(archive, "a_SEG.nii.gz", 594).materialize(tmp_path / "scratch")
    assert list((tmp_path / "scratch").iterdir()) == []


def test_an_archive_is_opened_once_for_all_its_members_and_anew_when_it_has_changed(tmp_path, monkeypatch):
    archive, opened = tmp_path / "masks.zip", []

    def counted(path, *arguments):
        opened.append(path)
        return real(path, *arguments)

    def read_all():
        contents = []
        for name in "abc":
            with SourceFile(archive, f"{name}_SEG.nii.gz", 1).open() as stream:
                contents.append(stream.read())
        return contents

    real = zipfile.ZipFile
    for content in (b"1", b"22"):
        with real(archive, "w") as written:
            for name in "abc":
                written.writestr(f"{name}_SEG.nii.gz", content)
        monkeypatch.setattr(zipfile, "ZipFile", counted)
        assert read_all() == [content] * 3
        monkeypatch.undo()
    assert opened == [archive] * 2
