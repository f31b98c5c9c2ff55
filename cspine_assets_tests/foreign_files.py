"""A catalogue of files as they come from elsewhere: each with one thing unusual, and what every door does with it.

Add a maker here when a new kind of bad file is met; the matrix test tries it at every door, and
``python -m cspine_assets_tests.foreign_files`` prints the table of docs/foreign_files.md.
"""

from __future__ import annotations

import gzip
import io
import struct
from collections.abc import Callable
from dataclasses import dataclass

import nibabel as nib
import numpy as np

AFFINE = np.array([[0, 0, 3.3, -10], [-0.5, 0, 0, 60], [0, 0.6, 0, -70], [0, 0, 0, 1.0]])
SHAPE = (14, 16, 5)
REFUSED = "refused"
RIGHT = "right value"


@dataclass(frozen=True)
class Kind:
    """One kind of file.

    Attributes:
        name: What is unusual, for people.
        make: Returns the file's bytes, given labels.
        words: What a refusal says; None where the value is right.
        ending: Of the file's name.
        converted: Whether convert takes it though the others refuse it: it goes by the bytes, not by the name.
        added: What nnU-Net's reader adds to all intensities; its normalization takes it away.
    """

    name: str
    make: Callable[[np.ndarray], bytes]
    words: str | None
    ending: str = ".nii"
    converted: bool = False
    added: int = 0

    @property
    def verdict(self) -> str:
        return RIGHT if self.words is None else REFUSED


def labels() -> np.ndarray:
    mask = np.zeros(SHAPE, np.uint8)
    mask[3:11, 2:7, 1:4] = 1
    mask[4:10, 8:11, 1:4] = 2
    return mask


def image(array: np.ndarray, affine: np.ndarray | None = AFFINE) -> nib.Nifti1Image:
    made = nib.Nifti1Image(array, affine)
    made.header.set_xyzt_units("mm")
    return made


def content(made) -> bytes:
    return made.to_bytes()


def plain(array: np.ndarray) -> bytes:
    return content(image(array))


def patched(offset: int, layout: str, *values: object) -> Callable[[np.ndarray], bytes]:
    """Returns a maker that writes values over a field of the header (byte offsets of nifti1.h)."""

    def make(array: np.ndarray) -> bytes:
        changed = bytearray(plain(array))
        struct.pack_into("<" + layout, changed, offset, *values)
        return bytes(changed)

    return make


def without_form(array: np.ndarray) -> bytes:
    return patched(252, "2h", 0, 0)(array)


def with_affine(affine: np.ndarray) -> Callable[[np.ndarray], bytes]:
    rows = np.asarray(affine, np.float64)[:3].ravel()
    return patched(280, "12f", *rows)


def qform_alone(array: np.ndarray) -> bytes:
    made = image(array, None)
    made.header.set_qform(AFFINE, 1)
    made.header.set_sform(None, 0)
    return content(made)


def swapped(array: np.ndarray) -> bytes:
    return content(nib.Nifti1Image(array, AFFINE, nib.Nifti1Header(endianness=">")))


def scaled(array: np.ndarray) -> bytes:
    """As a float array saved into whole numbers: labels come back moved a little."""
    made = nib.Nifti1Image(array.astype(np.float64), AFFINE)
    made.header.set_data_dtype(np.uint8)
    return content(made)


def swapped_scaled(array: np.ndarray) -> bytes:
    made = nib.Nifti1Image((array * 2).astype(">i2"), AFFINE, nib.Nifti1Header(endianness=">"))
    changed = bytearray(content(made))
    struct.pack_into(">2f", changed, 112, 0.5, 0)
    return bytes(changed)


def halved(array: np.ndarray) -> bytes:
    changed = bytearray(plain(array.astype("f8") * 2))
    struct.pack_into("<2f", changed, 112, 0.5, 0)
    return bytes(changed)


def packed(make: Callable[[np.ndarray], bytes]) -> Callable[[np.ndarray], bytes]:
    return lambda array: gzip.compress(make(array), mtime=0)


def halves(array: np.ndarray) -> bytes:
    content_ = plain(array)
    return gzip.compress(content_[:400]) + gzip.compress(content_[400:])


