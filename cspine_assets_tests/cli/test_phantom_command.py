"""`cspine phantom` as a person calls it: the faults it knows, and where it writes."""

import sys
from pathlib import Path

import pytest

from cspine_assets.cli.app import main
from cspine_assets.domain.phantom.defects import DEFECTS


@pytest.fixture
def phantom(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    """Calls the command in an empty folder; returns its status and all that it said."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["cspine", "phantom", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out + said.err

    return call


@pytest.mark.parametrize("place", [(), ("cohort",)], ids=["no folder", "a folder"])
def test_faults_are_listed_with_or_without_a_folder_and_nothing_is_written(phantom, tmp_path: Path, place):
    status, said = phantom(*place, "--defects", "list")
    assert status == 0
    assert [line.split(":")[0] for line in said.splitlines()] == list(DEFECTS)
    assert list(tmp_path.iterdir()) == []


def test_without_a_folder_nothing_is_written_and_one_is_asked_for(phantom, tmp_path: Path):
    status, said = phantom("--patients", "1")
    assert status == 1
    assert "expected a folder to write the cohort to" in said
    assert list(tmp_path.iterdir()) == []
