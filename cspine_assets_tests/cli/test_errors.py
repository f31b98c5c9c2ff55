"""What a person sees when something is wrong: one message that says what to do, status 1, and nothing half-written."""

import errno
import os
import sqlite3
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from cspine_assets.cli.app import full_disk, main


@pytest.fixture
def cspine(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Calls the command and returns its status and what it said on stderr."""
    for name in ("CSPINE_HOME", "CSPINE_SOURCE", "CSPINE_PROVENANCE", "CSPINE_DEBUG"):
        monkeypatch.delenv(name, raising=False)

    def call(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["cspine", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), capsys.readouterr().err

    return call


def test_a_source_that_nobody_named(cspine, tmp_path: Path):
    status, said = cspine("materialize", "--home", str(tmp_path / "home"))
    assert status == 1
    assert "CSPINE_SOURCE" in said
    assert "cspine demo" in said
    assert not (tmp_path / "home").exists()


def test_a_source_that_is_not_there(cspine, tmp_path: Path):
    status, said = cspine("materialize", "--home", str(tmp_path / "home"), "--source", str(tmp_path / "no"))
    assert status == 1
    assert "no: expected the folder of a MIDRC download" in said.replace("\n", "")
    assert not (tmp_path / "home").exists()


def test_an_empty_source(cspine, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    status, said = cspine("materialize", "--home", str(tmp_path / "home"), "--source", str(tmp_path / "empty"))
    assert status == 1
    assert said.startswith("cspine:")
    assert "empty" in said
    assert len(said.strip().splitlines()) == 1
    assert not (tmp_path / "home" / "lake").exists()


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/proc").exists(), reason="root can write anywhere here")
def test_a_home_that_cannot_be_written(cspine, tmp_path: Path):
    blocked = "/proc/cspine_home" if os.geteuid() == 0 else str(tmp_path / "locked" / "home")
    if os.geteuid() != 0:
        (tmp_path / "locked").mkdir(mode=0o500)
    status, said = cspine("demo", "--home", blocked)
    assert status == 1
    assert "expected a folder that can be written to" in said
    assert "CSPINE_HOME" in said


def wrapped(cause: Exception) -> Exception:
    """An error as a library hands it on."""
    try:
        try:
            raise cause
        except Exception as error:
            raise RuntimeError("statement failed") from error
    except RuntimeError as outer:
        return outer


@pytest.mark.parametrize(
    "cause", [OSError(errno.ENOSPC, "No space left on device"), sqlite3.OperationalError("database or disk is full")]
)
def test_a_full_disk_is_told_without_a_traceback(cspine, monkeypatch: pytest.MonkeyPatch, cause: Exception):
    def fail(_arguments: list[str]) -> None:
        raise wrapped(cause)

    monkeypatch.setattr("cspine_assets.cli.app.app", fail)
    status, said = cspine("demo")
    assert status == 1
    assert "expected room on the disk" in said
    assert "goes on from there" in said


def test_another_error_is_no_full_disk():
    assert full_disk(wrapped(OSError(errno.EACCES, "Permission denied"))) is None
    assert full_disk(wrapped(sqlite3.OperationalError("no such table: runs"))) is None


def test_a_profile_that_does_not_exist(cspine, tmp_path: Path):
    (tmp_path / "source").mkdir()
    status, said = cspine(
        "materialize", "--home", str(tmp_path / "h"), "--source", str(tmp_path / "source"), "--profile", "fast"
    )
    assert status == 1
    assert "full, demo" in said


def test_sql_that_begins_with_a_comment_is_no_option(cspine, tmp_path: Path):
    status, said = cspine("sql", "--home", str(tmp_path), "-- who is there\nselect 1")
    assert status == 1
    assert "there is none yet" in said


def test_sql_before_anything_was_published(cspine, tmp_path: Path):
    status, said = cspine("sql", "--home", str(tmp_path), "select 1")
    assert status == 1
    assert "there is none yet" in said


def test_a_scan_that_is_not_there(cspine, tmp_path: Path):
    status, said = cspine("predict", str(tmp_path / "no.nii.gz"), "--out", str(tmp_path / "m.nii.gz"))
    assert status == 1
    assert "no.nii.gz: expected a NIfTI file, a DICOM series" in said.replace("\n", "")


def test_a_mask_that_would_not_be_nifti(cspine, tmp_path: Path):
    (tmp_path / "scan.nii.gz").touch()
    status, said = cspine("predict", str(tmp_path / "scan.nii.gz"), "--out", str(tmp_path / "m.png"))
    assert status == 1
    assert ".nii.gz" in said


def test_a_home_without_models(cspine, tmp_path: Path):
    (tmp_path / "scan.nii.gz").touch()
    status, said = cspine(
        "predict", str(tmp_path / "scan.nii.gz"), "--out", str(tmp_path / "m.nii.gz"), "--home", str(tmp_path)
    )
    assert status == 1
    assert said.startswith("cspine:")


def test_the_version_is_that_of_the_installed_package(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    monkeypatch.setattr(sys, "argv", ["cspine", "--version"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert capsys.readouterr().out == f"cspine-assets {version('cspine-assets')}\n"


@pytest.mark.parametrize(
    ("scan", "out", "message"),
    [
        ("scans/a.nii.gz", "scans/a.nii.gz", "expected another place for the mask than the scan itself"),
        ("scans/a.nii.gz", "masks", "expected a name ending in .nii.gz or .nii"),
        ("scans", "mask.nii.gz", "expected a folder for their masks"),
        ("scans", "scans", "expected another place for the mask than the scan itself"),
        ("gone", "mask.nii.gz", "there is nothing"),
    ],
)
def test_a_mask_is_never_written_where_it_does_harm(
    cspine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scan: str, out: str, message: str
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "a.nii.gz").write_bytes(b"a scan")
    status, said = cspine("predict", scan, "--out", out, "--home", "home")
    assert status == 1
    assert message in said.replace("\n", " ")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.nii.gz", "scans"]
    assert (tmp_path / "scans" / "a.nii.gz").read_bytes() == b"a scan"
