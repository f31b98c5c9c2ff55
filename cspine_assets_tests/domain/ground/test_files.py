"""A folder takes another's place as a whole, or the other one stays."""

from pathlib import Path

import pytest

from cspine_assets.domain.files import fresh_folder_beside


@pytest.fixture
def standing(tmp_path: Path) -> Path:
    place = tmp_path / "dataset"
    place.mkdir()
    (place / "case").write_text("old")
    return place


def contents(place: Path) -> dict[str, str]:
    assert [path.name for path in place.parent.iterdir()] == [place.name]
    return {path.name: path.read_text() for path in place.iterdir()}


def test_a_new_folder_takes_the_place_as_a_whole(standing: Path):
    with fresh_folder_beside(standing) as aside:
        (aside / "other").write_text("new")
        assert (standing / "case").read_text() == "old"
    assert contents(standing) == {"other": "new"}


def test_after_an_error_the_old_folder_stands_and_nothing_beside_it(standing: Path):
    with pytest.raises(ZeroDivisionError), fresh_folder_beside(standing) as aside:
        (aside / "other").write_text("new")
        raise ZeroDivisionError
    assert contents(standing) == {"case": "old"}


def test_stopped_between_the_two_renames_the_old_folder_is_put_back(standing: Path, monkeypatch: pytest.MonkeyPatch):
    real = Path.rename

    def rename(path: Path, target: Path) -> Path:
        if path.name.startswith(".aside-"):
            raise KeyboardInterrupt
        return real(path, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(KeyboardInterrupt), fresh_folder_beside(standing) as aside:
        (aside / "other").write_text("new")
    assert contents(standing) == {"case": "old"}


def test_two_writers_at_once_do_not_disturb_each_other_and_the_last_stays(standing: Path):
    with fresh_folder_beside(standing) as theirs:
        (theirs / "half").write_text("being written")
        with pytest.raises(ZeroDivisionError), fresh_folder_beside(standing):
            raise ZeroDivisionError
        with fresh_folder_beside(standing) as mine:
            (mine / "whole").write_text("mine")
        assert (theirs / "half").read_text() == "being written"
    assert contents(standing) == {"half": "being written"}


def test_a_new_folder_is_for_the_lab_as_every_other(standing: Path):
    with fresh_folder_beside(standing):
        pass
    (standing.parent / "usual").mkdir()
    assert standing.stat().st_mode == (standing.parent / "usual").stat().st_mode
