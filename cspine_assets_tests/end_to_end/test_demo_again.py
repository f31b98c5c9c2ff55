"""The demo called again on what it has made: nothing is made twice, and what was lost or killed is completed."""

import signal
import subprocess

import dagster as dg
import psutil
import pytest

from cspine_assets.defs.jobs import reevaluate
from cspine_assets.domain.files import fingerprint_file
from cspine_assets_tests.end_to_end.conftest import CSPINE, DemoRun, run_cspine
from cspine_assets_tests.processes import alive, command_of, within

pytestmark = pytest.mark.slow


def test_a_second_demo_starts_no_run(demo: DemoRun, instance: dg.DagsterInstance):
    before = instance.get_runs_count()
    result = run_cspine("demo", "--home", str(demo.home.root))
    assert result.returncode == 0, result.stderr
    assert instance.get_runs_count() == before
    assert "evaluation.exam_metrics" in result.stdout


def test_finished_predictions_are_not_made_again_when_their_rows_are_lost(demo: DemoRun):
    logs = {path: path.stat().st_size for path in demo.home.logs.glob("predict-c*.log")}
    assert logs
    (demo.home.lake.root / "prediction" / "fold_predictions" / "0.parquet").unlink()
    result = run_cspine("demo", "--home", str(demo.home.root))
    assert result.returncode == 0, result.stderr
    assert "prediction.fold_predictions" in result.stdout
    assert logs == {path: path.stat().st_size for path in logs}


def test_reevaluation_makes_what_is_stale_and_nothing_else(demo: DemoRun, instance: dg.DagsterInstance):
    config = {"resources": {"study": {"config": {"home": str(demo.home.root)}}}}
    first = reevaluate.execute_in_process(instance=instance, run_config=config, resources=demo.resources())
    assert _stages(first) == ["everything was up to date"]
    (demo.home.lake.root / "evaluation" / "test_summary" / "all.parquet").unlink()
    second = reevaluate.execute_in_process(instance=instance, run_config=config, resources=demo.resources())
    assert _stages(second) == ["evaluation.test_summary"]


def _stages(result) -> list[str]:
    event = next(event for event in result.all_events if event.is_successful_output)
    return event.event_specific_data.metadata["stages"].value


def test_a_demo_killed_in_training_is_completed_by_calling_it_again(demo: DemoRun, instance: dg.DagsterInstance):
    home = demo.home
    results = home.nnunet_results / "Dataset108_CSpineSeg"
    kept = {
        path: fingerprint_file(path) for path in results.rglob("checkpoint_final.pth") if "2d/fold_0" not in str(path)
    }
    assert len(kept) == 9
    for path in sorted(next(results.glob("*__2d")).joinpath("fold_0").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (home.lake.root / "nnunet" / "trained_folds" / "2d-0.parquet").unlink()

    log = home.logs / "train-2d-0.log"
    before = log.stat().st_size
    process = subprocess.Popen(
        [CSPINE, "demo", "--home", str(home.root)], stdout=subprocess.DEVNULL, start_new_session=True
    )
    try:
        assert within(300, lambda: log.stat().st_size > before + 500)
        family = psutil.Process(process.pid).children(recursive=True)
        assert any("children.train" in command_of(child) for child in family)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert within(10, lambda: not any(alive(child) for child in family)), "the killed demo left processes behind"

    again = run_cspine("demo", "--home", str(home.root))
    assert again.returncode == 0, again.stdout + again.stderr
    assert kept == {path: fingerprint_file(path) for path in kept}
    assert (next(results.glob("*__2d")) / "fold_0" / "checkpoint_final.pth").exists()
    unfinished = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
    assert unfinished == []
