"""The Dagster page of the finished demo's home makes any part of it again, and its daemon what is new."""

import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pandas as pd
import psutil
import pytest

from cspine_assets.defs.attention import at_work
from cspine_assets.defs.automation import SETTINGS_FILE as AUTOMATION_FILE
from cspine_assets.defs.io import FORCE_TAG
from cspine_assets.defs.jobs import take_in
from cspine_assets.defs.resources import Study
from cspine_assets.defs.stages import Order, known_tables, stage_of
from cspine_assets.domain.tables.cohort import Patients, Splits
from cspine_assets.domain.tables.evaluation import ExamMetrics, LevelMetrics
from cspine_assets.domain.tables.imaging import HeaderFindings, Masks, Volumes
from cspine_assets.domain.tables.nnunet import RawDataset, TrainedFolds
from cspine_assets.domain.tables.prediction import ExamPredictions
from cspine_assets.domain.warehouse.read import query
from cspine_assets_tests.end_to_end.by_itself import (
    FRESHNESS,
    Finished,
    finished_runs,
    hand_in_expert_patient,
    has_ticked,
    switch,
    take_away,
)
from cspine_assets_tests.end_to_end.conftest import CSPINE, DemoRun, run_cspine
from cspine_assets_tests.end_to_end.page import Page
from cspine_assets_tests.processes import alive, free_port, within

pytestmark = pytest.mark.slow

FINISHED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
GOING = [status for status in dg.DagsterRunStatus if status not in FINISHED]
SENSORS = ("new_data", "new_external_predictions", "new_models")


