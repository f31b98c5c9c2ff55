"""A range run killed with SIGKILL and called again: nothing half-written, nothing twice but the patients in flight."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from cspine_assets.defs.driver import carry_out, materialize
from cspine_assets.defs.instance import open_instance
from cspine_assets.defs.io import asset_key
from cspine_assets.defs.stages import Order
from cspine_assets.domain.files import fingerprint_file
from cspine_assets.domain.home import Home, HomeSettings
from cspine_assets.domain.imaging.batch import EXAMS_PER_CALL
from cspine_assets.domain.imaging.compression import read_nifti_bytes
from cspine_assets.domain.phantom.cohort import PROVENANCE_FILE, write_cohort
from cspine_assets.domain.phantom.settings import CohortSettings
from cspine_assets.domain.tables.imaging import Volumes
from cspine_assets_tests.processes import alive, within

PATIENTS, FEW = 90, 12
DRIVE = """
import sys
from pathlib import Path
from cspine_assets.defs.driver import materialize
from cspine_assets.defs.instance import open_instance
from cspine_assets.domain.home import Home
if __name__ == "__main__":
    home = Home(Path(sys.argv[1]))
    with open_instance(home) as instance:
        materialize(home, instance=instance, schemas=("midrc", "cohort", "imaging"))
"""


def finished(home: Home) -> dict[str, int]:
    """Patients whose rows are written, with the time of writing."""
    return {path.stem: path.stat().st_mtime_ns for path in home.lake.folder(Volumes).glob("[!.]*.parquet")}


def volumes_of(home: Home) -> list[Path]:
    return sorted(path for path in home.volumes.rglob("[!.]*.nii.gz") if not path.name.endswith("_SEG.nii.gz"))


def opened(folder: Path, patients: int) -> Home:
    """A home of a cohort of small matrices, all made that images come after."""
    write_cohort(folder / "download", CohortSettings(patients=patients, seed=4, matrix=32, slices_min=5, slices_max=5))
    home = Home(folder / "home")
    home.open(HomeSettings("demo", str(folder / "download"), str(folder / "download" / PROVENANCE_FILE)))
    with open_instance(home) as instance:
        materialize(home, instance=instance, schemas=("midrc", "cohort"))
    return home


def test_a_killed_range_run_is_picked_up(tmp_path: Path):
    home = opened(tmp_path, PATIENTS)
    script = tmp_path / "drive.py"
    script.write_text(DRIVE)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    driver = subprocess.Popen([sys.executable, str(script), str(home.root)], env=environment, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 200
        while len(finished(home)) < PATIENTS // 6 and driver.poll() is None and time.monotonic() < end:
            time.sleep(0.005)
        assert driver.poll() is None, "the run was over before it could be killed"
        workers = psutil.Process(driver.pid).children(recursive=True)
    finally:
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    assert workers
    assert within(60, lambda: not any(map(alive, workers)))

    before = finished(home)
    assert PATIENTS // 6 <= len(before) < PATIENTS
    for path in volumes_of(home):  # whole, or not there
        assert read_nifti_bytes(path, subject=path.name)
    checksums = {path: fingerprint_file(path) for path in volumes_of(home)}
    changed = {path: path.stat().st_mtime_ns for path in volumes_of(home)}
    in_flight = {path.parent.name for path in volumes_of(home)} - set(before)
    cores = len(os.sched_getaffinity(0))
    assert len(in_flight) <= 2 * cores * EXAMS_PER_CALL

    with open_instance(home) as instance:
        reports = materialize(home, instance=instance, schemas=("midrc", "cohort", "imaging"))
        assert not any(report.failures for report in reports)
        assert len(instance.get_materialized_partitions(asset_key(Volumes))) == PATIENTS
        events = instance.fetch_materializations(asset_key(Volumes), limit=500).records
    after = finished(home)
    assert len(after) == PATIENTS
    assert {patient: after[patient] for patient in before} == before
    again = {path.parent.name for path, time_ns in changed.items() if path.stat().st_mtime_ns != time_ns}
    assert again <= in_flight
    assert {path: fingerprint_file(path) for path in checksums} == checksums
    assert len({event.partition_key for event in events}) == PATIENTS
    assert not list((home.root / "scratch").iterdir())
    assert [path for path in home.root.rglob(".*-*") if path.name.startswith((".aside-", ".lock-", ".old-"))] == []


def test_only_the_missing_are_made_again(tmp_path: Path):
    home = opened(tmp_path, FEW)
    order = Order(tables=frozenset({Volumes}))
    with open_instance(home) as instance:
        carry_out(order, home, instance=instance)
        before, written = finished(home), {path: path.stat().st_mtime_ns for path in volumes_of(home)}
        lost = sorted(before)[3]
        assert len(before) == FEW
        for path in (home.volumes / lost).iterdir():
            path.unlink()
        # the download is touched: what it holds is the same
        touched = list(Path(home.read_settings().source).rglob("*.zip"))
        assert len(touched) >= FEW
        for path in touched:
            os.utime(path)
        reports = carry_out(order, home, instance=instance)
    assert [report.stage.keys for report in reports] == [(lost,)]
    assert {patient for patient, time_ns in finished(home).items() if time_ns != before[patient]} == {lost}
    again = {path.parent.name for path in volumes_of(home) if path.stat().st_mtime_ns != written[path]}
    assert again == {lost}
