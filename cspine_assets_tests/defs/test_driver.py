"""The driver makes what is missing and nothing else; patients fail alone; a killed driver is picked up."""

import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from cspine_assets.defs.dead_runs import DRIVER_TAG, close_dead_runs
from cspine_assets.defs.driver import carry_out, materialize
from cspine_assets.defs.io import asset_key
from cspine_assets.defs.partitions import patients
from cspine_assets.defs.stages import Order, in_order, loaded_definitions
from cspine_assets.domain.errors import CSpineError
from cspine_assets.domain.home import Home
from cspine_assets.domain.imaging.opening import open_series
from cspine_assets.domain.imaging.rows import volume_rows
from cspine_assets.domain.lake import Lake
from cspine_assets.domain.tables.cohort import Patients
from cspine_assets.domain.tables.imaging import HeaderFindings, Masks, Volumes

BEFORE_MODELS = ("midrc", "cohort", "imaging")


def made(reports) -> dict[str, int]:
    return {report.stage.name: len(report.stage.keys) or len(report.stage.tables) for report in reports}


def standing(instance: dg.DagsterInstance, table) -> set[str]:
    return set(instance.get_materialized_partitions(asset_key(table)))


def spoil(download: Path, patient_id: str) -> list[Path]:
    archives = sorted((download / "DukeCSpineSeg_imaging_files" / "case_image" / patient_id).rglob("*.zip"))
    assert archives
    for archive in archives:
        archive.rename(archive.with_suffix(".good"))
        archive.write_bytes(b"no zip")
    return archives


def mend(archives: list[Path]) -> None:
    for archive in archives:
        archive.with_suffix(".good").replace(archive)


def test_a_second_call_makes_nothing_and_a_forced_one_everything(home: Home, instance: dg.DagsterInstance):
    first = materialize(home, instance=instance, schemas=BEFORE_MODELS)
    assert made(first)["imaging.volumes"] == 8
    assert {tag for run in instance.get_runs() for tag in run.tags if "driver" in tag} == {DRIVER_TAG}
    assert DRIVER_TAG.startswith(".dagster/"), "the page shows all other tags in the list of runs"
    assert materialize(home, instance=instance, schemas=BEFORE_MODELS) == []

    standing = {path: path.stat().st_mtime_ns for path in (home.lake.root / "imaging").rglob("*.parquet")}
    forced = made(materialize(home, instance=instance, schemas=("imaging",), force=True))
    assert forced == dict.fromkeys(("imaging.header_findings", "imaging.volumes", "imaging.masks"), 8)
    assert len(standing) == 3 * 8
    assert all(path.stat().st_mtime_ns > before for path, before in standing.items())


def test_an_interrupted_run_is_cancelled_and_not_failed(
    home: Home, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
):
    def interrupt(*_: object, **_more: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Lake, "write", interrupt)
    with pytest.raises(KeyboardInterrupt):
        materialize(home, instance=instance, schemas=("midrc",))
    assert [run.status for run in instance.get_runs()] == [dg.DagsterRunStatus.CANCELED]


def test_a_schema_that_is_misspelt_is_refused(home: Home, instance: dg.DagsterInstance):
    with pytest.raises(CSpineError, match=r"among cohort, evaluation, .*, got evaluations, table"):
        materialize(home, instance=instance, schemas=("evaluations", "midrc", "table"))
    assert not instance.get_runs()


def test_patients_are_known_before_anything_is_cut_by_them():
    order = in_order()
    place = {item.table: position for position, item in enumerate(order)}
    cut = [item for item in order if item.partitions_def is patients]
    assert cut
    assert all(place[Patients] < place[item.table] for item in cut)
    assert all(place[parent] < place[item.table] for item in order for parent in item.deps)


