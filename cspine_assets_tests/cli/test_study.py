"""The closing summary of `demo` and `materialize` is printed whatever ends the work."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from cspine_assets.cli import study
from cspine_assets.defs.driver import StageFailedError, StageReport
from cspine_assets.defs.stages import Stage, known_tables
from cspine_assets.domain.home import Home
from cspine_assets.domain.tables.imaging import Volumes
from cspine_assets.domain.tables.nnunet import Plans

PATIENT = StageReport(Stage("imaging.volumes", (known_tables()[Volumes],), ("593973-000001",)), 1.0, ("a gap",))
PLANS = StageReport(Stage("nnunet.plans", (known_tables()[Plans],)), 2.0, ("the planner ended",))


@pytest.fixture
def console(monkeypatch: pytest.MonkeyPatch) -> Console:
    monkeypatch.setattr(study, "show_lights", lambda _home, console: console.print("checks were shown"))
    return Console(file=io.StringIO(), width=100)


def work(console: Console, home: Path, *reports: StageReport, ends_with: BaseException | None = None) -> str:
    with study.study_display(Home(home), console) as display:
        for report in reports:
            display.watcher().began(report.stage)
            display.watcher().ended(report)
        if ends_with is not None:
            raise ends_with
    return said(console)


def said(console: Console) -> str:
    return console.file.getvalue()


@pytest.mark.parametrize("error", [StageFailedError(PLANS), KeyboardInterrupt(), OSError("disk")], ids=type)
def test_missing_patients_and_costs_are_printed_after_an_error(console: Console, tmp_path: Path, error):
    with pytest.raises(type(error)):
        work(console, tmp_path, PATIENT, PLANS, ends_with=error)
    assert "What it cost" in said(console)
    assert "checks were shown" in said(console)
    assert "a gap" in said(console)
    # the error itself names the stage that ended the work
    assert ("the planner ended" in said(console)) is not isinstance(error, StageFailedError)


def test_without_an_error_the_summary_is_printed_once(console: Console, tmp_path: Path):
    assert work(console, tmp_path, PATIENT).count("a gap") == 1


def test_work_that_had_nothing_to_do_has_no_summary(console: Console, tmp_path: Path):
    assert work(console, tmp_path) == ""


def test_a_summary_that_fails_does_not_hide_the_error(console: Console, tmp_path: Path, monkeypatch):
    def broken(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(study, "show_lights", broken)
    with pytest.raises(StageFailedError):
        work(console, tmp_path, PATIENT, PLANS, ends_with=StageFailedError(PLANS))
    assert "The summary cannot be printed (RuntimeError)" in said(console)
