"""A demo goes on with the cohort that it began with, and says so to whoever asks for another."""

import io
from pathlib import Path

import duckdb
import pandas as pd
import pytest
from rich.console import Console

from cspine_assets.cli.answers import print_answer
from cspine_assets.cli.demo import QUESTIONS, _write_cohort
from cspine_assets.cli.progress import MemoryMeter, StageDisplay
from cspine_assets.domain.errors import HomeError
from cspine_assets.domain.home import Home
from cspine_assets.nnunet.environment import NnunetFolders


def test_another_cohort_is_refused_and_the_same_goes_on(tmp_path: Path):
    home = Home(tmp_path)
    display = StageDisplay(Console(quiet=True), MemoryMeter(), NnunetFolders.under(tmp_path / "nnunet"))
    _write_cohort(home, display, patients=2, seed=1)
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "demo_download").rglob("*")}
    _write_cohort(home, display, patients=2, seed=1)
    with pytest.raises(HomeError, match=r"--patients 2 --seed 1; asked for was --patients 3 --seed 1"):
        _write_cohort(home, display, patients=3, seed=1)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "demo_download").rglob("*")} == written


METRICS = pd.DataFrame(
    [
        {"set": "test_unknown", "predictor": "3d_fullres", "structure": "intervertebral_disc", "exam_id": "e"}
        | {"dice_volumetric": 0.123456, "dice_slice_mean": 0.123456, "dice": 0.123456}
        | {"view": "mid_sagittal", "protocol": "anatomical", "level": "C2/C3"}
    ]
    * 100
)
METRICS = pd.concat([METRICS, METRICS.assign(set="cv", predictor="ensemble")])
DOUBTS = pd.DataFrame({"exam_id": ["e"], "set": ["test"], "flags": ["few_bodies"], "level_count": [13]})
EXAMS = pd.DataFrame({"exam_id": ["e"], "manufacturer": ["GE MEDICAL SYSTEMS"]})


@pytest.mark.parametrize("width", [80, 100])
@pytest.mark.parametrize("question", QUESTIONS)
def test_an_answer_of_the_demo_is_a_table_on_a_usual_terminal(question: str, width: int):
    with duckdb.connect() as database:
        database.sql("create schema evaluation; create schema cohort; create table cohort.exams as from EXAMS")
        for name in ("exam_metrics", "level_metrics"):
            database.sql(f"create table evaluation.{name} as from METRICS")
        database.sql("create table level_doubts as from DOUBTS")
        answer = database.sql(QUESTIONS[question]).df()
    console = Console(file=io.StringIO(), width=width, force_terminal=True, no_color=True, _environ={})
    print_answer(console, answer)
    text = console.file.getvalue()
    assert len(answer)
    assert "row 1" not in text, "a block for each row"
    assert [text.count(name) >= 1 for name in answer.columns] == [True] * len(answer.columns)
