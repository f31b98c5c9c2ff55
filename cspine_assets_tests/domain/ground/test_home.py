"""One home holds one study, and a folder that cannot be used is named."""

import subprocess
from pathlib import Path

import pytest

from cspine_assets.domain.errors import HomeError
from cspine_assets.domain.home import Home, HomeSettings, home_root

DEMO = HomeSettings(profile="demo", source="/download")


def test_a_home_remembers_what_it_was_opened_for(tmp_path: Path):
    home = Home(tmp_path / "home")
    assert home.read_settings() is None
    home.open(DEMO)
    assert home.read_settings() == DEMO


@pytest.mark.parametrize(("profile", "folder"), [("full", "download"), ("demo", "elsewhere")])
def test_a_home_refuses_a_second_study(tmp_path: Path, profile: str, folder: str):
    (tmp_path / "download").mkdir()
    home, standing = Home(tmp_path / "home"), HomeSettings("demo", str(tmp_path / "download"))
    home.open(standing)
    with pytest.raises(HomeError, match="One home holds one study"):
        home.open(HomeSettings(profile, str(tmp_path / folder)))
    assert home.read_settings() == standing


def test_a_download_that_was_moved_is_followed(tmp_path: Path):
    home = Home(tmp_path / "home")
    (tmp_path / "download").mkdir()
    home.open(HomeSettings("full", str(tmp_path / "download")))
    (tmp_path / "download").rename(tmp_path / "larger_disk")
    home.open(HomeSettings("full", str(tmp_path / "larger_disk")))
    assert home.read_settings() == HomeSettings("full", str(tmp_path / "larger_disk"))


def test_a_home_that_was_moved_finds_its_own_files_again(tmp_path: Path):
    before, after = tmp_path / "before", tmp_path / "after"
    Home(before).open(HomeSettings("demo", str(before / "demo_download"), str(before / "who.json"), "/my/splits.json"))
    before.rename(after)
    expected = HomeSettings("demo", str(after / "demo_download"), str(after / "who.json"), "/my/splits.json")
    assert Home(after).read_settings() == expected


def test_a_home_within_a_repository_stays_out_of_it(tmp_path: Path):
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    home = Home(tmp_path / "my_home")
    home.open(DEMO)
    (home.root / "lake").mkdir()
    (home.root / "lake" / "rows.parquet").touch()
    seen = subprocess.run(["git", "status", "--porcelain"], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert seen.stdout == ""


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


@pytest.mark.parametrize("name", ["50%", "50%41", "why?", "back\\slash", "two\nlines", "tab\t", "\udcff"])
def test_a_home_that_a_database_could_not_be_named_by_is_refused_at_once(tmp_path, name):
    with pytest.raises(HomeError, match=r"Choose another folder by --home or CSPINE_HOME"):
        home_root(tmp_path / name)
    assert list(tmp_path.iterdir()) == []
