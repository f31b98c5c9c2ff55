"""Every way a series is known to go wrong gets its reason, and nothing is written."""

from __future__ import annotations

import copy
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from cspine_assets.domain.errors import ConversionError
from cspine_assets.domain.imaging.conversion import convert_exam
from cspine_assets.domain.imaging.sources import SeriesRequest
from cspine_assets_tests.domain.imaging.dicom_series import (
    EXAM,
    PATIENT,
    SLICES,
    UID,
    encode,
    make_instances,
    write_series,
    write_zip,
)

Planter = Callable[[Path], Path]
DEFECTS: dict[str, tuple[Planter, str]] = {}


def defect(reason: str) -> Callable[[Planter], Planter]:
    def register(planter: Planter) -> Planter:
        DEFECTS[planter.__name__] = (planter, reason)
        return planter

    return register


@defect("there is nothing")
def archive_missing(path: Path) -> Path:
    return path


@defect("found none")
def archive_without_dicom(path: Path) -> Path:
    return write_zip(path, [b"a licence"], "LICENSE{}".format)


@defect("damaged one")
def archive_cut_short(path: Path) -> Path:
    write_series(path, make_instances())
    path.write_bytes(path.read_bytes()[:-600])
    return path


@defect("damaged one")
def archive_with_flipped_bytes(path: Path) -> Path:
    content = bytearray(write_series(path, make_instances()).read_bytes())
    content[400:420] = bytes(255 - byte for byte in content[400:420])
    path.write_bytes(content)
    return path


@defect("leads out of the target")
def member_that_climbs(path: Path) -> Path:
    return write_zip(path, [encode(i) for i in make_instances()], "../../{}".format)


@defect("leads out of the target")
def member_that_climbs_with_backslashes(path: Path) -> Path:
    return write_zip(path, [encode(i) for i in make_instances()], "..\\..\\{}".format)


@defect("absolute name")
def member_with_absolute_name(path: Path) -> Path:
    return write_zip(path, [encode(i) for i in make_instances()], "/tmp/{}".format)


@defect("absolute name")
def member_with_drive(path: Path) -> Path:
    return write_zip(path, [encode(i) for i in make_instances()], "C:\\{}".format)


@defect("is a link")
def member_that_is_a_link(path: Path) -> Path:
    write_series(path, make_instances())
    with zipfile.ZipFile(path, "a") as archive:
        info = zipfile.ZipInfo("link")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    return path


@defect("unpacked bytes per packed byte")
def archive_that_inflates(path: Path) -> Path:
    return write_zip(path, [bytes(20 << 20)])


@defect("nested one level at most")
def archive_nested_twice(path: Path) -> Path:
    inner = write_series(path.with_name("inner.zip"), make_instances()).read_bytes()
    middle = write_zip(path.with_name("middle.zip"), [inner], "inner{}.zip".format).read_bytes()
    return write_zip(path, [middle], "middle{}.zip".format)


@defect("6 instances (number_of_instances of the series), found 5")
def end_slice_missing(path: Path) -> Path:
    return write_series(path, make_instances()[:-1])


@defect("6 instances (number_of_instances of the series), found 5")
def middle_slice_missing(path: Path) -> Path:
    instances = make_instances()
    return write_series(path, instances[:2] + instances[3:])


@defect("expected even gaps between slices, found 3.300 to 6.600 mm")
def middle_slice_missing_and_count_right(path: Path) -> Path:
    instances = make_instances(SLICES + 1)
    return write_series(path, instances[:2] + instances[3:])


@defect("expected one slice a position, found 2 at one position (1 instances stand twice)")
def one_instance_twice(path: Path) -> Path:
    instances = make_instances()
    return write_series(path, [*instances[:-1], instances[0]])


@defect("found 2 at one position (2 echo times")
def two_echoes(path: Path) -> Path:
    instances = make_instances()
    for number, instance in enumerate(instances[3:]):
        instance.EchoTime = "12"
        instance.ImagePositionPatient = instances[number].ImagePositionPatient
    return write_series(path, instances)


@defect("found 2 at one position (repetitions")
def two_repetitions(path: Path) -> Path:
    instances = make_instances()
    for number, instance in enumerate(instances[3:]):
        instance.ImagePositionPatient = instances[number].ImagePositionPatient
    return write_series(path, instances)


@defect("phase and magnitude")
def phase_beside_magnitude(path: Path) -> Path:
    instances = make_instances()
    for instance in instances[3:]:
        instance.ImageType = ["ORIGINAL", "PRIMARY", "P", "ND"]
    return write_series(path, instances)


