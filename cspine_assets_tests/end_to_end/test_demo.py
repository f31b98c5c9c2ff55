"""One command makes the whole study, and the Dagster page of its home makes any part of it again.

One file, because its tests share one finished demo and must run one after the other.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import nbformat
import nibabel as nib
import numpy as np
import pandas as pd
import psutil
import pytest
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpecManager
from nbclient import NotebookClient

from cspine_assets.definitions import defs
from cspine_assets.defs.attention import at_work
from cspine_assets.defs.automation import SETTINGS_FILE as AUTOMATION_FILE
from cspine_assets.defs.io import FORCE_TAG
from cspine_assets.defs.jobs import reevaluate, take_in
from cspine_assets.defs.partitions import external_predictors
from cspine_assets.defs.resources import Study
from cspine_assets.defs.stages import Order, known_tables, stage_of
from cspine_assets.domain.anatomy import DISC_LEVELS
from cspine_assets.domain.evaluation.mask_score import score_masks
from cspine_assets.domain.files import fingerprint_file
from cspine_assets.domain.tables.cohort import Splits
from cspine_assets.domain.tables.evaluation import ExamMetrics, LevelMetrics
from cspine_assets.domain.tables.imaging import HeaderFindings, Masks, Volumes
from cspine_assets.domain.tables.nnunet import PostprocessingChoice, RawDataset, TrainedFolds
from cspine_assets.domain.tables.prediction import ExamPredictions
from cspine_assets.domain.warehouse.questions import QUESTIONS
from cspine_assets.domain.warehouse.read import query
from cspine_assets.nnunet.choosing import chosen_options
from cspine_assets.nnunet.postprocessing import keep_largest
from cspine_assets.nnunet.prediction import Predictor, mask_path
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
from cspine_assets_tests.end_to_end.page import Page, free_port
from cspine_assets_tests.end_to_end.stock_commands import stock_masks
from cspine_assets_tests.processes import alive, within

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]

FINISHED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
GOING = [status for status in dg.DagsterRunStatus if status not in FINISHED]
SENSORS = ("new_data", "new_external_predictions", "new_models")
NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebooks" / "study.ipynb"

REAL = os.environ.get("CSPINE_REAL_DATA")
needs_real_data = pytest.mark.skipif(
    not REAL, reason="CSPINE_REAL_DATA does not name a folder with the open DICOM series and the T2w spine crop"
)


def test_the_demo_says_that_its_numbers_are_no_results(demo: DemoRun):
    assert "these numbers say nothing about patients" in demo.output
    assert "peak memory, MB" in demo.output
    assert "cspine predict" in demo.output


def test_the_ensemble_is_right_on_the_test_exams(demo: DemoRun):
    dice = query(
        demo.home.database,
        "select structure, avg(dice_volumetric) as dice from evaluation.exam_metrics "
        "where set = 'test' and predictor = 'ensemble' group by structure",
    ).set_index("structure")["dice"]
    assert dice["vertebral_body"] > 0.85
    assert dice["intervertebral_disc"] > 0.85


def test_sql_answers_from_the_command_line(demo: DemoRun):
    statement = (
        "select predictor, structure, avg(dice_volumetric), avg(dice_slice_mean), count(*) as n "
        "from evaluation.exam_metrics group by all order by all"
    )
    result = run_cspine("sql", "--home", str(demo.home.root), "--format", "json", statement)
    rows = json.loads(result.stdout)
    assert [(row["predictor"], row["structure"]) for row in rows] == [
        (predictor, structure)
        for predictor in ("2d", "3d_fullres", "ensemble")
        for structure in ("intervertebral_disc", "vertebral_body")
    ]
    expected = query(demo.home.database, "select count(*) as n from nnunet.raw_dataset")["n"][0]
    assert {row["n"] for row in rows} == {expected}


def test_every_asset_and_partition_is_recorded_and_every_check_passed(demo: DemoRun, instance: dg.DagsterInstance):
    graph = defs().resolve_asset_graph()
    for key in graph.materializable_asset_keys:
        cut = graph.get(key).partitions_def
        if cut is None:
            assert instance.get_latest_materialization_event(key) is not None, key
        else:
            wanted = set(cut.get_partition_keys(dynamic_partitions_store=instance))
            assert set(instance.get_materialized_partitions(key)) == wanted, key
    executions = instance.event_log_storage.get_latest_asset_check_execution_by_key(list(graph.asset_check_keys))
    statuses = {
        key.to_user_string(): executions[key].status.value for key in graph.asset_check_keys if key in executions
    }
    # nobody has dropped masks of another tool into the demo: nothing of theirs was made that could be looked at
    unseen = {key for key in graph.asset_check_keys if key not in executions}
    assert all(graph.get(key.asset_key).partitions_def is external_predictors for key in unseen), unseen
    assert set(statuses.values()) == {"SUCCEEDED"}, statuses


def test_every_worked_question_has_an_answer(demo: DemoRun):
    for question in QUESTIONS:
        assert len(query(demo.home.database, question.select)), question.asked


def test_the_example_notebook_runs_on_the_finished_study(demo: DemoRun, tmp_path: Path):
    # without folders of its own, the manager starts the running interpreter and no kernel that somebody has registered
    manager = AsyncKernelManager(kernel_spec_manager=KernelSpecManager(kernel_dirs=[]))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = NotebookClient(notebook, km=manager, timeout=120)
    client.execute(env={**os.environ, "CSPINE_HOME": str(demo.home.root), "IPYTHONDIR": str(tmp_path)})
    assert Path(manager.kernel_spec.argv[0]).samefile(sys.executable)
    shown = {cell.id: cell.outputs[0]["data"] for cell in notebook.cells if cell.get("outputs")}
    assert "These numbers are no results" in shown["open"]["text/markdown"]
    assert {name for name, data in shown.items() if "image/png" in data} == {"test-picture", "levels-picture", "exam"}
    tables = {name: data["text/html"] for name, data in shown.items() if "text/html" in data}
    assert {"patients", "measured", "folds", "test", "models", "levels", "exam-levels", "pairs"} <= set(tables)
    for name, table in tables.items():
        assert "<td" in table, f"{name} shows an empty table"
    dice = query(
        demo.home.database,
        "select avg(dice_slice_mean) as mean from evaluation.exam_metrics "
        "where set = 'test' and predictor = 'ensemble' and structure = 'intervertebral_disc'",
    )["mean"][0]
    assert f"{dice:.3f}" in tables["test"]
    assert all(level in tables["exam-levels"] for level in DISC_LEVELS)


def test_every_model_says_that_it_is_a_demo(demo: DemoRun, instance: dg.DagsterInstance):
    records = instance.fetch_materializations(dg.AssetKey(["nnunet", "trained_folds"]), limit=20).records
    profiles = [record.event_log_entry.asset_materialization.metadata["profile"].value for record in records]
    assert profiles == ["demo"] * 10
    for table in ("evaluation.exam_metrics", "evaluation.test_summary", "prediction.exam_predictions"):
        assert query(demo.home.database, f"select distinct profile from {table}")["profile"].tolist() == ["demo"]


def test_predictions_lie_on_the_grid_of_their_volumes(demo: DemoRun):
    rows = query(
        demo.home.database,
        "select p.path as mask, v.path as volume "
        "from prediction.exam_predictions p join imaging.volumes v using (exam_id)",
    )
    assert len(rows)
    for row in rows.itertuples():
        mask, volume = (nib.load(demo.home.absolute(path)) for path in (row.mask, row.volume))
        assert mask.shape == volume.shape
        assert np.allclose(mask.affine, volume.affine, atol=1e-4)


def test_a_second_demo_starts_no_run(demo: DemoRun, instance: dg.DagsterInstance):
    before = instance.get_runs_count()
    result = run_cspine("demo", "--home", str(demo.home.root), timeout=600)
    assert result.returncode == 0, result.stderr
    assert instance.get_runs_count() == before
    assert "evaluation.exam_metrics" in result.stdout


def test_a_scan_of_ones_own_is_segmented_on_its_own_grid(demo: DemoRun, tmp_path: Path):
    scan = next((demo.home.root / "demo_download" / "DukeCSpineSeg_annotation").iterdir())
    image = nib.load(scan)
    turned = image.as_reoriented(np.array([[1, -1], [2, 1], [0, -1]]))
    nib.save(turned, tmp_path / "turned.nii.gz")
    for name, given in (("plain", scan), ("turned", tmp_path / "turned.nii.gz")):
        out = tmp_path / f"{name}_mask.nii.gz"
        result = run_cspine("predict", str(given), "--out", str(out), "--home", str(demo.home.root))
        assert result.returncode == 0, result.stderr
        assert "demo model" in result.stdout
        assert np.array_equal(nib.load(out).affine, nib.load(given).affine)
        assert nib.load(out).shape == nib.load(given).shape
    plain, back = nib.load(tmp_path / "plain_mask.nii.gz"), nib.load(tmp_path / "turned_mask.nii.gz")
    canonical = [np.asarray(nib.as_closest_canonical(one).dataobj) for one in (plain, back)]
    assert np.array_equal(*canonical)
    assert set(np.unique(canonical[0])) == {0, 1, 2}


def test_a_dicom_series_of_ones_own_is_segmented(demo: DemoRun, tmp_path: Path):
    series = next((demo.home.root / "demo_download" / "DukeCSpineSeg_imaging_files").rglob("*.zip"))
    result = run_cspine("predict", str(series), "--out", str(tmp_path / "mask.nii.gz"), "--home", str(demo.home.root))
    assert result.returncode == 0, result.stderr
    assert nib.load(tmp_path / "mask.nii.gz").ndim == 3


def test_masks_of_the_test_exams_are_those_of_nnunets_own_commands(demo: DemoRun, tmp_path: Path):
    options = chosen_options(demo.home.lake.read(PostprocessingChoice))
    assert set(options) == set(Predictor)
    theirs = stock_masks(demo.home, tmp_path, options)
    for predictor, folder in theirs.items():
        masks = sorted(folder.glob("*.nii.gz"))
        assert masks
        for mask in masks:
            ours = mask_path(demo.home.predictions / "exams", predictor, mask.name.removesuffix(".nii.gz"))
            assert ours.read_bytes() == mask.read_bytes(), (predictor, mask.name)


def test_the_postprocessing_was_chosen_on_cross_validation_and_applied_to_it(demo: DemoRun):
    rows = query(
        demo.home.database,
        "select e.postprocessing, e.path, p.path as as_predicted from prediction.fold_ensembles e "
        "join prediction.fold_predictions p using (exam_id, predictor)",
    )
    assert len(rows)
    for row in rows.itertuples():
        mask, raw = (np.asarray(nib.load(demo.home.absolute(path)).dataobj) for path in (row.path, row.as_predicted))
        assert np.array_equal(mask, keep_largest(raw) if row.postprocessing == "keep_largest" else raw)


def test_finished_predictions_are_not_made_again_when_their_rows_are_lost(demo: DemoRun):
    logs = {path: path.stat().st_size for path in demo.home.logs.glob("predict-c*.log")}
    assert logs
    (demo.home.lake.root / "prediction" / "fold_predictions" / "0.parquet").unlink()
    result = run_cspine("demo", "--home", str(demo.home.root), timeout=600)
    assert result.returncode == 0, result.stderr
    assert "prediction.fold_predictions" in result.stdout
    assert logs == {path: path.stat().st_size for path in logs}


def test_the_models_travel_to_another_home_and_predict_there_once_they_are_trusted(demo: DemoRun, tmp_path: Path):
    archive, elsewhere = tmp_path / "models.zip", str(tmp_path / "elsewhere")
    scan = str(next((demo.home.root / "demo_download" / "DukeCSpineSeg_annotation").iterdir()))
    assert run_cspine("model", "export", str(archive), "--home", str(demo.home.root)).returncode == 0
    taken = run_cspine("model", "import", str(archive), "--name", "theirs", "--home", elsewhere)
    assert taken.returncode == 0, taken.stderr
    assert "Not trusted" in taken.stdout
    assert "DEMO MODEL" in taken.stdout

    there = ["predict", scan, "--out", str(tmp_path / "there.nii.gz"), "--model", "theirs", "--home", elsewhere]
    refused = run_cspine(*there)
    assert refused.returncode == 1
    assert "cspine model trust theirs" in refused.stderr.replace("\n", " ")
    assert run_cspine("model", "trust", "theirs", "--home", elsewhere).returncode == 0
    accepted = run_cspine(*there)
    assert accepted.returncode == 0, accepted.stderr
    assert "demo model" in accepted.stdout
    run_cspine("predict", scan, "--out", str(tmp_path / "here.nii.gz"), "--home", str(demo.home.root))
    assert (tmp_path / "there.nii.gz").read_bytes() == (tmp_path / "here.nii.gz").read_bytes()


def test_an_imported_model_becomes_a_predictor_on_the_test_exams(demo: DemoRun):
    archive = next(demo.home.model_archive.glob("*.zip"))
    home = ["--home", str(demo.home.root)]
    try:
        assert run_cspine("model", "import", str(archive), "--name", "theirs", "--trust", *home).returncode == 0
        predicted = run_cspine("model", "predict-test", "theirs", *home)
        assert predicted.returncode == 0, predicted.stdout + predicted.stderr
        masks = sorted((demo.home.external_predictions / "theirs").glob("*.nii.gz"))
        tested = query(
            demo.home.database, "select distinct exam_id from prediction.exam_predictions where set = 'test'"
        )
        assert {mask.name.removesuffix(".nii.gz") for mask in masks} == set(tested["exam_id"])
        for mask in masks:
            assert mask.read_bytes() == (demo.home.predictions / "exams" / "ensemble" / mask.name).read_bytes()
        card = json.loads((demo.home.external_predictions / "theirs" / "predictor.json").read_text())
        assert card["settings"]["demo"] is True
    finally:
        shutil.rmtree(demo.home.external_predictions / "theirs", ignore_errors=True)
        shutil.rmtree(demo.home.imported_models / "theirs", ignore_errors=True)


@needs_real_data
def test_the_real_sagittal_series_is_segmented_on_its_own_grid(demo: DemoRun, tmp_path: Path):
    series = Path(str(REAL)) / "dicom_siemens_sagittal_gre"
    dicom = tmp_path / "series"
    dicom.mkdir()
    for path in series.glob("*.dcm"):
        (dicom / path.name).write_bytes(path.read_bytes())
    out = tmp_path / "mask.nii.gz"
    result = run_cspine("predict", str(dicom), "--out", str(out), "--home", str(demo.home.root))
    assert result.returncode == 0, result.stderr
    reference = nib.load(series / "reference.nii")
    assert nib.load(out).shape == reference.shape
    assert np.array_equal(nib.load(out).affine, reference.affine)


@needs_real_data
def test_the_real_spine_crop_is_segmented_scored_and_pictured(demo: DemoRun, tmp_path: Path):
    from cspine_assets.domain.anatomy import LABELS, Structure
    from cspine_assets.domain.report.overlay import write_overlay_figure
    from cspine_assets.domain.volume import read_mask, read_volume, write_mask

    folder = Path(str(REAL)) / "t2w_spine_crop"
    scan, subregions = folder / "sub-mri_label-6_T2w.nii.gz", folder / "sub-mri_seg-subreg_label-6_msk.nii.gz"
    out = tmp_path / "mask.nii.gz"
    result = run_cspine("predict", str(scan), "--out", str(out), "--home", str(demo.home.root))
    assert result.returncode == 0, result.stderr
    assert np.array_equal(nib.load(out).affine, nib.load(scan).affine)

    theirs = read_mask(subregions).array
    reference = np.zeros_like(theirs)
    for structure, label in {Structure.VERTEBRAL_BODY: 49, Structure.INTERVERTEBRAL_DISC: 100}.items():
        reference[theirs == label] = LABELS[structure]
    write_mask(tmp_path / "reference.nii.gz", reference, like=scan)
    overlap = score_masks(tmp_path / "reference.nii.gz", out, with_levels=False).overlap
    for structure, measured in overlap.items():
        print(
            f"demo model on a real crop, no result: {structure} Dice {measured.dice_volumetric:.3f} {measured.status}"
        )
        assert measured.status in {"ok", "missed"}
        assert 0 <= measured.dice_volumetric <= 1
    picture = tmp_path / "crop.png"
    write_overlay_figure(picture, read_volume(scan), read_mask(out), footnote="demo model: no result")
    assert picture.stat().st_size > 10_000


def test_reevaluation_makes_what_is_stale_and_nothing_else(demo: DemoRun, instance: dg.DagsterInstance):
    config = {"resources": {"study": {"config": {"home": str(demo.home.root)}}}}
    first = reevaluate.execute_in_process(instance=instance, run_config=config, resources=_study(demo))
    assert _stages(first) == ["everything was up to date"]
    (demo.home.lake.root / "evaluation" / "test_summary" / "all.parquet").unlink()
    second = reevaluate.execute_in_process(instance=instance, run_config=config, resources=_study(demo))
    assert _stages(second) == ["evaluation.test_summary"]


def _study(demo: DemoRun):
    from cspine_assets.defs.resources import StudyResource

    return {"study": StudyResource(home=str(demo.home.root))}


def _stages(result) -> list[str]:
    event = next(event for event in result.all_events if event.is_successful_output)
    return event.event_specific_data.metadata["stages"].value


@pytest.fixture(scope="module")
def page(demo: DemoRun) -> Iterator[Page]:
    port = free_port()
    # the schedule of the page's tests; it fires once a person, or a test, switches it on
    (demo.home.root / AUTOMATION_FILE).write_text("reevaluation: {cron: '* * * * *', time_zone: Europe/Berlin}\n")
    log = (demo.home.logs / "page.log").open("wb")
    process = subprocess.Popen(
        [CSPINE, "dev", "--home", str(demo.home.root), "--port", str(port)],
        stdout=log,
        stderr=subprocess.STDOUT,
        env={**os.environ},
        start_new_session=True,
    )
    opened = Page(demo.home, port, process)
    try:
        assert within(400, opened.answers), (demo.home.logs / "page.log").read_text()
        yield opened
    finally:
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        process.wait(60)
        log.close()
        assert within(10, lambda: not any(alive(member) for member in family)), "the page left processes behind"


def test_the_page_knows_every_asset(page: Page):
    nodes = page.ask("{ assetNodes { assetKey { path } hasMaterializePermission } }")["assetNodes"]
    assert {"midrc/cases", "nnunet/trained_folds", "warehouse/database"} <= {
        "/".join(n["assetKey"]["path"]) for n in nodes
    }


def test_it_listens_on_this_machine_alone(page: Page):
    members = [page.process.pid, *(child.pid for child in psutil.Process(page.process.pid).children(recursive=True))]
    listening = {
        connection.laddr.ip
        for pid in members
        for connection in psutil.Process(pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}


def test_it_asks_for_its_token_and_its_name(page: Page):
    # the same page as of `cspine up`; test_guard and test_webserver list what else is refused
    assert page.answered() == 401
    assert page.answered(host="evil.example", **page.bearer) == 403
    assert page.answered(**page.bearer) == 200


def test_a_second_page_of_the_same_home_is_refused(page: Page, demo: DemoRun):
    refused = run_cspine("dev", "--home", str(demo.home.root), "--port", str(page.port + 1), timeout=300)
    assert refused.returncode == 1
    assert "running already" in refused.stderr


def test_a_table_a_range_of_patients_and_one_model_are_made_from_the_page(page: Page, demo: DemoRun):
    patients = demo.home.lake.read_column(_patients(), "patient_id").sort_values().tolist()
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


def _patients():
    from cspine_assets.domain.tables.cohort import Patients

    return Patients


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
        assert any("children.train" in " ".join(child.cmdline()) for child in family)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert within(10, lambda: not any(alive(child) for child in family)), "the killed demo left processes behind"

    again = run_cspine("demo", "--home", str(home.root), timeout=1200)
    assert again.returncode == 0, again.stdout + again.stderr
    assert kept == {path: fingerprint_file(path) for path in kept}
    assert (next(results.glob("*__2d")) / "fold_0" / "checkpoint_final.pth").exists()
    unfinished = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
    assert unfinished == []


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
    assert take_in.execute_in_process(instance=instance, resources=_study(demo)).success
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
        switch(page.ask, "startSensor", "new_data")
        bring_back()
        expert = hand_in_expert_patient(home.root / "demo_download", tmp_path / "another")
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
