"""What the tests of a running daemon need: the page's switches, and patients who are not in the download yet."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from cspine_assets.domain.phantom.cohort import PROVENANCE_FILE, write_cohort
from cspine_assets.domain.phantom.settings import CohortSettings

_LOCATION = {"repositoryName": "__repository__", "repositoryLocationName": "cspine_assets"}
_SWITCHES = {
    "startSchedule": ("scheduleSelector", "ScheduleSelector", "scheduleName"),
    "resetSchedule": ("scheduleSelector", "ScheduleSelector", "scheduleName"),
    "startSensor": ("sensorSelector", "SensorSelector", "sensorName"),
    "resetSensor": ("sensorSelector", "SensorSelector", "sensorName"),
}
FRESHNESS = """
query($key: AssetKeyInput!) {
  assetNodeOrError(assetKey: $key) { ... on AssetNode { freshnessStatusInfo { freshnessStatus } } }
}
"""
TICKS = """
query($it: SensorSelector!) {
  sensorOrError(sensorSelector: $it) { ... on Sensor { sensorState { ticks(limit: 5) { status endTimestamp } } } }
}
"""

Ask = Callable[..., dict[str, Any]]


def switch(ask: Ask, mutation: str, name: str) -> None:
    """Switches a schedule or sensor as the page does: ``startSchedule``, ``resetSensor``, ..."""
    argument, kind, field = _SWITCHES[mutation]
    query = (
        f"mutation($it: {kind}!) {{ {mutation}({argument}: $it) {{ __typename ... on PythonError {{ message }} }} }}"
    )
    answer = ask(query, it={**_LOCATION, field: name})[mutation]
    assert answer["__typename"] in ("ScheduleStateResult", "Sensor"), answer


def has_ticked(ask: Ask, sensor: str, since: float) -> bool:
    """Whether a sensor has looked since a moment, and come to an end with it."""
    ticks = ask(TICKS, it={**_LOCATION, "sensorName": sensor})["sensorOrError"]["sensorState"]["ticks"]
    return any(tick["endTimestamp"] is not None and tick["endTimestamp"] > since for tick in ticks)


@dataclass(frozen=True)
class Finished:
    """A run that came to its end.

    Attributes:
        by: Schedule or sensor that asked for it.
        job: Its job.
        began: Seconds since 1970.
        seconds: How long it took.
        success: Whether it went well.
        stages: What it made, as it says itself; of a run of assets, their names.
    """

    by: str
    job: str
    began: float
    seconds: float
    success: bool
    stages: list[str]


def finished_runs(instance: dg.DagsterInstance, by: str, since: float) -> list[Finished]:
    """Returns the runs that a schedule or sensor asked for since a moment and that are over, the oldest first."""
    over = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]
    found = []
    for record in instance.get_run_records(dg.RunsFilter(statuses=over)):
        run, began, ended = record.dagster_run, record.start_time, record.end_time
        asker = run.tags.get("dagster/schedule_name") or run.tags.get("dagster/sensor_name")
        if asker == by and began is not None and ended is not None and began > since:
            stages = _stages(instance, run) or sorted(key.to_user_string() for key in run.asset_selection or ())
            found.append(Finished(by, run.job_name, began, ended - began, run.is_success, stages))
    return sorted(found, key=lambda run: run.began)


def _stages(instance: dg.DagsterInstance, run: dg.DagsterRun) -> list[str]:
    """Returns what a re-evaluation or a taking in made; nothing for a run that failed before it could say."""
    outputs = [
        entry.dagster_event.event_specific_data
        for entry in instance.all_logs(run.run_id)
        if entry.dagster_event is not None and entry.dagster_event.is_successful_output
    ]
    return [stage for output in outputs if "stages" in output.metadata for stage in output.metadata["stages"].value]


def take_away(download: Path, patient_id: str, aside: Path) -> Callable[[], None]:
    """Takes a patient out of a download, rows and files, and returns what brings the patient back."""
    moved: list[tuple[Path, Path]] = []
    for path in sorted(download.rglob(f"*{patient_id}*")):
        if path.exists():
            place = aside / path.relative_to(download)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(path, place)
            moved.append((place, path))
    tables: list[tuple[Path, str]] = []
    for table in download.rglob("*.tsv"):
        text = table.read_text()
        tables.append((table, text))
        table.write_text("".join(line for line in text.splitlines(keepends=True) if patient_id not in line))

    def bring_back() -> None:
        for place, path in moved:
            shutil.move(place, path)
        for table, text in tables:
            table.write_text(text)

    return bring_back


def hand_in_expert_patient(download: Path, aside: Path) -> str:
    """Adds a patient whom nobody has seen to a download, with a mask by an expert, and returns the patient's id."""
    write_cohort(aside, CohortSettings(patients=1, seed=77, expert_fraction=1.0))
    (patient_id,) = (path.name for path in (aside / "DukeCSpineSeg_imaging_files" / "case_image").iterdir())
    for path in sorted(path for path in aside.rglob("*") if path.is_file()):
        place = download / path.relative_to(aside)
        if path.suffix == ".tsv":
            added = [line for line in path.read_text().splitlines(keepends=True) if patient_id in line]
            place.write_text("".join([place.read_text(), *added]))
        elif path.name == PROVENANCE_FILE:
            said, more = (json.loads(one.read_text()) for one in (place, path))
            said["data"]["data_file"] += more["data"]["data_file"]
            place.write_text(json.dumps(said))
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, place)
    return patient_id
