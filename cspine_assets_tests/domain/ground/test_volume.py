"""Grids are compared in the world, and masks are written on exactly the scan's grid."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from cspine_assets.domain.errors import GeometryError
from cspine_assets.domain.volume import (
    Geometry,
    Volume,
    middle_slice,
    read_geometry,
    read_mask,
    read_volume,
    sagittal_pixel_mm,
    sagittal_slice,
    write_mask,
)

SAGITTAL = np.array([[0, 0, 4.0, -30], [-0.5, 0, 0, 90], [0, 0.6, 0, -70], [0, 0, 0, 1]])
"""Axes P, S, R, as dcm2niix leaves a sagittal series: 0.5 x 0.6 mm in the plane, slices 4 mm apart."""


def save(path: Path, array: np.ndarray, affine: np.ndarray = SAGITTAL) -> Path:
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def test_spacing_axes_and_slice_axis_come_from_the_affine():
    geometry = Geometry((8, 9, 5), SAGITTAL)
    assert geometry.spacing_mm == pytest.approx((0.5, 0.6, 4.0))
    assert geometry.axis_codes == "PSR"
    assert geometry.slice_axis == 2
    assert middle_slice(geometry) == 2
    assert geometry.voxel_volume_mm3 == pytest.approx(1.2)


def test_a_volume_with_its_slices_first_is_recognized():
    first = SAGITTAL[:, [2, 0, 1, 3]]
    assert Geometry((5, 8, 9), first).slice_axis == 0


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda a: a + np.diag([0, 0, 0, 0]), None),
        (
            lambda a: np.concatenate([a[:, :3], a[:, 3:] + [[0.5], [0], [0], [0]]], axis=1),
            "origin differs by 0.5 mm",
        ),
        (lambda a: a @ np.diag([1.01, 1, 1, 1]), "spacing differs"),
        (lambda a: a @ np.diag([-1, 1, 1, 1]), "direction differs"),
    ],
)
def test_the_first_difference_of_two_grids_is_named(change, named):
    difference = Geometry((8, 9, 5), SAGITTAL).difference(Geometry((8, 9, 5), change(SAGITTAL)))
    assert difference is None if named is None else named in str(difference)


def test_another_shape_is_named_first():
    assert (
        Geometry((8, 9, 5), SAGITTAL).difference(Geometry((8, 9, 6), SAGITTAL)) == "shape (8, 9, 5) against (8, 9, 6)"
    )


def test_a_sagittal_slice_has_the_head_up_and_the_face_to_the_left():
    array = np.zeros((8, 9, 5), np.uint8)
    array[1, 8, 2] = 1  # axis 0 runs to the back, axis 1 upward: near the front, at the top
    picture = sagittal_slice(Volume(array, Geometry(array.shape, SAGITTAL)), 2)
    assert picture.shape == (9, 8)
    assert np.argwhere(picture).tolist() == [[0, 1]]
    assert sagittal_pixel_mm(Geometry(array.shape, SAGITTAL)) == pytest.approx((0.6, 0.5))


def test_the_same_anatomy_looks_the_same_in_every_array_order():
    rng = np.random.default_rng(0)
    array = rng.integers(0, 200, (8, 9, 5)).astype(np.int16)
    plain = nib.Nifti1Image(array, SAGITTAL)
    turned = nib.as_closest_canonical(plain)
    pictures = [
        sagittal_slice(Volume(np.asarray(image.dataobj), Geometry(image.shape, image.affine)), 2)
        for image in (plain, turned)
    ]
    assert np.array_equal(*pictures)


def test_a_mask_is_written_on_exactly_the_scans_grid(tmp_path: Path):
    scan = save(tmp_path / "scan.nii.gz", np.zeros((4, 5, 3), np.int16))
    image = nib.load(scan)
    image.header["descrip"] = b"DOE^JANE"
    nib.save(image, scan)
    mask = np.ones((4, 5, 3), np.uint8)
    write_mask(tmp_path / "mask.nii.gz", mask, like=scan)
    written = nib.load(tmp_path / "mask.nii.gz")
    assert np.array_equal(written.affine, nib.load(scan).affine)
    assert written.get_data_dtype() == np.uint8
    assert bytes(written.header["descrip"]).strip(b"\0") == b""
    assert np.array_equal(read_mask(tmp_path / "mask.nii.gz").array, mask)


def test_a_mask_of_another_shape_is_refused_and_nothing_written(tmp_path: Path):
    scan = save(tmp_path / "scan.nii.gz", np.zeros((4, 5, 3), np.int16))
    with pytest.raises(GeometryError, match="shape"):
        write_mask(tmp_path / "mask.nii.gz", np.ones((4, 5, 4), np.uint8), like=scan)
    assert not (tmp_path / "mask.nii.gz").exists()


@pytest.mark.parametrize("value", [0.5, -1.0, 300.0])
def test_values_that_are_no_labels_are_refused(tmp_path: Path, value: float):
    path = save(tmp_path / "mask.nii.gz", np.full((2, 2, 2), value, np.float32))
    with pytest.raises(GeometryError, match=f"whole numbers between 0 and 255, got {value:g} \\(8 such"):
        read_mask(path)


def test_what_is_no_volume_is_refused_by_name(tmp_path: Path):
    with pytest.raises(GeometryError, match=r"absent\.nii\.gz.*there is none"):
        read_geometry(tmp_path / "absent.nii.gz")
    (tmp_path / "text.nii.gz").write_text("no gzip")
    with pytest.raises(GeometryError, match=r"text\.nii\.gz"):
        read_geometry(tmp_path / "text.nii.gz")
    with pytest.raises(GeometryError, match="3 axes"):
        read_volume(save(tmp_path / "series.nii.gz", np.zeros((2, 2, 2, 2), np.int16)))


def test_a_file_cut_short_is_refused(tmp_path: Path):
    path = save(tmp_path / "cut.nii.gz", np.random.default_rng(0).integers(0, 999, (30, 30, 5)).astype(np.int16))
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(GeometryError, match=r"cut\.nii\.gz"):
        read_volume(path)
