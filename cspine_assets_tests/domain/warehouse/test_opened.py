"""A notebook opens a home without Dagster: tables as frames, volumes and masks by exam, one publication throughout."""

import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import cspine_assets
from cspine_assets.domain.errors import CSpineError, HomeError
from cspine_assets.domain.home import Home
from cspine_assets.domain.tables.imaging import Volumes
from cspine_assets.domain.warehouse.opened import OpenHome
from cspine_assets.domain.warehouse.publish import publish_database
from cspine_assets_tests.domain.warehouse.rows import EXAMS, frames


@pytest.fixture
def root(tmp_path: Path) -> Path:
    given = frames()
    given[Volumes].loc[1, ["status", "reason", "path"]] = ["failed", "a slice is missing", None]
    publish_database(given, Home(tmp_path).database)
    return tmp_path


@pytest.fixture
def study(root: Path):
    with cspine_assets.open_home(root) as opened:
        yield opened


def write(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.full((3, 4, 5), value, np.uint8), np.diag([4, 1, 1, 1])), path)


def test_tables_and_views_are_frames(study: OpenHome):
    assert {"cohort.exams", "dice_by_group", "warehouse.database"} <= set(study.tables())
    assert study.table("cohort.exams")["exam_id"].tolist() == EXAMS
    assert len(study.table("dice_by_group"))
    assert study.sql("select count(*) as n from cohort.exams")["n"].tolist() == [len(EXAMS)]
    with pytest.raises(CSpineError, match=r"cohort\.no: expected a table or view, there are .*cohort\.exams"):
        study.table("cohort.no")


def test_volumes_and_masks_come_by_exam(study: OpenHome, root: Path):
    tested, developed = EXAMS[5], EXAMS[0]
    write(root / "volumes" / f"{tested}.nii.gz", 7)
    write(root / "masks" / f"{tested}.nii.gz", 1)
    write(root / "predictions" / "test" / "ensemble" / f"{tested}.nii.gz", 2)
    write(root / "predictions" / "cv" / "2d" / f"{developed}.nii.gz", 1)
    assert set(np.unique(study.volume(tested).array)) == {7}
    assert set(np.unique(study.reference(tested).array)) == {1}
    assert set(np.unique(study.prediction(tested).array)) == {2}
    assert set(np.unique(study.prediction(developed, "2d").array)) == {1}


def test_what_is_not_there_says_why(study: OpenHome):
    with pytest.raises(CSpineError, match="a slice is missing"):
        study.volume(EXAMS[1])
    with pytest.raises(CSpineError, match="none of that name"):
        study.reference("nobody")
    with pytest.raises(CSpineError, match="prediction by 'other'"):
        study.prediction(EXAMS[0], "other")


def test_a_session_keeps_its_publication(study: OpenHome, root: Path):
    publish_database({Volumes: frames()[Volumes].head(1)}, Home(root).database)
    assert len(study.table("imaging.volumes")) == len(EXAMS)
    with cspine_assets.open_home(root) as later:
        assert len(later.table("imaging.volumes")) == 1


def test_a_home_without_a_publication_is_refused(tmp_path: Path):
    with pytest.raises(HomeError):
        cspine_assets.open_home(tmp_path)


def test_importing_the_package_loads_nothing_and_opening_a_home_no_dagster():
    script = (
        "import sys, cspine_assets; assert 'pandas' not in sys.modules; cspine_assets.open_home; "
        "assert not {'dagster', 'torch', 'nnunetv2'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
