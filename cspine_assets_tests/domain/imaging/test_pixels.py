"""The voxels of a conversion are those of its instances: packed, scaled and signed as these say.

What may go wrong unseen: another scaling in one slice alone, a sign or byte order taken for another, a picture swapped
with another slice's, bits of an overlay above those of the picture.
"""

from __future__ import annotations

import io

import imagecodecs
import nibabel as nib
import numpy as np
import pytest
from pydicom import dcmwrite
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRBigEndian, ImplicitVRLittleEndian

from cspine_assets.domain.imaging import conversion
from cspine_assets.domain.imaging.conversion import convert_series
from cspine_assets.domain.imaging.refusal import Cause, Refusal
from cspine_assets_tests.domain.imaging.dicom_series import encode, make_instances, write_series, write_zip

JPEG_2000, JPEG_LS = UID("1.2.840.10008.1.2.4.90"), UID("1.2.840.10008.1.2.4.80")


def made(tmp_path, instances, name="v"):
    return convert_series(write_series(tmp_path / f"{name}.zip", instances), tmp_path / f"{name}.nii.gz")


def refused(tmp_path, instances) -> str:
    with pytest.raises(Refusal) as raised:
        made(tmp_path, instances)
    assert raised.value.cause is Cause.DIFFERS_FROM_PIXELS
    assert not (tmp_path / "v.nii.gz").exists()
    return str(raised.value)


def packed(instances, syntax: UID, encode):
    for one in instances:
        one.file_meta.TransferSyntaxUID = syntax
        one.PixelData = encapsulate([encode(np.frombuffer(one.PixelData, "<u2").reshape(one.Rows, one.Columns))])
        one["PixelData"].is_undefined_length = True
    return instances


def spoilt(change):
    """The converter, with a change of its voxels afterwards; its grid stays right."""
    real = conversion.convert_alone

    def convert(folder, output):
        produced = real(folder, output)
        content = produced.files[0].read_bytes()
        voxels = np.frombuffer(content, "<i2", offset=352).copy().reshape((16, 16, -1), order="F")
        produced.files[0].write_bytes(content[:352] + change(voxels).tobytes(order="F"))
        return produced

    return convert


def j2k(pixels: np.ndarray) -> bytes:
    return imagecodecs.jpeg2k_encode(pixels, level=0, codecformat="j2k", reversible=True, bitspersample=16)


CODECS = {"JPEG 2000": (JPEG_2000, j2k), "JPEG-LS": (JPEG_LS, imagecodecs.jpegls_encode)}


@pytest.mark.parametrize("codec", CODECS)
def test_packed_pixels_give_the_volume_of_plain_ones(codec, tmp_path):
    plain = made(tmp_path, make_instances(), "plain")
    assert made(tmp_path, packed(make_instances(), *CODECS[codec])).sha256 == plain.sha256


@pytest.mark.parametrize("codec", CODECS)
def test_every_packed_slice_is_held_against_its_instance(codec, tmp_path, monkeypatch):
    """As a decoder that garbles one picture: of packed ones each is looked at, not the ends and the middle alone."""
    instances = packed(make_instances(), *CODECS[codec])

    def change(voxels):
        voxels[3:5, 3:5, 1] += 1
        return voxels

    monkeypatch.setattr(conversion, "convert_alone", spoilt(change))
    assert "another picture" in refused(tmp_path, instances)


@pytest.mark.parametrize("change", [1e-9, 1e-7, 1e-6, 0.5])
def test_slopes_that_differ_by_slice_are_kept_apart_or_refused(change, tmp_path):
    """dcm2niix takes one scale for all where they differ by little: right only where that is nothing beside them."""
    instances = make_instances()
    for number, one in enumerate(instances):
        one.RescaleSlope, one.RescaleIntercept = f"{2e-6 + change * number:.9e}", "0"
    try:
        volume = made(tmp_path, instances)
    except Refusal as error:
        assert error.cause is Cause.DIFFERS_FROM_PIXELS
        return
    found = np.asanyarray(nib.load(volume.path).dataobj)
    for number, one in enumerate(instances):
        stored = np.frombuffer(one.PixelData, "<u2").astype(float)
        expected = stored * float(one.RescaleSlope)
        index = number if volume.geometry.affine[0, 2] < 0 else len(instances) - 1 - number
        assert np.sort(found[:, :, index].ravel()) == pytest.approx(np.sort(expected), rel=1e-4)


