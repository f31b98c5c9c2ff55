from __future__ import annotations

import gzip
import hashlib
import os
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from cspine_assets.domain.errors import ConversionError
from cspine_assets.domain.imaging.conversion import ConversionTask, convert_exam, convert_series, convert_together
from cspine_assets.domain.imaging.outcome import Converted, Failed, Origin
from cspine_assets.domain.imaging.refusal import Cause
from cspine_assets.domain.imaging.rows import header_finding_rows, volume_rows
from cspine_assets.domain.imaging.sources import SeriesRequest
from cspine_assets.domain.imaging.verification import ShippedComparison
from cspine_assets_tests.domain.imaging.dicom_series import (
    EXAM,
    PATIENT,
    PIXEL_MM,
    SIZE,
    SLICES,
    SPACING_MM,
    UID,
    encode,
    make_instances,
    write_series,
    write_zip,
)

REAL = os.environ.get("CSPINE_REAL_DATA")
needs_real_data = pytest.mark.skipif(not REAL, reason="CSPINE_REAL_DATA names no folder with real series")


@pytest.fixture
def request_(tmp_path):
    series = write_series(tmp_path / "series.zip", make_instances())
    return SeriesRequest(EXAM, PATIENT, UID, SLICES, series=series)


def convert(request, tmp_path, name="out.nii.gz"):
    return convert_exam(request, tmp_path / "home" / name, tmp_path / "scratch")


def test_a_series_becomes_a_volume_with_the_grid_of_its_headers(request_, tmp_path):
    volume = convert(request_, tmp_path)
    assert volume.geometry.shape == (SIZE, SIZE, SLICES)
    assert volume.geometry.spacing_mm == pytest.approx((PIXEL_MM, PIXEL_MM, SPACING_MM), abs=1e-4)
    assert volume.geometry.axis_codes[2] in "LR"
    assert (volume.origin, volume.instance_count, volume.series_uid) == (Origin.DICOM, SLICES, UID)
    assert volume.equals_shipped is ShippedComparison.ABSENT
    assert volume.converter.startswith("dcm2niix v1.")


def test_every_slice_is_where_its_header_puts_it_whatever_the_order_of_the_files(request_, tmp_path):
    instances = make_instances()
    write_series(request_.series, instances[::-1])
    image = nib.load(convert(request_, tmp_path).path)
    for instance in instances:
        lps = np.array(instance.ImagePositionPatient, dtype=float)
        i, j, k = np.rint(np.linalg.inv(image.affine) @ [-lps[0], -lps[1], lps[2], 1])[:3].astype(int)
        assert image.dataobj[i, j, k] == instance.pixel_array[0, 0]


def test_equal_input_gives_equal_bytes(request_, tmp_path):
    first, second = convert(request_, tmp_path, "a.nii.gz"), convert(request_, tmp_path, "b.nii.gz")
    assert first.path.read_bytes() == second.path.read_bytes()
    assert first.sha256 == hashlib.sha256(gzip.decompress(second.path.read_bytes())).hexdigest()


def test_a_folder_a_nested_zip_and_names_without_ending_give_the_same_volume(request_, tmp_path):
    contents = [encode(i) for i in make_instances()]
    folder = tmp_path / "folder" / "deeper"
    folder.mkdir(parents=True)
    for number, content in enumerate(contents):
        (folder / f"IM{number}").write_bytes(content)
    inner = write_zip(tmp_path / "inner.zip", contents, "{}.dcm".format).read_bytes()
    nested = write_zip(tmp_path / "nested.zip", [inner], "inner{}.zip".format)
    expected = convert(request_, tmp_path).sha256
    for series in (tmp_path / "folder", nested):
        assert convert(replace(request_, series=series), tmp_path, "x.nii.gz").sha256 == expected


