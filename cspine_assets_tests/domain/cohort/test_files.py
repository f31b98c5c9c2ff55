import os

import pytest

from cspine_assets.domain.cohort import files as files_module
from cspine_assets.domain.cohort.files import ChecksumMemory, file_tree, list_files
from cspine_assets.domain.cohort.source import find_source

HASHED = frozenset({"table", "image", "mask", "instance"})


@pytest.fixture
def folder(download, tmp_path):
    return download.write(tmp_path / "download")


@pytest.fixture
def listed(folder, tmp_path):
    memory = ChecksumMemory(tmp_path / "home" / "checksums.parquet")
    return lambda hashed=HASHED: list_files(find_source(folder), hashed=hashed, memory=memory)


@pytest.fixture
def hashing(monkeypatch):
    """Counts what is read for its checksum."""
    digested = []
    digest = files_module.fingerprint_stream
    monkeypatch.setattr(files_module, "fingerprint_stream", lambda *args: digested.append(1) or digest(*args))
    return digested


def test_every_file_is_listed_once_with_its_kind(folder, listed):
    (folder / "notes.txt").write_text("mine")
    counts = listed()["kind"].value_counts().to_dict()
    assert counts == {"image": 7, "mask": 7, "series": 7, "instance": 7, "table": 6, "other": 1}


def test_places_are_below_the_download_and_through_archives(listed, download):
    row = download.mr_series[0]
    files = listed().set_index("location")
    instance = files[files["kind"] == "instance"].iloc[0]
    assert instance.name.endswith(f"{row['submitter_id']}.zip/folder/1")
    assert instance["series_uid"] == row["submitter_id"]
    assert not files.index.str.startswith("/").any()


def test_a_checksum_is_computed_once_and_again_only_for_what_has_changed(folder, listed, hashing):
    first = listed()
    assert len(hashing) == 27
    hashing.clear()
    assert listed().equals(first)
    assert hashing == []
    os.utime(next(folder.rglob("*_SEG.nii.gz")), ns=(1, 1))
    assert listed().equals(first)
    assert len(hashing) == 1


def test_nothing_is_hashed_that_no_table_has_a_checksum_of(listed, hashing):
    assert listed(frozenset({"mask"})).groupby("kind")["md5"].count().to_dict() == {
        "image": 0,
        "instance": 0,
        "mask": 7,
        "series": 0,
        "table": 0,
    }
    assert len(hashing) == 7


def test_a_spoilt_memory_is_an_empty_one(folder, listed, tmp_path):
    first = listed()
    (tmp_path / "home" / "checksums.parquet").write_bytes(b"spoilt")
    assert listed().equals(first)


def test_a_damaged_archive_is_a_row_with_its_problem(folder, listed):
    archive = next(folder.rglob("case_image/*/*/*.zip"))
    archive.write_bytes(b"PK")
    row = listed().query("problem.notna()")
    assert row["location"].tolist() == [archive.relative_to(folder).as_posix()]
    assert "BadZipFile" in row["problem"].iloc[0]


def test_the_tree_counts_below_each_folder_and_shortens_many(listed):
    lines = file_tree(listed()).splitlines()
    assert "7 image, 7 mask, 7 series, 6 table" in lines[0]
    assert any("DukeCSpineSeg_annotation" in line and "(7 image;" in line for line in lines)
    assert any("… 3 more folders" in line for line in lines)
    assert len(lines) < 20
