"""What a person sees of models that travel, and of the way masks are drawn; nothing here needs a trained model."""

import json
import sys
from pathlib import Path

import pytest

from cspine_assets.cli.app import main
from cspine_assets.domain.home import Home, HomeSettings


@pytest.fixture
def cspine(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Calls the command and returns its status and all that it said, its lines joined."""
    monkeypatch.setenv("COLUMNS", "400")

    def call(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["cspine", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), (said.out + said.err).replace("\n", " ")

    return call


def test_a_home_without_imported_models_says_so(cspine, tmp_path: Path):
    status, said = cspine("model", "list", "--home", str(tmp_path))
    assert (status, "No model has been imported" in said) == (0, True)


def test_an_archive_that_is_none_is_one_message(cspine, tmp_path: Path):
    (tmp_path / "model.zip").write_bytes(b"no zip")
    status, said = cspine("model", "import", str(tmp_path / "model.zip"), "--home", str(tmp_path / "home"))
    assert status == 1
    assert "expected a whole zip" in said


def test_a_model_that_nobody_imported_does_not_predict(cspine, tmp_path: Path):
    (tmp_path / "scan.nii.gz").touch()
    scan = [str(tmp_path / "scan.nii.gz"), "--out", str(tmp_path / "m.nii.gz")]
    status, said = cspine("predict", *scan, "--model", "theirs", "--home", str(tmp_path))
    assert status == 1
    assert "none called 'theirs'" in said


def test_a_home_without_models_exports_none(cspine, tmp_path: Path):
    Home(tmp_path).open(HomeSettings("demo", str(tmp_path)))
    status, said = cspine("model", "export", str(tmp_path / "out.zip"), "--home", str(tmp_path))
    assert status == 1
    assert "trains what is missing" in said
    assert not (tmp_path / "out.zip").exists()


def test_the_way_masks_are_drawn_is_chosen_shown_and_taken_back(cspine, tmp_path: Path):
    Home(tmp_path).open(HomeSettings("full", str(tmp_path)))
    home = ["--home", str(tmp_path)]
    assert "disable_tta = False  (of profile full)" in cspine("prediction", *home)[1]
    assert not (tmp_path / "prediction.json").exists()
    assert "disable_tta = True  (yours)" in cspine("prediction", "--disable-tta", *home)[1]
    assert json.loads((tmp_path / "prediction.json").read_text()) == {"disable_tta": True}
    assert "step_size = 0.25  (yours)" in cspine("prediction", "--step-size", "0.25", *home)[1]
    status, said = cspine("prediction", "--step-size", "7", *home)
    assert (status, "step_size" in said) == (1, True)
    assert "disable_tta = False  (of profile full)" in cspine("prediction", "--reset", *home)[1]
