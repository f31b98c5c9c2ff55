"""A folder is converted as it lies where it holds a series and nothing else, and file by file in every other case."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from cspine_assets.domain.errors import ConversionError
from cspine_assets.domain.imaging.archive import ArchiveLimits, stage_series
from cspine_assets.domain.imaging.conversion import convert_series
from cspine_assets_tests.domain.imaging.dicom_series import SLICES, UID, encode, make_instances, write_series

PLAIN = ["{:05d}.dcm", "IM{:06d}", UID + ".{}.dcm", UID + "/{}.IMA", "1/2/3/{}"]
TELLING = ["Smith_John_{:05d}.dcm", "Smith/{}.dcm", "{} Smith", "19570312{}.dcm", "1/2/3/4/{}"]


def lay_out(folder: Path, pattern: str) -> Path:
    for number, instance in enumerate(make_instances()):
        file = folder / pattern.format(number)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encode(instance))
    return folder


def is_taken_whole(folder: Path, staged: Path) -> bool:
    files = stage_series(folder, staged).files
    assert len(files) == SLICES
    if staged.is_symlink():
        return True
    assert [file.name for file in files] == [f"{number + 1:05d}.dcm" for number in range(SLICES)]
    return False


@pytest.mark.parametrize("pattern", PLAIN + TELLING)
def test_any_folder_comes_to_the_volume_of_its_archive(pattern, tmp_path):
    folder = lay_out(tmp_path / "series", pattern)
    archive = write_series(tmp_path / "series.zip", make_instances())
    assert is_taken_whole(folder, tmp_path / "staged") == (pattern in PLAIN)
    converted = convert_series(folder, tmp_path / "a.nii.gz", scratch=tmp_path / "scratch")
    expected = convert_series(archive, tmp_path / "b.nii.gz")
    assert converted.sha256 == expected.sha256
    assert (converted.warnings, converted.findings) == (expected.warnings, expected.findings)
    assert list((tmp_path / "scratch").iterdir()) == []
    assert sum(path.is_file() for path in folder.rglob("*")) == SLICES


def another_kind(folder: Path) -> None:
    (folder / "LICENSE").write_text("do as you like")


def directory_of_a_medium(folder: Path) -> None:
    (folder / "DICOMDIR").write_bytes(encode(make_instances(1)[0]))


def link_to_a_folder(folder: Path) -> None:
    aside = lay_out(folder.parent / "aside", "{:05d}.dcm")
    (folder / "0007").symlink_to(aside, target_is_directory=True)


@pytest.mark.parametrize("add", [another_kind, directory_of_a_medium, link_to_a_folder])
def test_what_lies_beside_a_series_never_reaches_the_converter(add, tmp_path):
    folder = lay_out(tmp_path / "series", "{:05d}.dcm")
    add(folder)
    assert not is_taken_whole(folder, tmp_path / "staged")


def test_a_link_whose_slice_is_gone_is_no_shorter_series(tmp_path):
    """Of the kind of a lost end slice: a folder of links, as of a data set under git-annex, with one not fetched."""
    folder = lay_out(tmp_path / "series", "{:05d}.dcm")
    (folder / "00005.dcm").unlink()
    (folder / "00005.dcm").symlink_to(tmp_path / "gone")
    with pytest.raises(ConversionError, match="it is gone"):
        convert_series(folder, tmp_path / "a.nii.gz")


@pytest.mark.parametrize("lost", [0, SLICES - 1])
@pytest.mark.parametrize("first_number", [0, 1])
def test_a_lost_end_is_seen_by_what_the_headers_promise(lost, first_number, tmp_path):
    """No gap between positions tells it; runs that go on from another series, and every second number, promise none."""

    def numbered(numbers: list[int], promised: int | None = None):
        instances = make_instances(len(numbers))
        for instance, number in zip(instances, numbers, strict=True):
            instance.InstanceNumber = number
            instance.ImagesInAcquisition = promised
        return convert_series(write_series(tmp_path / "s.zip", instances), tmp_path / "a.nii.gz")

    whole = [number + first_number for number in (0, 3, 1, 4, 2, 5)]
    assert numbered(whole, SLICES).instance_count == SLICES
    left = [number for number in whole if number != lost + first_number]
    with pytest.raises(ConversionError, match=r"promise .* found 5"):
        numbered(left, SLICES)
    if lost == 0 and first_number == 1:
        with pytest.raises(ConversionError, match=r"promise .*InstanceNumber goes up to 6.* found 5"):
            numbered(left)
    assert numbered([31, 32, 33, 34, 35]).instance_count == 5
    assert numbered([2, 4, 6, 8, 10]).instance_count == 5


def test_a_folder_of_too_many_files_is_refused(tmp_path):
    folder = lay_out(tmp_path / "series", "{:05d}.dcm")
    with pytest.raises(ConversionError, match="at most 5 files"):
        stage_series(folder, tmp_path / "staged", limits=ArchiveLimits(members=SLICES - 1))


@pytest.mark.parametrize("beside", [None, another_kind])
def test_a_folder_that_cannot_be_listed_is_no_shorter_series(beside, tmp_path, monkeypatch: pytest.MonkeyPatch):
    folder = lay_out(tmp_path / "series", "{:05d}.dcm")
    (folder / "2").mkdir()
    for number in (4, 5):
        (folder / f"{number:05d}.dcm").rename(folder / "2" / f"{number:05d}.dcm")
    if beside is not None:
        beside(folder)
    real = os.scandir

    def scandir(path):
        if not isinstance(path, int) and Path(path).name == "2":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(ConversionError, match="Permission denied"):
        convert_series(folder, tmp_path / "a.nii.gz", scratch=tmp_path / "scratch")