@defect("expected one matrix, found 16x16 and 24x24")
def two_matrices(path: Path) -> Path:
    return write_series(path, make_instances()[:3] + make_instances(size=24)[3:])


@defect("expected one slice orientation, found 2")
def two_orientations(path: Path) -> Path:
    instances = make_instances()
    for instance in instances[3:]:
        instance.ImageOrientationPatient = [0, 0.996, 0.0871557, 0, 0.0871557, -0.9962]
    return write_series(path, instances)


@defect("expected one SeriesInstanceUID, found 2")
def localizer_beside_it(path: Path) -> Path:
    return write_series(path, make_instances()[:3] + make_instances(uid="1.2.9")[3:])


@defect("expected sagittal slices, found axial ones")
def axial_series(path: Path) -> Path:
    instances = make_instances()
    for number, instance in enumerate(instances):
        instance.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        instance.ImagePositionPatient = [0, 0, 3.3 * number]
    return write_series(path, instances)


@defect("slices straight behind one another")
def sheared_stack(path: Path) -> Path:
    instances = make_instances()
    for number, instance in enumerate(instances):
        instance.ImagePositionPatient = [3.3 * number, 2.0 * number, 0]
    return write_series(path, instances)


@defect("expected modality MR, found CT")
def other_modality(path: Path) -> Path:
    instances = make_instances()
    for instance in instances:
        instance.Modality = "CT"
    return write_series(path, instances)


@defect("found mosaics")
def mosaics(path: Path) -> Path:
    instances = make_instances()
    for instance in instances:
        instance.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
    return write_series(path, instances)


@defect("1 of 6 instances are cut short")
def pixels_cut_short(path: Path) -> Path:
    contents = [encode(i) for i in make_instances()]
    return write_zip(path, [*contents[:-1], contents[-1][:-200]])


@defect("expected a DICOM header of one slice in instance 6 of 6")
def header_cut_short(path: Path) -> Path:
    contents = [encode(i) for i in make_instances()]
    return write_zip(path, [*contents[:-1], contents[-1][:500]])


@defect("no DICOM mark was found")
def instance_cut_before_its_mark(path: Path) -> Path:
    contents = [encode(i) for i in make_instances()]
    return write_zip(path, [*contents[:-1], contents[-1][:100]], "{}.dcm".format)


@defect("no ImagePositionPatient")
def position_missing(path: Path) -> Path:
    instances = make_instances()
    del instances[2].ImagePositionPatient
    return write_series(path, instances)


@defect(f"expected PatientID {PATIENT}, the headers carry another")
def swapped_patient(path: Path) -> Path:
    instances = make_instances()
    for instance in instances:
        instance.PatientID = "593973-000777"
    return write_series(path, instances)


@defect(f"expected SeriesInstanceUID {UID}, the headers carry another")
def swapped_series(path: Path) -> Path:
    return write_series(path, make_instances(uid="1.2.9"))


@defect("expected one PatientID, found 2")
def two_patients(path: Path) -> Path:
    instances = make_instances()
    instances[0].PatientID = "593973-000777"
    return write_series(path, instances)


@defect("expected a picture, all voxels are 0")
def pixels_all_zero(path: Path) -> Path:
    instances = make_instances()
    for instance in instances:
        instance.PixelData = bytes(len(instance.PixelData))
    return write_series(path, instances)


@pytest.mark.parametrize("name", sorted(DEFECTS))
def test_a_defect_is_refused_with_its_reason_and_writes_nothing(name, tmp_path):
    planter, reason = DEFECTS[name]
    request = SeriesRequest(EXAM, PATIENT, UID, SLICES, series=planter(tmp_path / "series.zip"))
    destination = tmp_path / "volumes" / "out.nii.gz"
    with pytest.raises(ConversionError) as raised:
        convert_exam(request, destination, tmp_path / "scratch")
    assert reason in str(raised.value)
    assert str(raised.value).startswith(EXAM)
    assert "593973-000777" not in str(raised.value)
    assert not list((tmp_path / "scratch").glob("*"))
    assert not destination.parent.exists()


def test_the_same_series_without_a_defect_is_converted(tmp_path):
    instances = copy.deepcopy(make_instances())
    request = SeriesRequest(EXAM, PATIENT, UID, SLICES, series=write_series(tmp_path / "series.zip", instances))
    assert convert_exam(request, tmp_path / "out.nii.gz", tmp_path / "scratch").path.exists()
