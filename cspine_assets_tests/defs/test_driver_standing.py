"""The driver where all before the models stands: what is changed or lost is made again, and nothing else."""

import gzip
import os
import shutil
from pathlib import Path

import dagster as dg
import nibabel as nib
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from cspine_assets.defs.driver import carry_out, materialize
from cspine_assets.defs.fingerprints import is_current
from cspine_assets.defs.instance import open_instance
from cspine_assets.defs.io import asset_key
from cspine_assets.defs.resources import Study
from cspine_assets.defs.row_files import named_files
from cspine_assets.defs.stages import Order, known_tables
from cspine_assets.domain.errors import CSpineError
from cspine_assets.domain.files import fingerprint_file
from cspine_assets.domain.home import Home, HomeSettings
from cspine_assets.domain.phantom.cohort import PROVENANCE_FILE
from cspine_assets.domain.tables.base import empty_frame
from cspine_assets.domain.tables.cohort import Splits
from cspine_assets.domain.tables.imaging import Masks, Volumes
from cspine_assets.domain.tables.nnunet import RawDataset, UnannotatedDataset
from cspine_assets.domain.tables.warehouse import Report
from cspine_assets_tests.defs.test_driver import BEFORE_MODELS, checks_of, made

SHIFT_MM = np.array([[0, 0, 0, 5], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])