def garbled(array: np.ndarray) -> bytes:
    changed = bytearray(packed(plain)(array))
    changed[len(changed) // 2] ^= 0x55
    return bytes(changed)


def after(end: bytes) -> Callable[[np.ndarray], bytes]:
    return lambda array: packed(plain)(array) + end


def wrong_end(position: int) -> Callable[[np.ndarray], bytes]:
    """Returns a maker of gzip whose checksum (-8 to -5) or length (-4 to -1) is another than its content's."""

    def make(array: np.ndarray) -> bytes:
        changed = bytearray(packed(plain)(array))
        changed[position] ^= 1
        return bytes(changed)

    return make


def second_member_cut(array: np.ndarray) -> bytes:
    content_ = plain(array)
    return gzip.compress(content_[:400]) + gzip.compress(content_[400:])[:-12]


def qform_of(*fields: float, at: int = 256) -> Callable[[np.ndarray], bytes]:
    """Returns a maker of files that a qform alone places, some of its numbers others."""

    def make(array: np.ndarray) -> bytes:
        changed = bytearray(qform_alone(array))
        struct.pack_into(f"<{len(fields)}f", changed, at, *fields)
        return bytes(changed)

    return make


def extension_of(length: int) -> Callable[[np.ndarray], bytes]:
    """Returns a maker of an extension before the voxels that says another length than its own."""

    def make(array: np.ndarray) -> bytes:
        content_ = patched(108, "f", 368.0)(array)
        return content_[:348] + struct.pack("<4B2i8x", 1, 0, 0, 0, length, 6) + content_[352:]

    return make


def sheared(part: float) -> np.ndarray:
    return AFFINE @ np.array([[1, part, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


def colours(array: np.ndarray) -> bytes:
    rgb = np.zeros(array.shape, [("R", "u1"), ("G", "u1"), ("B", "u1")])
    return content(nib.Nifti1Image(rgb, AFFINE))


def first_axis_zero() -> np.ndarray:
    changed = AFFINE.copy()
    changed[:, 2] = 0
    return changed


SHEAR = sheared(0.3)
FAR = AFFINE + np.array([[0, 0, 0, 1e9], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
NAN = np.where(AFFINE == 0, np.nan, AFFINE)

NIFTI_KINDS = [
    Kind("usual NIfTI", plain, None),
    Kind("packed with gzip", packed(plain), None, ".nii.gz"),
    Kind("two gzip members", halves, None, ".nii.gz"),
    Kind("ending in capitals", packed(plain), None, ".NII.GZ"),
    Kind("other byte order", swapped, None),
    Kind("stored as 32-bit integers", lambda array: plain(array.astype(np.int32)), None),
    Kind("stored as floats, all whole", lambda array: plain(array.astype(np.float32)), None),
    Kind("placed by qform alone", qform_alone, None),
    Kind("no unit of length", patched(123, "B", 0), None),
    Kind("extension before the voxels", lambda array: content(_extended(image(array))), None),
    Kind("wrong bits per voxel", patched(72, "h", 16), None),
    Kind("ending in mixed case", packed(plain), None, ".Nii.Gz"),
    Kind("other byte order, whole scaling", swapped_scaled, None),
    Kind("64-bit floats, scaled to whole numbers", halved, None),
    Kind("64-bit integers", lambda array: content(nib.Nifti1Image(array.astype("i8"), AFFINE, dtype="i8")), None),
    Kind("scaling of NaN, which means none", patched(112, "2f", np.nan, np.inf), None),
    Kind("scaling of 0, which means none", patched(112, "2f", 0, 5), None, added=5),
    Kind("called another intent", patched(68, "h", 1007), None),
    Kind("a fourth length beyond the axes", patched(48, "h", 7), None),
    Kind("bytes behind the voxels", lambda array: plain(array) + bytes(1000), None),
    Kind("zeros behind the gzip", after(bytes(512)), None, ".nii.gz"),
    Kind("an extension longer than the file", extension_of(1 << 30), None),
    Kind("an extension of no length", extension_of(0), None),
    Kind("negative voxel sizes in pixdim", patched(80, "3f", -0.5, 0.6, 3.3), None),
    Kind("hardly sheared", with_affine(sheared(5e-5)), None),
    Kind("no qform and no sform", without_form, "qform or sform"),
    Kind("sform all zeros", with_affine(np.zeros((4, 4))), "expected voxels between"),
    Kind("NaN in the sform", with_affine(NAN), "expected finite numbers in the affine"),
    Kind("infinity in the sform", with_affine(np.full((4, 4), np.inf)), "expected finite numbers in the affine"),
    Kind("one axis of the sform zero", with_affine(first_axis_zero()), "expected voxels between"),
    Kind("voxels of kilometres", with_affine(AFFINE * 1e6), "expected voxels between"),
    Kind("sheared sform", with_affine(SHEAR), "right angles"),
    Kind("two axes of the sform the same", with_affine(AFFINE[:, [0, 0, 2, 3]]), "right angles"),
    Kind("sheared by a thousandth", with_affine(sheared(1e-3)), "right angles"),
    Kind("a first voxel kilometres away", with_affine(FAR), "within 100000 mm"),
    Kind("NaN in the qform", qform_of(np.nan), "expected finite numbers in the qform"),
    Kind("qfac NaN", qform_of(np.nan, at=76), "expected finite numbers in the qform"),
    Kind("quaternion too long", qform_of(1, 1, 1), "unit quaternion"),
    Kind("quaternion hardly too long", qform_of(0.6, 0.6, 0.53), "unit quaternion"),
    Kind("qform with voxels of 0 mm", qform_of(0, 0, 0, at=80), "expected voxels between"),
    Kind("sform code out of range", patched(252, "2h", 0, 9), "qform or sform"),
    Kind("micrometres and seconds", patched(123, "B", 3 | 8), "expected millimetres, found micrometres"),
    Kind("micrometres", patched(123, "B", 3), "expected millimetres, found micrometres"),
    Kind("metres", patched(123, "B", 1), "expected millimetres, found metres"),
    Kind("vox_offset 0", patched(108, "f", 0.0), "expected voxels from byte 352"),
    Kind("vox_offset NaN", patched(108, "f", np.nan), "expected voxels from byte 352"),
    Kind("vox_offset between bytes", patched(108, "f", 352.5), "expected voxels from byte 352"),
    Kind("vox_offset behind the end", patched(108, "f", 1e9), "too short"),
    Kind("infinite scaling", patched(112, "2f", np.inf, 0), "finite scaling"),
    Kind("dimensions overflow", patched(40, "4h", 3, 32767, 32767, 32767), "4 GiB"),
    Kind("more slices than voxels", patched(46, "h", 6), "too short"),
    Kind("a negative dimension", patched(40, "4h", 3, -14, 16, 5), "3 axes"),
    Kind("no dimension", patched(40, "h", 0), "3 axes"),
    Kind("a time series", patched(40, "5h", 4, 14, 16, 1, 5), "3 axes"),
    Kind("one volume in time", patched(40, "5h", 4, 14, 16, 5, 1), "first 3 axes"),
    Kind("a single slice", patched(40, "3h", 2, 14, 16), "a single slice"),
    Kind("an axis without voxels", patched(40, "4h", 3, 14, 0, 5), "axis without voxels"),
    Kind("more voxels than 4 GiB", patched(40, "4h", 3, 2000, 2000, 2000), "4 GiB"),
    Kind("bits as voxels", patched(70, "2h", 1, 1), "one real number a voxel"),
    Kind("complex numbers", lambda array: plain(array.astype(np.complex64)), "one real number a voxel"),
    Kind("colours", colours, "one real number a voxel"),
    Kind("unknown number type", patched(70, "h", 777), "number type"),
    Kind("NIfTI-2", lambda array: content(nib.Nifti2Image(array, AFFINE)), "NIfTI-2"),
    Kind("header of a pair", patched(344, "4s", b"ni1\0"), "a pair of .hdr and .img"),
    Kind("called .hdr", plain, "a pair of .hdr and .img", ".hdr"),
    Kind("called .mha", plain, "MetaImage", ".mha"),
    Kind("called .nrrd", plain, "NRRD", ".nrrd"),
    Kind("cut short", lambda array: plain(array)[:-50], "short|whole"),
    Kind("cut in its header", lambda array: plain(array)[:200], "NIfTI"),
    Kind("empty file", lambda _array: b"", "empty file"),
    Kind("zeros", lambda _array: bytes(5000), "zeros"),
    Kind("text", lambda _array: b"<html>not found</html>" * 40, "other bytes"),
    Kind("gzip cut short", lambda array: packed(plain)(array)[:-60], "cut short", ".nii.gz"),
    Kind("gzip garbled", garbled, "damaged", ".nii.gz"),
    Kind("gzip with another checksum", wrong_end(-6), "damaged", ".nii.gz"),
    Kind("gzip with another length", wrong_end(-1), "damaged", ".nii.gz"),
    Kind("garbage behind the gzip", after(b"garbage behind the end"), "damaged", ".nii.gz"),
    Kind("second gzip member cut", second_member_cut, "damaged", ".nii.gz"),
    Kind("gzip within gzip", packed(packed(plain)), "gzip", ".nii.gz"),
    Kind("gzip called .nii", packed(plain), "Call it .nii.gz", converted=True),
    Kind("plain, called .nii.gz", plain, "Call it .nii if", ".nii.gz", converted=True),
    Kind("another mark in the header", patched(344, "4s", b"n+2\0"), "another mark"),
    Kind("Analyze, called .nii", patched(344, "4s", bytes(4)), "another mark"),
    Kind("a zip called .nii", lambda _array: b"PK\x03\x04" + bytes(500), "zip archive"),
    Kind("a DICOM called .nii", lambda _array: bytes(128) + b"DICM" + bytes(500), "DICOM"),
]
MASK_KINDS = [
    Kind("saved with a scaling", scaled, "saved with a scaling"),
    Kind("probabilities", lambda array: plain(array.astype(np.float32) * 0.6), "whole numbers"),
    Kind("NaN as a label", lambda array: plain(np.where(array == 1, np.nan, array).astype("f4")), "whole numbers"),
    Kind("negative labels", lambda array: plain(-array.astype(np.int16)), "whole numbers"),
    Kind("labels above 255", lambda array: plain(array.astype(np.int16) * 200), "whole numbers"),
]


def _extended(made):
    made.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"text"))
    return made


def table() -> str:
    """Returns the matrix as Markdown."""
    text = io.StringIO()
    text.write("| file | score | masks of other tools | predict | convert |\n|---|---|---|---|---|\n")
    for kind in NIFTI_KINDS:
        converted = RIGHT if kind.converted else kind.verdict
        text.write(f"| {kind.name} |" + f" {kind.verdict} |" * 3 + f" {converted} |\n")
    for kind in MASK_KINDS:
        text.write(f"| {kind.name} | {kind.verdict} | {kind.verdict} | a picture | a picture |\n")
    return text.getvalue()


if __name__ == "__main__":
    print(table(), end="")
