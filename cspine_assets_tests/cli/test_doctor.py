"""The doctor names what is missing and how to get it, and makes nothing."""

import shutil
import sys
from pathlib import Path

import psutil
import pytest

from cspine_assets.cli import doctor
from cspine_assets.cli.doctor import Verdict


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


def test_another_python_is_missing(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 14, 0))
    assert doctor.look_at_python().verdict is Verdict.MISSING


def test_a_missing_torch_says_how_to_get_it(monkeypatch):
    from importlib import metadata

    def absent(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", absent)
    finding = doctor.look_at_torch()
    assert finding.verdict is Verdict.MISSING
    assert "make setup" in finding.remedy


def test_a_download_that_is_none_is_named(tmp_path: Path):
    finding = doctor.look_at_source(tmp_path)
    assert finding.verdict is Verdict.MISSING
    assert str(tmp_path) in finding.found
    assert doctor.look_at_source(None).verdict is Verdict.NOTE


def test_what_is_installed_here_is_found():
    assert doctor.look_at_dcm2niix().verdict is Verdict.GOOD
    assert doctor.look_at_torch().verdict is Verdict.GOOD
