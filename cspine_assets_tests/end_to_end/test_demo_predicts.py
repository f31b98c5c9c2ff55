"""The models of the finished demo on scans of any origin, and as they travel between homes."""

import json
import os
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from cspine_assets.domain.evaluation.mask_score import score_masks
from cspine_assets.domain.tables.nnunet import PostprocessingChoice
from cspine_assets.domain.warehouse.read import query
from cspine_assets.nnunet.choosing import chosen_options
from cspine_assets.nnunet.prediction import Predictor, mask_path
from cspine_assets_tests.end_to_end.conftest import DemoRun, run_cspine
from cspine_assets_tests.end_to_end.stock_commands import stock_masks

pytestmark = pytest.mark.slow

REAL = os.environ.get("CSPINE_REAL_DATA")
needs_real_data = pytest.mark.skipif(
    not REAL, reason="CSPINE_REAL_DATA does not name a folder with the open DICOM series and the T2w spine crop"
)


@pytest.fixture(scope="module")
def scan(demo: DemoRun) -> Path:
    """A scan as a person has it."""
    return min((demo.home.root / "demo_download" / "DukeCSpineSeg_annotation").iterdir())


@pytest.fixture(scope="module")
def its_mask(demo: DemoRun, scan: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the demo's models make of that scan."""
    return segmented(demo, scan, tmp_path_factory.mktemp("plain") / "mask.nii.gz")


def segmented(demo: DemoRun, given: Path, out: Path) -> Path:
    result = run_cspine("predict", str(given), "--out", str(out), "--home", str(demo.home.root))
    assert result.returncode == 0, result.stderr
    assert "demo model" in result.stdout
    return out


def test_a_scan_of_ones_own_is_segmented_on_its_own_grid(demo: DemoRun, scan: Path, its_mask: Path, tmp_path: Path):
    image = nib.load(scan)
    turned = tmp_path / "turned.nii.gz"
    nib.save(image.as_reoriented(np.array([[1, -1], [2, 1], [0, -1]])), turned)
    turned_mask = segmented(demo, turned, tmp_path / "turned_mask.nii.gz")
    for given, mask in ((scan, its_mask), (turned, turned_mask)):
        assert np.array_equal(nib.load(mask).affine, nib.load(given).affine)
        assert nib.load(mask).shape == nib.load(given).shape
    plain, back = nib.load(its_mask), nib.load(turned_mask)
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


def test_the_models_travel_to_another_home_and_predict_there_once_they_are_trusted(
    demo: DemoRun, scan: Path, its_mask: Path, tmp_path: Path
):
    archive, elsewhere = tmp_path / "models.zip", str(tmp_path / "elsewhere")
    assert run_cspine("model", "export", str(archive), "--home", str(demo.home.root)).returncode == 0
    taken = run_cspine("model", "import", str(archive), "--name", "theirs", "--home", elsewhere)
    assert taken.returncode == 0, taken.stderr
    assert "Not trusted" in taken.stdout
    assert "DEMO MODEL" in taken.stdout

    there = ["predict", str(scan), "--out", str(tmp_path / "there.nii.gz"), "--model", "theirs", "--home", elsewhere]
    refused = run_cspine(*there)
    assert refused.returncode == 1
    assert "cspine model trust theirs" in refused.stderr.replace("\n", " ")
    assert run_cspine("model", "trust", "theirs", "--home", elsewhere).returncode == 0
    accepted = run_cspine(*there)
    assert accepted.returncode == 0, accepted.stderr
    assert "demo model" in accepted.stdout
    assert (tmp_path / "there.nii.gz").read_bytes() == its_mask.read_bytes()


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
