"""The fast reader against nibabel, over every kind of file that decides between the two."""

from __future__ import annotations

import gzip
import itertools
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from cspine_assets.domain.errors import GeometryError
from cspine_assets.domain.plain_nifti import Scratch, read_plain_nifti
from cspine_assets.domain.volume import read_mask

AFFINE = np.array([[0, 0, 4.4, -30], [-0.48, 0.14, 0, 90], [0.14, 0.48, 0, -70], [0, 0, 0, 1]])
TYPES = [np.dtype(code) for code in ("u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8")]
SHAPE = (7, 6, 5)


def labels(seed=0):
    return np.random.default_rng(seed).integers(0, 3, SHAPE)


def nifti(array, *, kind=nib.Nifti1Image, order="<", slope=None, inter=None, change=None):
    """Returns the bytes of an uncompressed file; ``change`` is called with its header."""
    header = kind.header_class(endianness=order)
    header.set_data_dtype(array.dtype)
    header.set_data_shape(array.shape)
    header.set_sform(AFFINE, code=1)
    header.set_data_offset(kind.header_class().single_vox_offset)
    header["magic"] = kind.header_class().single_magic
    header["scl_slope"] = 1 if slope is None else slope
    header["scl_inter"] = 0 if inter is None else inter
    if change:
        change(header)
    head = header.binaryblock.ljust(int(header["vox_offset"]), b"\0")
    return head + array.astype(array.dtype.newbyteorder(order)).tobytes(order="F")


def is_read_alike(path: Path, *, fast: bool):
    """Compares with nibabel, and says by which reader the file was read."""
    image = nib.load(path)
    assert (read_plain_nifti(path, Scratch()) is not None) == fast
    read = read_mask(path)
    assert read.array.dtype == np.uint8
    assert np.array_equal(read.array, np.asanyarray(image.dataobj))
    assert np.array_equal(read.geometry.affine, image.affine)
    assert read.geometry.shape == image.shape


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_every_type_and_byte_order_is_read_fast(tmp_path: Path, dtype, order, ending):
    content = nifti(labels().astype(dtype), order=order)
    path = tmp_path / f"mask{ending}"
    path.write_bytes(gzip.compress(content) if ending == ".nii.gz" else content)
    is_read_alike(path, fast=True)


@pytest.mark.parametrize(
    ("slope", "inter", "fast"),
    [(1, 0, True), (0, 0, True), (0, 7, True), (np.nan, np.nan, True), (2, 0, False), (1, 1, False), (0.5, 3, False)],
)
def test_a_scaling_is_left_to_nibabel(tmp_path: Path, slope, inter, fast):
    path = tmp_path / "mask.nii"
    path.write_bytes(nifti(4 * labels().astype(np.int16), slope=slope, inter=inter))
    is_read_alike(path, fast=fast)


@pytest.mark.parametrize(
    ("change", "fast"),
    [
        (lambda h: h.set_sform(AFFINE, code=4), True),
        (lambda h: (h.set_sform(None, code=0), h.set_qform(np.diag([1.0, 2, 3, 1]), code=1)), False),
        (lambda h: h.set_data_offset(368), True),
        (lambda h: h.set_data_dtype(np.uint8) or h.__setitem__("bitpix", 16), False),
        (lambda h: h.__setitem__("descrip", b"text"), True),
    ],
)
def test_headers_beyond_the_plain_one_are_left_to_nibabel(tmp_path: Path, change, fast):
    path = tmp_path / "mask.nii"
    path.write_bytes(nifti(labels().astype(np.uint8), change=change))
    is_read_alike(path, fast=fast)


def test_nifti_2_and_four_axes_are_not_this_readers(tmp_path: Path):
    for name, content in {
        "two": nifti(labels().astype(np.uint8), kind=nib.Nifti2Image),
        "series": nifti(np.zeros((2, 2, 2, 2), np.uint8)),
        "bits": nifti(np.zeros((2, 2, 2), np.complex64)),
    }.items():
        path = tmp_path / f"{name}.nii"
        path.write_bytes(content)
        assert read_plain_nifti(path, Scratch()) is None
    with pytest.raises(GeometryError, match="NIfTI-2"):
        read_mask(tmp_path / "two.nii")
    with pytest.raises(GeometryError, match="3 axes"):
        read_mask(tmp_path / "series.nii")


@pytest.mark.parametrize("level", [0, 1, 6, 9])
def test_every_level_of_compression_is_read_fast(tmp_path: Path, level):
    path = tmp_path / "mask.nii.gz"
    path.write_bytes(gzip.compress(nifti(labels().astype(np.uint8)), level))
    is_read_alike(path, fast=True)


@pytest.mark.parametrize("cut", [100, 352, 400, 500])
def test_a_file_of_several_gzip_members_is_read_alike(tmp_path: Path, cut):
    content = nifti(labels().astype(np.uint8))
    path = tmp_path / "mask.nii.gz"
    path.write_bytes(gzip.compress(content[:cut]) + gzip.compress(content[cut:]))
    is_read_alike(path, fast=False)


def test_gzip_with_a_name_and_bytes_behind_it_is_read_alike(tmp_path: Path):
    content = nifti(labels().astype(np.uint8))
    named = tmp_path / "named.nii.gz"
    with named.open("wb") as raw, gzip.GzipFile("mask.nii", "wb", fileobj=raw, mtime=1) as stream:
        stream.write(content)
    is_read_alike(named, fast=True)
    padded = tmp_path / "padded.nii.gz"
    padded.write_bytes(gzip.compress(content) + bytes(512))
    is_read_alike(padded, fast=False)