def test_comments_and_time_of_day_do_not_reach_the_volume(request_, tmp_path):
    instances = make_instances()
    for instance in instances:
        instance.ImageComments = "Jane Doe called"
        instance.AcquisitionTime = "142233.5"
    write_series(request_.series, instances)
    volume = convert(request_, tmp_path)
    content = gzip.decompress(volume.path.read_bytes())
    assert b"Jane" not in content
    assert b"142233" not in content
    assert nib.load(volume.path).header["descrip"].item().startswith(b"TE=96;Time=0.000")
    assert any("aux_file, descrip" in warning for warning in volume.warnings)


def test_a_3d_acquisition_with_its_axes_in_another_order_is_accepted(request_, tmp_path):
    instances = make_instances()
    for instance in instances:
        instance.MRAcquisitionType = "3D"
    write_series(request_.series, instances)
    volume = convert(request_, tmp_path)
    assert sorted(volume.geometry.shape) == sorted((SIZE, SIZE, SLICES))
    assert volume.geometry.shape[volume.geometry.slice_axis] == SLICES


def shipped(tmp_path, request_, change=lambda array, affine: (array, affine)):
    image = nib.load(convert(request_, tmp_path, "reference.nii.gz").path)
    array, affine = change(np.asarray(image.dataobj).copy(), image.affine.copy())
    path = tmp_path / "shipped.nii.gz"
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def one_voxel(array, affine):
    array[3, 4, 2] += 1
    return array, affine


def shifted(array, affine):
    affine[0, 3] += 0.01
    return array, affine


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda a, m: (a, m), ShippedComparison.EQUAL),
        (one_voxel, ShippedComparison.VOXELS_DIFFER),
        (shifted, ShippedComparison.GEOMETRY_DIFFERS),
        (lambda a, m: (a[..., :-1], m), ShippedComparison.GEOMETRY_DIFFERS),
    ],
)
def test_the_comparison_with_the_shipped_volume_is_a_status_of_its_own(change, expected, request_, tmp_path):
    path = shipped(tmp_path, request_, change)
    assert convert(replace(request_, shipped_nifti=path), tmp_path).equals_shipped is expected


def test_an_unreadable_shipped_volume_does_not_stop_a_good_series(request_, tmp_path):
    path = shipped(tmp_path, request_)
    path.write_bytes(path.read_bytes()[:-100])
    volume = convert(replace(request_, shipped_nifti=path), tmp_path)
    assert volume.equals_shipped is ShippedComparison.UNREADABLE
    assert "cut short" in volume.warnings[-1]


def test_without_dicom_the_shipped_volume_is_taken_and_the_row_says_so(request_, tmp_path):
    path = shipped(tmp_path, request_)
    volume = convert(replace(request_, series=None, shipped_nifti=path), tmp_path)
    frame = volume_rows([Converted(volume)], tmp_path / "home")
    assert frame.loc[0, "origin"] == "shipped_nifti"
    assert np.array_equal(nib.load(volume.path).dataobj, nib.load(path).dataobj)


def reduce_to(array, affine):
    return array[..., :-1], affine


def with_not_a_number(array, affine):
    array = array.astype(np.float32)
    array[0, 0, 0] = np.nan
    return array, affine


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (reduce_to, "expected 6 slices"),
        (with_not_a_number, "finite intensities"),
        (lambda a, m: (a * 0, m), "all voxels are 0"),
        (lambda a, m: (np.stack([a, a], axis=-1), m), "3 axes"),
        (lambda a, m: (a, m[[2, 1, 0, 3]]), "longest in another direction"),
    ],
)
def test_a_bad_shipped_volume_is_refused(change, reason, request_, tmp_path):
    path = shipped(tmp_path, request_, change)
    with pytest.raises(ConversionError, match=reason):
        convert(replace(request_, series=None, shipped_nifti=path), tmp_path)


@pytest.mark.parametrize("end", [40, -40])
def test_a_shipped_volume_cut_short_is_refused(end, request_, tmp_path):
    path = shipped(tmp_path, request_)
    path.write_bytes(path.read_bytes()[:end])
    with pytest.raises(ConversionError, match="cut short"):
        convert(replace(request_, series=None, shipped_nifti=path), tmp_path)


def test_nothing_at_all_is_refused(tmp_path):
    with pytest.raises(ConversionError, match="there is neither"):
        convert(SeriesRequest(EXAM), tmp_path)