@pytest.fixture(scope="module")
def finished(download: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with its download inside, in which all before the models is made; every test changes a copy."""
    root = tmp_path_factory.mktemp("finished") / "home"
    inside = shutil.copytree(download, root / "download")
    home = Home(root)
    home.open(HomeSettings("demo", str(inside), str(inside / PROVENANCE_FILE)))
    with open_instance(home) as instance:
        assert not any(report.failures for report in materialize(home, instance=instance, schemas=BEFORE_MODELS))
    return root


@pytest.fixture
def home(finished: Path, tmp_path: Path) -> Home:
    return Home(shutil.copytree(finished, tmp_path / "home", symlinks=True))


@pytest.fixture
def own_download(home: Home) -> Path:
    return home.root / "download"


def test_a_changed_mask_makes_stale_what_depends_on_it_and_nothing_else(
    home: Home, instance: dg.DagsterInstance, own_download: Path
):
    volumes = {path: fingerprint_file(path) for path in home.volumes.rglob("*.nii.gz") if "_SEG" not in path.name}
    mask = min((own_download / "DukeCSpineSeg_segmentation").iterdir())
    other = max((own_download / "DukeCSpineSeg_segmentation").glob(f"{mask.name.split('_')[0]}*"))
    os.utime(other, (1, 1))
    # a touched file is looked at again; what it holds is the same, so nothing is made of the new listing
    assert made(materialize(home, instance=instance, schemas=BEFORE_MODELS)) == {"midrc.files": 1}
    shipped = other.read_bytes()
    other.write_bytes(gzip.compress(gzip.decompress(shipped), 9))
    again = made(materialize(home, instance=instance, schemas=BEFORE_MODELS))
    assert again.pop("imaging.masks") == 1
    assert not any(name.startswith("imaging") for name in again)
    assert volumes == {path: fingerprint_file(path) for path in volumes}
    # it is not the file that the release lists, until it is fetched again
    assert set(home.lake.read(Masks)["cause"].dropna()) == {"wrong_checksum"}
    other.write_bytes(shipped)
    assert made(materialize(home, instance=instance, schemas=("imaging",))) == {"imaging.masks": 1}
    assert home.lake.read(Masks)["cause"].isna().all()


def rewrite(path: Path, *, without: str | None = None) -> None:
    """Writes a stored file as a release did that did not know a column yet; its stamp stays."""
    stored = pq.read_table(path)
    pq.write_table(stored if without is None else stored.drop_columns([without]), path)


def forget_files(path: Path) -> None:
    """Writes a stored file as a release did that did not keep how the files were that its rows name."""
    stored = pq.read_table(path)
    kept = {name: text for name, text in stored.schema.metadata.items() if name != b"cspine.files"}
    pq.write_table(stored.replace_schema_metadata(kept), path)


def test_a_new_column_makes_a_table_stale_without_a_raised_version(home: Home, instance: dg.DagsterInstance):
    files = [home.lake.path(Volumes, key) for key in home.lake.partitions(Volumes)]
    before = home.lake.read(Volumes)
    for path in (*files, home.lake.path(Splits)):
        rewrite(path)
    assert materialize(home, instance=instance, schemas=BEFORE_MODELS) == [], "a home of before stays as it is"

    for path in files:
        rewrite(path, without="sha256")
    rewrite(home.lake.path(Splits), without="rule")
    assert home.lake.read(Volumes)["sha256"].isna().all()
    assert made(materialize(home, instance=instance, schemas=BEFORE_MODELS)) == {
        "cohort.splits": 1,
        "imaging.volumes": len(files),
    }
    pd.testing.assert_frame_equal(home.lake.read(Volumes), before)
    assert home.lake.read(Splits)["rule"].notna().all()
    assert materialize(home, instance=instance, schemas=BEFORE_MODELS) == []


def test_a_lost_volume_is_made_again_alone(home: Home, instance: dg.DagsterInstance):
    path = min(path for path in home.volumes.rglob("*.nii.gz") if "_SEG" not in path.name)
    before = fingerprint_file(path)
    path.unlink()
    again = made(materialize(home, instance=instance, schemas=BEFORE_MODELS))
    assert again["imaging.volumes"] == 1
    assert fingerprint_file(path) == before


@pytest.mark.parametrize("table", [Volumes, Masks])
def test_a_changed_file_is_made_again_alone_and_a_touched_or_compressed_one_is_not(
    home: Home, instance: dg.DagsterInstance, table: type[Volumes | Masks]
):
    path = home.absolute(home.lake.read(table).query("status == 'ok'")["path"].iloc[0])
    inflated, before = gzip.decompress(path.read_bytes()), fingerprint_file(path)
    os.utime(path, (1, 1))
    assert materialize(home, instance=instance, schemas=BEFORE_MODELS) == []
    path.write_bytes(gzip.compress(inflated, 1))
    assert materialize(home, instance=instance, schemas=BEFORE_MODELS) == []
    path.write_bytes(gzip.compress(inflated[:-1] + bytes([inflated[-1] ^ 1]), 1))
    again = made(materialize(home, instance=instance, schemas=BEFORE_MODELS))
    assert again == {table.full_name(): 1}
    assert fingerprint_file(path) == before
    assert materialize(home, instance=instance, schemas=BEFORE_MODELS) == []


def test_a_dataset_whose_links_are_gone_is_made_again(home: Home, instance: dg.DagsterInstance):
    order = Order(tables=frozenset({RawDataset, UnannotatedDataset}))
    assert made(carry_out(order, home, instance=instance)) == {"nnunet: 2 tables": 2}
    assert carry_out(order, home, instance=instance) == []
    links = sorted((home.nnunet_raw / "Dataset108_CSpineSeg").rglob("*.nii.gz"))
    links[0].unlink()
    again = made(carry_out(order, home, instance=instance))
    assert list(again) == ["nnunet.raw_dataset"]
    assert links[0].exists()
    shutil.rmtree(home.nnunet_raw)
    carry_out(order, home, instance=instance)
    assert all(link.exists() for link in links)
    assert carry_out(order, home, instance=instance) == []


def test_a_report_that_somebody_changed_is_stale(home: Home, instance: dg.DagsterInstance):
    page = home.report / "study.html"
    page.parent.mkdir()
    page.write_text("as it was")
    home.lake.write(
        Report, empty_frame(Report), inputs="by hand", files=named_files(Study(home), Report, empty_frame(Report))
    )
    item = known_tables()[Report]
    assert is_current(Study(home), item, None, "by hand")
    page.write_text("otherwise")
    assert not is_current(Study(home), item, None, "by hand")


def test_patients_who_are_scattered_are_a_run_each_and_all_are_checked_once(home: Home, instance: dg.DagsterInstance):
    scattered = sorted(instance.get_dynamic_partitions("patient"))[::2]
    for patient_id in scattered:
        home.lake.remove(Volumes, patient_id)
    check = dg.AssetCheckKey(asset_key(Volumes), "schema")
    runs, looks = instance.get_runs_count(), len(history_of(instance, check))

    again = made(materialize(home, instance=instance, schemas=("imaging",)))
    assert again["imaging.volumes"] == len(scattered) > 1
    assert instance.get_runs_count() - runs >= len(scattered)
    assert len(history_of(instance, check)) == looks + 1


def history_of(instance: dg.DagsterInstance, check: dg.AssetCheckKey) -> list[object]:
    return list(instance.event_log_storage.get_asset_check_execution_history(check, limit=100))


def test_a_blocking_check_that_fails_ends_the_work_although_a_patient_failed_too(
    home: Home, instance: dg.DagsterInstance, own_download: Path
):
    first, second, *_ = sorted(instance.get_dynamic_partitions("patient"))
    moved = home.absolute(home.lake.read(Masks, [first])["path"].iloc[0])
    image = nib.load(moved)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), image.affine + SHIFT_MM), moved)
    forget_files(home.lake.path(Masks, first))
    mask = min((own_download / "DukeCSpineSeg_segmentation").glob(f"{second}*"))
    mask.write_bytes(b"no mask")
    with pytest.raises(CSpineError, match="geometry_equal"):
        materialize(home, instance=instance, schemas=BEFORE_MODELS)
    assert "FAILED" in checks_of(instance, Masks)["imaging/masks:geometry_equal"]


def test_every_patient_has_metadata_of_its_own(home: Home, instance: dg.DagsterInstance):
    records = instance.fetch_materializations(asset_key(Masks), limit=50).records
    events = [record.event_log_entry.asset_materialization for record in records]
    assert sorted(event.partition for event in events) == sorted(instance.get_dynamic_partitions("patient"))
    pictures = {event.metadata["mid_sagittal"].value for event in events}
    assert len(pictures) == len(events)
    assert all("data:image/png;base64," in picture for picture in pictures)
