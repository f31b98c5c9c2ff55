"""The doctor names what is missing and how to get it, and makes nothing."""

import shutil
import sys
from pathlib import Path

import duckdb
import psutil
import pytest
import typer

from cspine_assets.cli import doctor
from cspine_assets.cli.doctor import Verdict
from cspine_assets.defs.instance import open_instance
from cspine_assets.domain.home import Home, HomeSettings
from cspine_assets.domain.tables.base import empty_frame
from cspine_assets.domain.tables.cohort import Findings
from cspine_assets_tests.nnunet.machines import FIRST


def test_too_little_disk_is_missing_and_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    usage = type("Usage", (), {"free": 1e9})()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    finding = doctor.look_at_disk(tmp_path / "not" / "yet")
    assert finding.verdict is Verdict.MISSING
    assert "CSPINE_HOME" in finding.remedy
    assert not (tmp_path / "not").exists()


@pytest.mark.parametrize(("gigabytes", "verdict"), [(2, Verdict.MISSING), (8, Verdict.NOTE), (64, Verdict.GOOD)])
def test_memory_is_judged_against_demo_and_full_study(monkeypatch, gigabytes, verdict):
    memory = type("Memory", (), {"available": gigabytes * 1e9})()
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    assert doctor.look_at_memory().verdict is verdict


def test_a_python_that_is_too_new_is_missing_and_the_one_in_use_is_named(monkeypatch):
    assert sys.executable in doctor.look_at_python().found
    monkeypatch.setattr(sys, "version_info", (3, 15, 0))
    finding = doctor.look_at_python()
    assert finding.verdict is Verdict.MISSING
    assert finding.remedy.startswith("expected Python 3.11 to 3.14, got 3.15.0")


def test_a_missing_torch_says_how_to_get_it(monkeypatch):
    from importlib import metadata

    def absent(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", absent)
    finding = doctor.look_at_torch()
    assert finding.verdict is Verdict.MISSING
    assert "make setup" in finding.remedy


@pytest.mark.parametrize(("profile", "verdict"), [("demo", Verdict.NOTE), ("full", Verdict.MISSING)])
def test_a_gpu_that_torch_cannot_use_is_told_with_the_remedy(machine, tmp_path: Path, profile, verdict):
    machine.nvidia(FIRST)
    machine.torch(cuda=None, version="2.13.0+cpu")
    assert doctor.look_at_gpu(tmp_path).verdict is Verdict.NOTE
    Home(tmp_path).open(HomeSettings(profile, "/nowhere"))
    finding = doctor.look_at_gpu(tmp_path)
    assert finding.verdict is verdict
    assert "NVIDIA A100-SXM4-80GB cannot be used: torch 2.13.0+cpu (CPU build)" in finding.found
    assert "Install a torch for CUDA 13" in finding.remedy


def test_gpus_that_torch_uses_are_good_and_none_is_a_note(machine, tmp_path: Path):
    machine.torch(cuda=None)
    assert doctor.look_at_gpu(tmp_path).verdict is Verdict.NOTE
    machine.nvidia(FIRST)
    machine.torch(FIRST)
    finding = doctor.look_at_gpu(tmp_path)
    assert finding.verdict is Verdict.GOOD
    assert "cuda: NVIDIA A100-SXM4-80GB; torch 2.13.0 (CUDA 13.0)" in finding.found


def test_a_download_that_is_none_is_named(tmp_path: Path):
    finding = doctor.look_at_source(tmp_path)
    assert finding.verdict is Verdict.MISSING
    assert str(tmp_path) in finding.found
    assert doctor.look_at_source(None).verdict is Verdict.NOTE


def test_what_is_installed_here_is_found():
    assert doctor.look_at_dcm2niix().verdict is Verdict.GOOD
    assert doctor.look_at_torch().verdict is Verdict.GOOD


def test_whatever_is_damaged_in_a_home_is_named_with_the_way_back(tmp_path: Path):
    home = Home(tmp_path / "home")
    assert doctor.look_at_stores(home.root) == []
    home.open(HomeSettings("demo", "/nowhere"))
    open_instance(home).dispose()
    home.lake.write(Findings, empty_frame(Findings))
    home.database.parent.mkdir()
    with duckdb.connect(str(home.database)) as connection:
        connection.execute("CREATE TABLE t AS SELECT 1")
    before = {path: path.read_bytes() for path in home.root.rglob("*") if path.is_file()}
    assert {found.verdict for found in doctor.look_at_stores(home.root)} == {Verdict.GOOD}
    assert before == {path: path.read_bytes() for path in home.root.rglob("*") if path.is_file()}

    (home.root / "automation.yaml").write_text("alerts: {webhok: x}")
    for path in (home.lake.path(Findings), home.database, *home.dagster.rglob("*.db")):
        path.write_bytes(path.read_bytes()[:-600])
    found = {finding.subject: finding for finding in doctor.look_at_stores(home.root)}
    assert {name: finding.verdict for name, finding in found.items()} == dict.fromkeys(
        ("settings", "tables", "published database", "Dagster's databases"), Verdict.MISSING
    )
    assert "automation.yaml" in found["settings"].remedy
    assert "Delete the file and call `cspine materialize`" in found["tables"].remedy
    assert "--only warehouse --force" in found["published database"].remedy
    assert "Move the folder aside" in found["Dagster's databases"].remedy


def test_a_damaged_file_does_not_end_the_look(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("COLUMNS", "400")  # no path is cut into lines
    (tmp_path / "settings.json").write_text("[]")
    with pytest.raises(typer.Exit):
        doctor.doctor(home=tmp_path)
    assert "settings.json" in capsys.readouterr().out