@pytest.mark.parametrize("keep", [0, 1, 5, 17, 40, -9, -8, -1])
def test_a_gzip_file_cut_short_is_refused_by_name(tmp_path: Path, keep):
    packed = gzip.compress(nifti(labels().astype(np.uint8)))
    path = tmp_path / "cut.nii.gz"
    path.write_bytes(packed[:keep])
    with pytest.raises(GeometryError, match=r"cut\.nii\.gz"):
        read_mask(path)


@pytest.mark.parametrize("place", [40, 60, -6, -2])
def test_a_damaged_gzip_file_is_refused_by_name(tmp_path: Path, place):
    packed = bytearray(gzip.compress(nifti(labels().astype(np.uint8)), mtime=0))
    packed[place] ^= 0x55
    path = tmp_path / "damaged.nii.gz"
    path.write_bytes(packed)
    with pytest.raises(GeometryError, match=r"damaged\.nii\.gz"):
        read_mask(path)


@pytest.mark.parametrize("keep", [0, 300, 351, 400, -1])
def test_a_plain_file_cut_short_is_refused_by_name(tmp_path: Path, keep):
    path = tmp_path / "cut.nii"
    path.write_bytes(nifti(labels().astype(np.uint8))[:keep])
    with pytest.raises(GeometryError, match=r"cut\.nii"):
        read_mask(path)


def test_a_trailer_that_promises_more_than_deflate_can_hold_takes_no_memory(tmp_path: Path):
    packed = gzip.compress(nifti(labels().astype(np.uint8)))
    path = tmp_path / "bomb.nii.gz"
    path.write_bytes(packed[:-4] + (0xFFFFFFF0).to_bytes(4, "little"))
    scratch = Scratch()
    assert read_plain_nifti(path, scratch) is None
    assert len(scratch.take(0).obj) < 1_000_000


@pytest.mark.parametrize(("name", "packed"), [("mask.nii", True), ("mask.nii.gz", False)])
def test_an_ending_that_says_otherwise_than_the_content_is_refused_by_name(tmp_path: Path, name, packed):
    content = nifti(labels().astype(np.uint8))
    (tmp_path / name).write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(GeometryError, match=r"mask\.nii"):
        read_mask(tmp_path / name)


def test_absent_files_and_folders_are_refused_by_name(tmp_path: Path):
    with pytest.raises(GeometryError, match=r"absent\.nii\.gz.*there is none"):
        read_mask(tmp_path / "absent.nii.gz")
    (tmp_path / "folder.nii.gz").mkdir()
    with pytest.raises(GeometryError, match=r"folder\.nii\.gz"):
        read_mask(tmp_path / "folder.nii.gz")


@pytest.mark.parametrize("value", [0.5, -1.0, 300.0, np.nan, np.inf])
def test_values_that_are_no_labels_are_refused_by_both_readers(tmp_path: Path, value):
    for name, slope in (("fast", 1), ("nibabel", 2)):
        path = tmp_path / f"{name}.nii"
        path.write_bytes(nifti(np.full(SHAPE, value / slope, np.float64), slope=slope))
        with pytest.raises(GeometryError, match="whole numbers"):
            read_mask(path)


def test_scratch_memory_is_used_again_and_a_mask_without_it_stays(tmp_path: Path):
    for seed in (0, 1):
        (tmp_path / f"{seed}.nii.gz").write_bytes(gzip.compress(nifti(labels(seed).astype(np.uint8))))
    scratch = Scratch()
    first = read_mask(tmp_path / "0.nii.gz", scratch=scratch).array
    read_mask(tmp_path / "1.nii.gz", scratch=scratch)
    assert np.array_equal(first, labels(1))
    stays = read_mask(tmp_path / "0.nii.gz").array
    read_mask(tmp_path / "1.nii.gz")
    assert np.array_equal(stays, labels(0))


def test_random_headers_never_read_otherwise_than_nibabel(tmp_path: Path):
    """A byte of the header changed at random: both readers agree, or the file is refused."""
    rng = np.random.default_rng(0)
    content = nifti(labels().astype(np.int16))
    path = tmp_path / "mask.nii"
    fast = 0
    for place in itertools.chain(range(352), rng.integers(0, 352, 300)):
        changed = bytearray(content)
        changed[place] ^= int(rng.integers(1, 256))
        path.write_bytes(changed)
        plain = read_plain_nifti(path, Scratch())
        if plain is not None:
            fast += 1
            image = nib.load(path)
            assert np.array_equal(plain.array, np.asanyarray(image.dataobj)), place
            assert np.array_equal(plain.affine, image.affine), place
    assert fast > 300


def test_real_masks_are_read_alike():
    root = os.environ.get("CSPINE_REAL_DATA")
    if not root:
        pytest.skip("CSPINE_REAL_DATA does not name the folder of real test data")
    for path in (Path(root) / "t2w_spine_crop").glob("*_msk.nii.gz"):
        read, image = read_mask(path), nib.load(path)
        assert np.array_equal(read.array, np.asanyarray(image.dataobj))
        assert np.array_equal(read.geometry.affine, image.affine)
