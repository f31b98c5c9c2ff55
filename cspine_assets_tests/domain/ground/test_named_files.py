"""Files that rows name: known by size and time, by content where these differ, and kept beside the rows."""

import gzip
import os
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from cspine_assets.domain.lake import Lake
from cspine_assets.domain.named_files import NamedFile, as_text, from_text, is_unchanged, name_file
from cspine_assets.domain.tables.base import empty_frame
from cspine_assets.domain.tables.imaging import Volumes


class Reader:
    """Remembers nothing, and counts what it had to read."""

    def __init__(self) -> None:
        self.read: list[str] = []

    def __call__(self, file: NamedFile, read) -> str:
        self.read.append(file.path)
        return read()


@pytest.fixture
def reader() -> Reader:
    return Reader()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "folder" / "scan.nii.gz"
    path.parent.mkdir()
    path.write_bytes(gzip.compress(b"voxels"))
    return path


def test_a_file_of_the_same_size_and_time_is_not_read(tmp_path: Path, file: Path, reader: Reader):
    named = name_file(tmp_path, file)
    assert named.path == "folder/scan.nii.gz"
    assert is_unchanged(tmp_path, named, reader)
    assert reader.read == []


def test_a_touched_file_is_read_and_unchanged_and_another_of_its_size_is_not(
    tmp_path: Path, file: Path, reader: Reader
):
    named = name_file(tmp_path, file)
    os.utime(file, (1, 1))
    assert is_unchanged(tmp_path, named, reader)
    file.write_bytes(file.read_bytes()[::-1])
    os.utime(file, (2, 2))
    assert not is_unchanged(tmp_path, named, reader)
    assert reader.read == [named.path] * 2


def test_a_file_of_another_size_or_none_is_changed_without_a_look(tmp_path: Path, file: Path, reader: Reader):
    named = name_file(tmp_path, file)
    file.write_bytes(b"another")
    assert not is_unchanged(tmp_path, named, reader)
    file.unlink()
    assert not is_unchanged(tmp_path, named, reader)
    file.parent.rmdir()
    file.parent.write_text("a file where the folder was")
    assert not is_unchanged(tmp_path, named, reader)
    assert reader.read == []


def test_what_counts_inflated_may_be_compressed_anew_and_not_cut(tmp_path: Path, file: Path, reader: Reader):
    named = name_file(tmp_path, file, inflated=True)
    file.write_bytes(gzip.compress(b"voxels", 0) + b"")
    os.utime(file, (1, 1))
    assert is_unchanged(tmp_path, named, reader)
    file.write_bytes(gzip.compress(b"voxels")[:-9])
    assert not is_unchanged(tmp_path, named, reader)
    file.write_bytes(b"no gzip at all")
    assert not is_unchanged(tmp_path, named, reader)


def test_files_come_back_as_text(tmp_path: Path, file: Path):
    files = (name_file(tmp_path, file), name_file(tmp_path, file, sha256="s", inflated=True))
    assert from_text(as_text(files)) == files
    assert from_text(as_text(())) == ()


def test_a_stored_table_keeps_its_files_beside_its_rows_and_not_in_its_fingerprint(tmp_path: Path, file: Path):
    lake, rows = Lake(tmp_path / "lake"), empty_frame(Volumes)
    plain = lake.write(Volumes, rows, partition="p")
    assert plain.files is None
    assert lake.stamp(Volumes, "p") == plain
    named = lake.write(Volumes, rows, partition="p", files=[name_file(tmp_path, file)])
    assert lake.stamp(Volumes, "p") == named
    assert named.fingerprint == plain.fingerprint
    pd.testing.assert_frame_equal(lake.read(Volumes), rows)
    assert b"cspine.files" in pq.read_metadata(lake.path(Volumes, "p")).metadata
