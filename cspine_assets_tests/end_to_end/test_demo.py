"""One command makes the whole study: what the finished demo holds, and what may be read from it."""

import json
import os
import sys
from pathlib import Path

import dagster as dg
import nbformat
import nibabel as nib
import numpy as np
import pytest
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpecManager
from nbclient import NotebookClient

from cspine_assets.definitions import defs
from cspine_assets.defs.partitions import external_predictors
from cspine_assets.domain.anatomy import DISC_LEVELS
from cspine_assets.domain.warehouse.questions import QUESTIONS
from cspine_assets.domain.warehouse.read import query
from cspine_assets.nnunet.postprocessing import keep_largest
from cspine_assets_tests.end_to_end.conftest import DemoRun, run_cspine

pytestmark = pytest.mark.slow

NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebooks" / "study.ipynb"


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
    client = NotebookClient(notebook, km=manager)
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
