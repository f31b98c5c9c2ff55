from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from cspine_assets.domain.dcm2niix import dcm2niix_binary, dcm2niix_version, run_dcm2niix
from cspine_assets.domain.errors import ConversionError


def test_the_version_is_the_executable_s_own():
    assert dcm2niix_version().startswith("v1.0.")


def test_a_missing_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "dcm2niix", None)
    with pytest.raises(ConversionError, match="pip install"):
        dcm2niix_binary()


def test_a_missing_executable_says_where_it_was_expected(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "dcm2niix", SimpleNamespace(bin=str(tmp_path / "gone")))
    with pytest.raises(ConversionError, match="gone"):
        dcm2niix_binary()


def test_a_run_without_dicom_reports_its_return_code_and_words(tmp_path):
    source, destination = tmp_path / "source", tmp_path / "destination"
    source.mkdir()
    destination.mkdir()
    finished = run_dcm2niix(source, destination, "%j")
    assert finished.return_code != 0
    assert finished.output
    assert list(destination.iterdir()) == []


def test_a_run_that_takes_too_long_is_ended(tmp_path, monkeypatch):
    slow = tmp_path / "slow"
    slow.write_text("#!/bin/sh\nexec sleep 30\n")
    slow.chmod(0o755)
    monkeypatch.setitem(sys.modules, "dcm2niix", SimpleNamespace(bin=str(slow)))
    with pytest.raises(ConversionError, match=r"more than 0\.2 s"):
        run_dcm2niix(tmp_path, tmp_path, "%j", timeout_s=0.2)