def test_what_nobody_foresaw_of_one_patient_costs_that_patient_and_no_other(
    home: Home, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
):
    materialize(home, instance=instance, schemas=("midrc", "cohort"))
    everybody = sorted(instance.get_dynamic_partitions("patient"))
    bad = everybody[0]

    def rows(outcomes, root):
        frame = volume_rows(outcomes, root)
        return frame.assign(status="in between") if bad in set(frame["patient_id"]) else frame

    name = "^".join(("Doe", "Jane"))  # not as it stands here: a traceback shows lines of code

    def opened(request, source, folder):
        if request.patient_id == bad:
            raise ZeroDivisionError(name)
        return open_series(request, source, folder)

    monkeypatch.setattr("cspine_assets.defs.imaging.open_series", opened)
    (report,) = carry_out(Order(frozenset({HeaderFindings})), home, instance=instance)
    (line,) = report.failures
    assert f"1 of {len(everybody)} patients stay missing: {bad}" in line
    assert "unexpected ZeroDivisionError in test_driver.py" in line
    assert name not in line
    assert standing(instance, HeaderFindings) == set(everybody) - {bad}
    (note,) = instance.fetch_observations(asset_key(HeaderFindings), limit=9).records
    assert note.partition_key == bad
    assert note.asset_observation is not None
    assert note.asset_observation.metadata["status"].value == "failed"
    warned = [
        record.event_log_entry.user_message
        for run in instance.get_runs()
        for record in instance.get_records_for_run(run.run_id).records
        if "non-required output" in record.event_log_entry.user_message
    ]
    assert warned == []

    monkeypatch.setattr("cspine_assets.defs.imaging.volume_rows", rows)
    (report,) = carry_out(Order(frozenset({Volumes})), home, instance=instance)
    (line,) = report.failures
    assert f"1 of {len(everybody)} patients stay missing: {bad}: table imaging.volumes does not fit" in line
    assert standing(instance, Volumes) == set(everybody) - {bad}

    def ended(*_, **__):
        raise ZeroDivisionError(name)

    monkeypatch.setattr("cspine_assets.defs.imaging.each_converted", ended)
    (report,) = carry_out(Order(frozenset({Volumes}), force=True), home, instance=instance)
    (line,) = report.failures
    assert "the run ended before: imaging.volumes: unexpected ZeroDivisionError in test_driver.py" in line
    records = [record for run in instance.get_runs() for record in instance.get_records_for_run(run.run_id).records]
    logged = [record.event_log_entry for record in records]
    assert any("each_converted" in entry.user_message for entry in logged)
    assert not any(name in entry.to_json() for entry in logged)


def test_a_bad_patient_stays_missing_alone_and_comes_back_alone(
    home: Home, instance: dg.DagsterInstance, own_download: Path
):
    materialize(home, instance=instance, schemas=("midrc", "cohort"))
    everybody = set(instance.get_dynamic_partitions("patient"))
    bad = sorted(everybody)[3]
    archives = spoil(own_download, bad)

    reports = materialize(home, instance=instance, schemas=BEFORE_MODELS)
    failures = {report.stage.name: report.failures for report in reports if report.failures}
    assert "imaging.volumes" in failures
    assert all(bad in line for lines in failures.values() for line in lines)
    assert bad in failures["imaging.volumes"][0]
    assert standing(instance, Volumes) == standing(instance, Masks) == everybody - {bad}
    row = home.lake.read(Volumes, [bad])
    assert row["status"].unique().tolist() == ["failed"]
    assert row["reason"].notna().all()

    mend(archives)
    reports = materialize(home, instance=instance, schemas=BEFORE_MODELS)
    assert [line for report in reports for line in report.failures] == []
    again = made(reports)
    assert again["imaging.volumes"] == again["imaging.masks"] == 1
    assert standing(instance, Volumes) == standing(instance, Masks) == everybody


def tags_of(instance: dg.DagsterInstance, table, patient_id: str) -> dict[str, str]:
    """Tags of a patient's latest materialization, without those that point to single events."""
    wanted = dg.AssetRecordsFilter(asset_key=asset_key(table), asset_partitions=[patient_id])
    (record,) = instance.fetch_materializations(wanted, limit=1).records
    assert record.asset_materialization is not None
    return {name: value for name, value in record.asset_materialization.tags.items() if "event_pointer" not in name}


