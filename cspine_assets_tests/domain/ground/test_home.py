"""One home holds one study, and a folder that cannot be used is named."""

from pathlib import Path

import pytest

from cspine_assets.domain.errors import HomeError
from cspine_assets.domain.home import Home, HomeSettings

DEMO = HomeSettings(profile="demo", source="/download")


def test_a_home_remembers_what_it_was_opened_for(tmp_path: Path):
    home = Home(tmp_path / "home")
    assert home.read_settings() is None
    home.open(DEMO)
    assert home.read_settings() == DEMO


@pytest.mark.parametrize("other", [HomeSettings("full", "/download"), HomeSettings("demo", "/elsewhere")])
def test_a_home_refuses_a_second_study(tmp_path: Path, other: HomeSettings):
    home = Home(tmp_path)
    home.open(DEMO)
    with pytest.raises(HomeError, match="One home holds one study"):
        home.open(other)
    assert home.read_settings() == DEMO


def test_who_drew_the_masks_may_be_said_later(tmp_path: Path):
    home = Home(tmp_path)
    home.open(DEMO)
    home.open(HomeSettings("demo", "/download", provenance="/answer.json"))
    settings = home.read_settings()
    assert settings is not None
    assert settings.provenance == "/answer.json"


def test_a_home_that_is_a_file_is_refused_by_name(tmp_path: Path):
    path = tmp_path / "file"
    path.write_text("")
    with pytest.raises(HomeError, match="file: expected a folder that can be written to"):
        Home(path).open(DEMO)


def test_settings_that_are_no_settings_are_refused_by_name(tmp_path: Path):
    (tmp_path / "settings.json").write_text("{")
    with pytest.raises(HomeError, match=r"settings\.json"):
        Home(tmp_path).read_settings()


def test_paths_in_tables_are_relative_to_the_home(tmp_path: Path):
    home = Home(tmp_path)
    path = home.volumes / "a" / "b.nii.gz"
    assert home.relative(path) == "volumes/a/b.nii.gz"
    assert home.absolute("volumes/a/b.nii.gz") == path
