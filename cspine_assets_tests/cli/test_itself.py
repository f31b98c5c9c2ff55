"""What is printed to be copied is found by the shell that it is copied into."""

import sys
from pathlib import Path

import pytest

from cspine_assets.cli.itself import callable_name


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A checkout with its own environment, and nothing of it on the search path."""
    command = tmp_path / "my study" / ".venv" / "bin" / "cspine"
    command.parent.mkdir(parents=True)
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(command.parent / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    return command


def test_in_the_checkout_it_is_the_short_path(installed: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(installed.parents[2])
    assert callable_name() == ".venv/bin/cspine"


def test_from_elsewhere_it_is_the_whole_path_quoted(installed: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(Path(__file__).parent)
    assert callable_name() == f"'{installed}'"


def test_in_an_activated_environment_it_is_the_name(installed: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(installed.parent))
    assert callable_name() == "cspine"


def test_another_installation_of_that_name_is_not_meant(
    installed: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    other = tmp_path / "cspine"
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    monkeypatch.chdir(Path(__file__).parent)
    assert callable_name() == f"'{installed}'"