def test_series_converted_together_equal_those_converted_alone(tmp_path):
    # one UID is the beginning of another, and one series stands twice under two exams
    uids = [UID, f"{UID}0", f"{UID}.5", UID]
    tasks = []
    for number, uid in enumerate(uids):
        instances = make_instances(uid=uid, seed=number)
        request = SeriesRequest(f"exam-{number}", PATIENT, uid, SLICES, series=tmp_path / f"{number}.zip")
        write_series(request.series, instances)
        tasks.append(ConversionTask(request, tmp_path / "together" / f"{number}.nii.gz"))
    together = convert_together(tasks, tmp_path / "scratch")
    for task, outcome in zip(tasks, together, strict=True):
        alone = convert_exam(task.request, tmp_path / "alone.nii.gz", tmp_path / "scratch")
        assert (outcome.volume.sha256, outcome.volume.warnings) == (alone.sha256, alone.warnings)


def test_a_bad_series_does_not_touch_its_neighbours(tmp_path):
    tasks = []
    for number in range(3):
        instances = make_instances(uid=f"{UID}{number}")[: 4 if number == 1 else None]
        request = SeriesRequest(f"exam-{number}", PATIENT, None, SLICES, series=tmp_path / f"{number}.zip")
        write_series(request.series, instances)
        tasks.append(ConversionTask(request, tmp_path / "home" / f"{number}.nii.gz"))
    outcomes = convert_together(tasks, tmp_path / "scratch")
    assert [type(outcome) for outcome in outcomes] == [Converted, Failed, Converted]
    assert sorted(path.name for path in (tmp_path / "home").iterdir()) == ["0.nii.gz", "2.nii.gz"]


def test_rows_fit_their_tables(request_, tmp_path):
    instances = make_instances()
    instances[0].PatientBirthDate = "19700101"
    write_series(request_.series, instances)
    good = Converted(convert(request_, tmp_path))
    bad = Failed(replace(request_, exam_id="other"), Cause.MISSING, "other: expected one thing, found another.")
    frame = volume_rows([good, bad], tmp_path / "home")
    assert frame["status"].tolist() == ["ok", "failed"]
    assert frame["cause"].fillna("").tolist() == ["", "missing"]
    assert frame.loc[0, "path"] == "out.nii.gz"
    assert frame.loc[0, "size_2"] == SLICES
    assert frame.loc[1, "reason"].startswith("other: expected")
    assert header_finding_rows([good, bad])["keyword"].tolist() == ["PatientBirthDate"]
    assert header_finding_rows([bad]).empty


def test_any_scan_is_converted_without_knowing_its_exam(request_, tmp_path):
    from_zip = convert_series(request_.series, tmp_path / "a.nii.gz", scratch=tmp_path / "s")
    from_nifti = convert_series(from_zip.path, tmp_path / "b.nii.gz", scratch=tmp_path / "s")
    assert from_nifti.path.read_bytes() == from_zip.path.read_bytes()
    assert from_zip.request.exam_id == "series"


@needs_real_data
def test_the_real_sagittal_series_equals_its_stored_reference(tmp_path):
    folder = Path(REAL) / "dicom_siemens_sagittal_gre"
    request = SeriesRequest("exam", None, None, 5, series=folder, shipped_nifti=folder / "reference.nii")
    volume = convert(request, tmp_path)
    ours, reference = nib.load(volume.path), nib.load(folder / "reference.nii")
    assert np.array_equal(ours.dataobj, reference.dataobj)
    assert np.array_equal(ours.affine, reference.affine)
    assert volume.equals_shipped is ShippedComparison.EQUAL
    assert {"PatientName", "PatientBirthDate"} <= {finding.keyword for finding in volume.findings}


@needs_real_data
def test_the_real_time_series_is_refused_with_the_reason(tmp_path):
    with pytest.raises(ConversionError, match="found mosaics"):
        convert_series(Path(REAL) / "dicom_siemens_axial_epi", tmp_path / "out.nii.gz", scratch=tmp_path)