@pytest.fixture(scope="module")
def page(demo: DemoRun) -> Iterator[Page]:
    port = free_port()
    # the schedule of the page's tests; it fires once a person, or a test, switches it on
    (demo.home.root / AUTOMATION_FILE).write_text(
        "reevaluation: {cron: '* * * * *', time_zone: Europe/Berlin}\nlook_every_s: 1\n"
    )
    log = (demo.home.logs / "page.log").open("wb")
    process = subprocess.Popen(
        [CSPINE, "dev", "--home", str(demo.home.root), "--port", str(port)],
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    opened = Page(demo.home, port, process)
    try:
        assert within(400, opened.answers), (demo.home.logs / "page.log").read_text()
        yield opened
    finally:
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        process.wait(600)
        log.close()
        assert within(10, lambda: not any(alive(member) for member in family)), "the page left processes behind"


def test_the_page_knows_every_asset(page: Page):
    nodes = page.ask("{ assetNodes { assetKey { path } hasMaterializePermission } }")["assetNodes"]
    assert {"midrc/cases", "nnunet/trained_folds", "warehouse/database"} <= {
        "/".join(n["assetKey"]["path"]) for n in nodes
    }


def test_it_listens_on_this_machine_alone(page: Page):
    assert page.addresses == {"127.0.0.1"}


def test_it_asks_for_its_token_and_its_name(page: Page):
    # the same page as of `cspine up`; test_guard and test_webserver list what else is refused
    assert page.answered() == 401
    assert page.answered(host="evil.example", **page.bearer) == 403
    assert page.answered(**page.bearer) == 200


def test_a_second_page_of_the_same_home_is_refused(page: Page, demo: DemoRun):
    refused = run_cspine("dev", "--home", str(demo.home.root), "--port", str(free_port()))
    assert refused.returncode == 1
    assert "running already" in refused.stderr


def test_a_table_a_range_of_patients_and_one_model_are_made_from_the_page(page: Page, demo: DemoRun):
    patients = demo.home.lake.read_column(Patients, "patient_id").sort_values().tolist()
    runs = [
        page.launch(["evaluation", "test_summary"], {}),
        page.launch(
            ["imaging", "masks"],
            {"dagster/asset_partition_range_start": patients[1], "dagster/asset_partition_range_end": patients[4]},
        ),
        page.launch(["nnunet", "trained_folds"], {"dagster/partition": "2d|0"}),
    ]
    assert within(900, lambda: all(page.status(run) in ("SUCCESS", "FAILURE", "CANCELED") for run in runs))
    assert [page.status(run) for run in runs] == ["SUCCESS"] * 3


def _rows(demo: DemoRun, statement: str) -> int:
    return int(query(demo.home.database, statement).iloc[0, 0])


def _tell(finished: Finished, began: float) -> None:
    print(
        f"asked for by {finished.by} {finished.began - began:.0f} s after it was switched on: {finished.job} took "
        f"{finished.seconds:.0f} s and made {', '.join(finished.stages)}"
    )


def test_a_schedule_of_every_minute_reevaluates_what_is_stale_and_nothing_else(
    page: Page, demo: DemoRun, instance: dg.DagsterInstance
):
    (demo.home.lake.root / "evaluation" / "test_summary" / "all.parquet").unlink()
    history = sorted((demo.home.lake.root / "evaluation" / "history").iterdir())
    began = time.time()
    switch(page.ask, "startSchedule", "reevaluation")
    try:
        assert within(300, lambda: finished_runs(instance, "reevaluation", began))
    finally:
        switch(page.ask, "resetSchedule", "reevaluation")
    first = finished_runs(instance, "reevaluation", began)[0]
    _tell(first, began)
    assert first.success
    assert first.stages == ["evaluation.test_summary"]
    assert sorted((demo.home.lake.root / "evaluation" / "history").iterdir()) == history
    watched = page.ask(FRESHNESS, key={"path": ["warehouse", "database"]})["assetNodeOrError"]["freshnessStatusInfo"]
    assert watched["freshnessStatus"] == "HEALTHY"


def test_what_is_made_by_hand_is_followed(page: Page, demo: DemoRun, instance: dg.DagsterInstance):
    assert within(120, lambda: at_work(instance, demo.home) is None)
    began = time.time()
    switch(page.ask, "startSensor", "followers")
    try:
        assert within(180, lambda: has_ticked(page.ask, "followers", began))
        by_hand = page.launch(["evaluation", "test_summary"], {FORCE_TAG: "true"})
        assert within(300, lambda: finished_runs(instance, "followers", began))
    finally:
        switch(page.ask, "resetSensor", "followers")
    assert page.status(by_hand) == "SUCCESS"
    assert within(300, lambda: not instance.get_runs(dg.RunsFilter(statuses=GOING)))
    followed = finished_runs(instance, "followers", began)
    for run in followed:
        _tell(run, began)
        assert run.success
    assert "warehouse/database" in {made for run in followed for made in run.stages}


def test_folders_patients_and_models_that_are_new_are_in_the_database_without_a_hand(
    page: Page, demo: DemoRun, instance: dg.DagsterInstance, tmp_path: Path
):
    home, lake = demo.home, demo.home.lake
    before, learned = lake.read(Splits), lake.read(RawDataset)
    models = {path: path.stat().st_mtime_ns for path in lake.folder(TrainedFolds).iterdir()}
    newcomer = before.loc[before["part"] == "unannotated", "patient_id"].min()
    known = f"select count(*) from imaging.volumes where patient_id = '{newcomer}'"
    predicted = f"select count(*) from prediction.exam_predictions where patient_id = '{newcomer}'"
    ranked = "select count(*) from evaluation.leaderboard where predictor in ('other_tool', 'theirs')"
    assert within(120, lambda: at_work(instance, home) is None)
    bring_back = take_away(home.root / "demo_download", newcomer, tmp_path / "away")
    assert take_in.execute_in_process(instance=instance, resources=demo.resources()).success
    shutil.rmtree(home.volumes / newcomer)
    for table in (Volumes, Masks, HeaderFindings, ExamPredictions, ExamMetrics, LevelMetrics):
        lake.remove(table, newcomer)
    assert (_rows(demo, known), _rows(demo, ranked)) == (0, 0)
    archive = next(home.model_archive.glob("*.zip"))
    imported = run_cspine("model", "import", str(archive), "--name", "theirs", "--trust", "--home", str(home.root))
    assert imported.returncode == 0, imported.stderr

    began = time.time()
    try:
        # one after the other: a run for new patients would take models and folders along that nobody has asked for yet
        switch(page.ask, "startSensor", "new_models")
        assert within(300, lambda: finished_runs(instance, "new_models", began))
        bring_back()
        expert = hand_in_expert_patient(home.root / "demo_download", tmp_path / "another")
        switch(page.ask, "startSensor", "new_data")
        assert within(300, lambda: finished_runs(instance, "new_data", began))
        handed_in = home.external_predictions / "other_tool"
        shutil.copytree(home.predictions / "exams" / "2d", handed_in, ignore=shutil.ignore_patterns("*.json"))
        (handed_in / "predictor.json").write_text('{"provenance": "copied from 2d by a test"}')
        switch(page.ask, "startSensor", "new_external_predictions")
        assert within(300, lambda: _rows(demo, known) and _rows(demo, predicted) and _rows(demo, ranked) == 2)
        print(f"all rows stand {time.time() - began:.0f} s after the sensors were switched on")
    finally:
        for sensor in SENSORS:
            switch(page.ask, "resetSensor", sensor)
        assert within(300, lambda: not instance.get_runs(dg.RunsFilter(statuses=GOING)))
    runs = {sensor: finished_runs(instance, sensor, began) for sensor in SENSORS}
    for run in (run for asked in runs.values() for run in asked):
        _tell(run, began)
    assert all(run.success for asked in runs.values() for run in asked)
    assert {sensor: len(asked) for sensor, asked in runs.items()} == dict.fromkeys(SENSORS, 1)
    assert "prediction.external_predictions" in runs["new_models"][0].stages
    assert "imaging.volumes" in runs["new_data"][0].stages
    board = query(home.database, "select * from evaluation.leaderboard").set_index("predictor")
    for name, same in (("other_tool", "2d"), ("theirs", "ensemble")):
        assert board.loc[name, ["origin", "coverage", "profile"]].tolist() == ["external", 1.0, "demo"]
        assert board.loc[name, "dice_macro_mean"] == board.loc[same, "dice_macro_mean"]
    assert _rows(demo, "select count(*) from evaluation.external_comparison where protocol = 'paired'")
    history = query(home.database, "select predictor, arg_min(reason, evaluated_at) from evaluation.history group by 1")
    assert set(history.set_index("predictor").iloc[:, 0]) == {"first"}
    assert {"other_tool", "theirs"} <= set(history["predictor"])
    _an_expert_mask_trained_no_model_and_moved_nobody(demo, expert, splits=before, learned=learned)
    assert models == {path: path.stat().st_mtime_ns for path in lake.folder(TrainedFolds).iterdir()}
    assert stage_of(Study(home), [known_tables()[RawDataset]], instance, Order()) is not None, "left to a person to ask"


def _an_expert_mask_trained_no_model_and_moved_nobody(
    demo: DemoRun, patient_id: str, *, splits: pd.DataFrame, learned: pd.DataFrame
) -> None:
    """The patient is known and has a part in the split, which the models that stand are not of."""
    database, after = demo.home.database, demo.home.lake.read(Splits)
    assert after.loc[after["patient_id"] == patient_id, "part"].tolist() == ["development"]
    assert set(after.query("part == 'test'")["exam_id"]) == set(splits.query("part == 'test'")["exam_id"])
    assert _rows(demo, f"select count(*) from imaging.masks where status = 'ok' and patient_id = '{patient_id}'") == 1
    assert _rows(demo, f"select count(*) from evaluation.exam_metrics where patient_id = '{patient_id}'") == 0
    assert demo.home.lake.read(RawDataset).equals(learned)
    scored = query(database, "select distinct set, split_sha256 from evaluation.exam_metrics").set_index("set")
    assert scored["split_sha256"].to_dict() == {
        "cv": learned["split_sha256"].iloc[0],
        "test": after["split_sha256"].iloc[0],
    }
