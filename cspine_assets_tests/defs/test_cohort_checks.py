"""The cohort's lights on the page: each red for its own fault, with figures, and a split of the user's own."""

from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from cspine_assets.defs.driver import materialize
from cspine_assets.defs.io import asset_key
from cspine_assets.defs.lights import failed_lights
from cspine_assets.domain.cohort.integrity import CHECKS
from cspine_assets.domain.errors import CSpineError
from cspine_assets.domain.home import Home
from cspine_assets.domain.phantom.defects import SPLIT_FILE, plant_defects
from cspine_assets.domain.phantom.plan import plan_cohort
from cspine_assets.domain.phantom.settings import CohortSettings
from cspine_assets.domain.tables.cohort import AnnotationProvenance, Integrity, Splits
from cspine_assets.domain.tables.midrc import Files

COHORT = ("midrc", "cohort")
EXAMS = plan_cohort(CohortSettings(patients=8, seed=3, matrix=48, expert_fraction=0.75)).exams


def lights(instance: dg.DagsterInstance) -> dict[str, dg.AssetCheckEvaluation]:
    keys = [dg.AssetCheckKey(asset_key(Integrity), check.name) for check in CHECKS]
    records = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    return {key.name: records[key].event.dagster_event.asset_check_evaluation_data for key in keys}


def red(instance: dg.DagsterInstance) -> set[str]:
    return {name for name, light in lights(instance).items() if not light.passed}


def metadata_of(instance: dg.DagsterInstance, table) -> dict:
    event = instance.get_latest_materialization_event(asset_key(table))
    return event.asset_materialization.metadata


def test_a_healthy_cohort_is_green_with_figures_and_its_tree(home: Home, instance: dg.DagsterInstance):
    materialize(home, instance=instance, schemas=COHORT)
    assert red(instance) == set()
    assert failed_lights(instance) == []
    seen = {name: light.metadata for name, light in lights(instance).items()}
    assert seen["files_present"]["checked (listed files)"].value == 3 * len(EXAMS) + 5
    assert "synthetic" in seen["published_counts"]["seen"].value
    assert "case_image" in metadata_of(instance, Files)["tree"].value
    sources = metadata_of(instance, AnnotationProvenance)["sources"].value
    assert sources["annotation_provenance.json"]["masks"] == len(EXAMS)
    assert sources["annotation_provenance.json"]["date"]


def test_each_light_is_red_for_its_own_fault(home: Home, instance: dg.DagsterInstance, own_download: Path):
    planted = plant_defects(own_download, EXAMS, ["lost_manifest_row", "orphan_mask", "altered_image"])
    materialize(home, instance=instance, schemas=COHORT)
    assert red(instance) == {fault.check for fault in planted}
    for fault in planted:
        light = lights(instance)[fault.check]
        messages = [record.data["message"] for record in light.metadata["findings"].records]
        assert any(fault.subject in message for message in messages)
        assert messages[0] in light.description
    assert lights(instance)["orphans"].severity == dg.AssetCheckSeverity.WARN
    assert lights(instance)["file_checksums"].severity == dg.AssetCheckSeverity.ERROR
    told = {light.check: light for light in failed_lights(instance)}
    assert set(told) == {fault.check for fault in planted}
    assert (told["orphans"].severe, told["file_checksums"].severe) == (False, True)
    assert told["orphans"].asset == "cohort/integrity"
    assert told["orphans"].said == lights(instance)["orphans"].description


def test_a_split_of_the_user_s_own_is_followed_and_tells_who_drew_the_masks(
    home: Home, instance: dg.DagsterInstance, own_download: Path
):
    patients = sorted({exam.patient.patient_id for exam in EXAMS})
    tested = patients[:2]
    own = own_download / SPLIT_FILE
    own.write_text(
        "patient_id\tseries_submitter_id\tsplit\tannotation_quality\n"
        + "".join(
            f"{exam.patient.patient_id}\t{exam.series_uid}\t"
            f"{'test' if exam.patient.patient_id in tested else 'train'}\tgold\n"
            for exam in EXAMS
        )
    )
    settings = home.read_settings()
    assert settings is not None
    home.open(replace(settings, provenance=None, splits=str(own)))
    materialize(home, instance=instance, schemas=COHORT)
    made = home.lake.read(Splits)
    assert set(made.loc[made["part"] == "test", "patient_id"]) == set(tested)
    assert set(made["annotation_provenance"]) == {"expert"}
    assert metadata_of(instance, Splits)["rule"].value == f"file:{SPLIT_FILE}"


def test_a_preset_asked_for_makes_the_split_anew(home: Home, instance: dg.DagsterInstance):
    materialize(home, instance=instance, schemas=COHORT)
    before = home.lake.read(Splits)
    assert (before["part"] == "test").any()
    settings = home.read_settings()
    assert settings is not None
    home.open(replace(settings, preset="all_expert"))
    materialize(home, instance=instance, schemas=COHORT)
    after = home.lake.read(Splits)
    assert not (after["part"] == "test").any()
    assert set(after["rule"]) == {"all_expert"}
    assert set(after["split_sha256"]) != set(before["split_sha256"])


def test_a_leaking_split_stops_everything_built_on_it(home: Home, instance: dg.DagsterInstance, own_download: Path):
    (planted,) = plant_defects(own_download, EXAMS, ["leaking_split"])
    settings = home.read_settings()
    assert settings is not None
    home.open(replace(settings, splits=str(own_download / SPLIT_FILE)))
    with pytest.raises(CSpineError, match=f"two sides: {planted.subject}"):
        materialize(home, instance=instance, schemas=COHORT)
    assert home.lake.stamp(Splits) is None
