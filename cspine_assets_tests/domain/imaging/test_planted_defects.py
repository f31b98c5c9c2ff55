"""Every way a series is known to go wrong gets its cause and reason, and nothing is written."""

from __future__ import annotations

import re
import struct
import zipfile

import pytest

from cspine_assets.domain.errors import ConversionError
from cspine_assets.domain.imaging.conversion import convert_exam, convert_series
from cspine_assets.domain.imaging.refusal import Cause, Refusal
from cspine_assets.domain.imaging.sources import SeriesRequest
from cspine_assets.domain.tables.imaging import MASK_CAUSES, VOLUME_CAUSES
from cspine_assets_tests.domain.imaging.dicom_series import EXAM, PATIENT, SLICES, UID, make_instances, write_series
from cspine_assets_tests.domain.imaging.planted_series import SERIES_DEFECTS, STRANGER


@pytest.mark.parametrize("name", sorted(SERIES_DEFECTS))
def test_a_defect_is_refused_with_its_reason_and_writes_nothing(name, tmp_path):
    planted = SERIES_DEFECTS[name]
    series = tmp_path / "series.zip"
    planted.plant(series, make_instances())
    request = SeriesRequest(EXAM, PATIENT, UID, SLICES, series=series)
    destination = tmp_path / "volumes" / "out.nii.gz"
    with pytest.raises(Refusal) as raised:
        convert_exam(request, destination, tmp_path / "scratch")
    assert raised.value.cause is planted.cause
    assert re.search(planted.reason, str(raised.value))
    assert str(raised.value).startswith(EXAM)
    assert STRANGER not in str(raised.value)
    assert not list((tmp_path / "scratch").glob("*"))
    assert not destination.parent.exists()


def test_the_same_series_without_a_defect_is_converted(tmp_path):
    series = write_series(tmp_path / "series.zip", make_instances())
    request = SeriesRequest(EXAM, PATIENT, UID, SLICES, series=series)
    assert convert_exam(request, tmp_path / "out.nii.gz", tmp_path / "scratch").path.exists()


def test_every_cause_is_described_in_a_table():
    assert {str(cause) for cause in Cause} == {*VOLUME_CAUSES, *MASK_CAUSES}


def test_a_member_of_the_right_length_whose_checksum_does_not_hold_is_refused(tmp_path):
    archive = write_series(tmp_path / "series.zip", make_instances())
    content = archive.read_bytes()
    with zipfile.ZipFile(archive) as opened:
        checksum = struct.pack("<L", opened.infolist()[0].CRC)
    assert content.count(checksum) == 2
    archive.write_bytes(content.replace(checksum, bytes(255 - byte for byte in checksum)))
    with pytest.raises(ConversionError, match=r"found a damaged one \(BadZipFile\)"):
        convert_series(archive, tmp_path / "a.nii.gz", scratch=tmp_path / "scratch")