def test_one_slope_for_all_is_taken(tmp_path):
    instances = make_instances()
    for one in instances:
        one.RescaleSlope, one.RescaleIntercept = "2.5", "-3"
    assert made(tmp_path, instances).geometry.shape[2] == len(instances)


def test_private_slopes_that_differ_by_slice_are_refused(tmp_path):
    instances = make_instances()
    for number, one in enumerate(instances):
        one.Manufacturer = "Philips"
        one.add_new(0x20050010, "LO", "Philips MR Imaging DD 001")
        one.add_new(0x2005100E, "FL", 0.01 + 0.001 * number)
        one.add_new(0x2005100D, "FL", 0.0)
    assert "Philips" in refused(tmp_path, instances)
    for one in instances:
        one[0x2005100E].value = 0.01
    assert made(tmp_path, instances).geometry.shape[2] == len(instances)


def implicit(one):
    one.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    return encode(one)


def big_endian(one):
    one.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    one.PixelData = np.frombuffer(one.PixelData, "<u2").astype(">u2").tobytes()
    buffer = io.BytesIO()
    dcmwrite(buffer, one, little_endian=False, implicit_vr=False, force_encoding=True)
    return buffer.getvalue()


def longer_than_a_block(one):
    """As scanners write them: tables of their own, longer than all else in the header."""
    one.add_new(0x00290010, "LO", "A MAKER")
    one.add_new(0x00291010, "OB", bytes(100_000))
    return encode(one)


def padded(one):
    one.add_new(0xFFFCFFFC, "OB", bytes(40))
    return encode(one)


@pytest.mark.parametrize("write", [implicit, big_endian, longer_than_a_block, padded])
def test_pixels_are_found_in_every_plain_encoding(write, tmp_path):
    plain = made(tmp_path, make_instances(), "plain")
    archive = write_zip(tmp_path / "v.zip", [write(one) for one in make_instances()])
    assert convert_series(archive, tmp_path / "v.nii.gz").sha256 == plain.sha256


def test_signed_pixels_keep_their_sign(tmp_path):
    instances = make_instances()
    for one in instances:
        one.PixelRepresentation, one.BitsStored, one.HighBit = 1, 16, 15
        one.PixelData = (np.frombuffer(one.PixelData, "<u2").astype("<i2") - 400).tobytes()
    assert made(tmp_path, instances).geometry.shape[2] == len(instances)


def test_bits_above_the_picture_are_no_intensity(tmp_path):
    """Overlays were put there once; the converter leaves them out too."""
    instances = make_instances()
    plain = made(tmp_path, instances, "plain")
    first = np.frombuffer(instances[0].PixelData, "<u2").copy()
    first[:40] |= 0x8000
    instances[0].PixelData = first.tobytes()
    assert made(tmp_path, instances).sha256 == plain.sha256


def test_a_converter_that_swaps_slices_or_shifts_values_is_seen(tmp_path, monkeypatch):
    """Whatever the converter does to a picture; its own grid is right in both."""
    instances = make_instances()
    real = conversion.convert_alone
    for change in (lambda v: v[:, :, ::-1], lambda v: v + np.int16(1), lambda v: v.byteswap(), lambda v: v[::-1]):
        monkeypatch.setattr(conversion, "convert_alone", real)
        monkeypatch.setattr(conversion, "convert_alone", spoilt(change))
        assert "slice 1" in refused(tmp_path, instances)
    monkeypatch.setattr(conversion, "convert_alone", real)
    made(tmp_path, instances)