def test_who_is_recorded_in_a_run_that_fails_is_as_much_in_sync_as_others(
    home: Home, instance: dg.DagsterInstance, own_download: Path
):
    materialize(home, instance=instance, schemas=("midrc", "cohort"))
    bad, good = sorted(instance.get_dynamic_partitions("patient"))[:2]
    archives = spoil(own_download, bad)
    materialize(home, instance=instance, schemas=BEFORE_MODELS)
    beside_a_failure = tags_of(instance, Volumes, good)
    mend(archives)
    materialize(home, instance=instance, schemas=BEFORE_MODELS)
    alone = tags_of(instance, Volumes, bad)
    names = {name for name in alone if name.startswith("dagster/") and "partition" not in name}
    own = "dagster/data_version"
    assert {"dagster/code_version", own} <= names
    assert {name: beside_a_failure[name] for name in names - {own}} == {name: alone[name] for name in names - {own}}
    for patient_id, tags in ((good, beside_a_failure), (bad, alone)):
        stamp = home.lake.stamp(Volumes, patient_id)
        assert stamp is not None
        assert tags[own] == stamp.fingerprint, "not that of the range"


def test_a_run_is_listed_under_what_it_makes(home: Home, instance: dg.DagsterInstance):
    materialize(home, instance=instance, schemas=("midrc",))
    made = {key.to_user_string() for run in instance.get_runs() for key in run.asset_selection or ()}
    assert made == {f"midrc/{item.table.full_name().split('.')[1]}" for item in in_order() if is_midrc(item)}


def is_midrc(item) -> bool:
    return item.table.full_name().startswith("midrc.")


def checks_of(instance: dg.DagsterInstance, *tables) -> dict[str, str]:
    """The latest result of every check of some tables."""
    keys = loaded_definitions().resolve_asset_graph().get_check_keys_for_assets({asset_key(table) for table in tables})
    records = instance.event_log_storage.get_latest_asset_check_execution_by_key(list(keys))
    return {key.to_user_string(): records[key].status.value if key in records else "NEVER" for key in keys}


def test_the_checks_look_at_what_stands_although_a_patient_failed(
    home: Home, instance: dg.DagsterInstance, own_download: Path
):
    materialize(home, instance=instance, schemas=("midrc", "cohort"))
    spoil(own_download, sorted(instance.get_dynamic_partitions("patient"))[3])
    assert any(report.failures for report in materialize(home, instance=instance, schemas=BEFORE_MODELS))
    results = checks_of(instance, Volumes, Masks, HeaderFindings)
    assert len(results) >= 6
    assert set(results.values()) == {"SUCCEEDED"}, results


def test_an_empty_source_is_one_clear_error(home: Home, instance: dg.DagsterInstance, own_download: Path):
    own_download.rename(own_download.with_name("elsewhere"))
    with pytest.raises(CSpineError, match="download"):
        materialize(home, instance=instance, schemas=BEFORE_MODELS)
    assert not home.lake.root.exists()


def test_a_table_without_a_required_column_is_one_clear_error(
    home: Home, instance: dg.DagsterInstance, own_download: Path
):
    table = next((own_download / "DukeCSpineSeg_structured").glob("mr_series_*.tsv"))
    table.write_text(table.read_text().replace("number_of_instances", "count_of_instances", 1))
    with pytest.raises(CSpineError, match=r"mr_series.*number_of_instances"):
        materialize(home, instance=instance, schemas=BEFORE_MODELS)
    assert instance.get_materialized_partitions(asset_key(Volumes)) == set()


def test_the_runs_of_a_killed_driver_are_closed_and_those_of_others_are_not(home: Home, instance: dg.DagsterInstance):
    gone = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True
    )
    host = os.uname().nodename
    runs = [
        instance.create_run_for_job(_empty_job, tags={tag: f"{host}:{pid}"}, status=dg.DagsterRunStatus.STARTED)
        for tag, pid in (
            (DRIVER_TAG, gone.stdout.strip()),
            (DRIVER_TAG, os.getpid()),
            ("cspine/driver", gone.stdout.strip()),  # of an earlier release
        )
    ]
    assert set(close_dead_runs(instance)) == {runs[0].run_id, runs[2].run_id}
    assert instance.get_run_by_id(runs[0].run_id).status == dg.DagsterRunStatus.FAILURE
    assert instance.get_run_by_id(runs[1].run_id).status == dg.DagsterRunStatus.STARTED


@dg.job
def _empty_job():
    pass
