"""Every way a series is known to go wrong: how to plant it, its cause, and what its reason must say.

Each planter writes an archive made from the whole instances of a series, so that the same defect can be planted into
a series made in memory and into an exam of a synthetic cohort.
"""

from __future__ import annotations

import copy
import gzip
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset

from cspine_assets.domain.imaging.refusal import Cause
from cspine_assets_tests.domain.imaging.dicom_series import encode, make_instances, write_series, write_zip

STRANGER = "593973-000777"
Instances = list[FileDataset]
Planter = Callable[[Path, Instances], object]


@dataclass(frozen=True)
class SeriesDefect:
    """A planted defect: its planter, the cause it must get, and a pattern that its reason must match."""

    plant: Planter
    cause: Cause
    reason: str


SERIES_DEFECTS: dict[str, SeriesDefect] = {}


def defect(cause: Cause, reason: str) -> Callable[[Planter], Planter]:
    def register(planter: Planter) -> Planter:
        SERIES_DEFECTS[planter.__name__] = SeriesDefect(planter, cause, reason)
        return planter

    return register


def beyond(instances: Instances) -> FileDataset:
    """One slice more at the end of the stack."""
    last, before = (np.array(i.ImagePositionPatient, dtype=float) for i in (instances[-1], instances[-2]))
    more = copy.deepcopy(instances[-1])
    more.SOPInstanceUID = more.file_meta.MediaStorageSOPInstanceUID = f"{instances[0].SeriesInstanceUID}.99"
    more.ImagePositionPatient = [f"{value:.6f}" for value in 2 * last - before]
    return more


@defect(Cause.MISSING, "there is nothing|there is neither")
def archive_missing(path: Path, _: Instances) -> None:
    path.unlink(missing_ok=True)


@defect(Cause.MISSING, "expected DICOM instances, found none")
def archive_without_dicom(path: Path, _: Instances) -> None:
    write_zip(path, [b"a licence"], "LICENSE{}".format)


@defect(Cause.DAMAGED, "found a damaged one")
def archive_cut_short(path: Path, instances: Instances) -> None:
    write_series(path, instances)
    path.write_bytes(path.read_bytes()[:-600])


@defect(Cause.DAMAGED, "found a damaged one")
def archive_with_flipped_bytes(path: Path, instances: Instances) -> None:
    content = bytearray(write_series(path, instances).read_bytes())
    content[400:420] = bytes(255 - byte for byte in content[400:420])
    path.write_bytes(content)


@defect(Cause.UNSAFE_ARCHIVE, "leads out of the target")
def member_that_climbs(path: Path, instances: Instances) -> None:
    write_zip(path, [encode(i) for i in instances], "../../{}".format)


@defect(Cause.UNSAFE_ARCHIVE, "leads out of the target")
def member_that_climbs_with_backslashes(path: Path, instances: Instances) -> None:
    write_zip(path, [encode(i) for i in instances], "..\\..\\{}".format)


@defect(Cause.UNSAFE_ARCHIVE, "absolute name")
def member_with_absolute_name(path: Path, instances: Instances) -> None:
    write_zip(path, [encode(i) for i in instances], "/tmp/{}".format)


@defect(Cause.UNSAFE_ARCHIVE, "absolute name")
def member_with_drive(path: Path, instances: Instances) -> None:
    write_zip(path, [encode(i) for i in instances], "C:\\{}".format)


@defect(Cause.UNSAFE_ARCHIVE, "is a link")
def member_that_is_a_link(path: Path, instances: Instances) -> None:
    write_series(path, instances)
    with zipfile.ZipFile(path, "a") as archive:
        info = zipfile.ZipInfo("link")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")


@defect(Cause.UNSAFE_ARCHIVE, "unpacked bytes per packed byte")
def archive_that_inflates(path: Path, _: Instances) -> None:
    write_zip(path, [bytes(20 << 20)])


@defect(Cause.UNSAFE_ARCHIVE, "nested one level at most")
def archive_nested_twice(path: Path, instances: Instances) -> None:
    inner = write_series(path, instances).read_bytes()
    middle = write_zip(path, [inner], "inner{}.zip".format).read_bytes()
    write_zip(path, [middle], "middle{}.zip".format)


@defect(Cause.SLICE_COUNT, r"expected 6 instances \(number_of_instances of the series\), found 5")
def end_slice_missing(path: Path, instances: Instances) -> None:
    write_series(path, instances[:-1])


@defect(Cause.SLICE_COUNT, r"expected 6 instances \(number_of_instances of the series\), found 5")
def middle_slice_missing(path: Path, instances: Instances) -> None:
    write_series(path, instances[:2] + instances[3:])


@defect(Cause.UNEVEN_SLICES, r"expected even gaps between slices, found .* 1 gap\(s\) look like missing slices")
def middle_slice_missing_and_count_right(path: Path, instances: Instances) -> None:
    write_series(path, [*instances[:2], *instances[3:], beyond(instances)])


@defect(Cause.REPEATED_SLICES, r"expected one slice a position, found 2 at one position \(1 instances stand twice\)")
def one_instance_twice(path: Path, instances: Instances) -> None:
    write_series(path, [*instances[:-1], instances[0]])


@defect(Cause.REPEATED_SLICES, r"found 2 at one position \(2 echo times")
def two_echoes(path: Path, instances: Instances) -> None:
    for number, instance in enumerate(instances[3:]):
        instance.EchoTime = "12"
        instance.ImagePositionPatient = instances[number].ImagePositionPatient
    write_series(path, instances)


@defect(Cause.REPEATED_SLICES, r"found 2 at one position \(repetitions")
def two_repetitions(path: Path, instances: Instances) -> None:
    for number, instance in enumerate(instances[3:]):
        instance.ImagePositionPatient = instances[number].ImagePositionPatient
    write_series(path, instances)


@defect(Cause.MIXED_SERIES, "phase and magnitude")
def phase_beside_magnitude(path: Path, instances: Instances) -> None:
    for number, instance in enumerate(instances):
        instance.ImageType = ["ORIGINAL", "PRIMARY", "P" if number > 2 else "M", "ND"]
    write_series(path, instances)


@defect(Cause.MIXED_SERIES, r"expected one matrix, found \d+x\d+ and \d+x\d+")
def two_matrices(path: Path, instances: Instances) -> None:
    for instance in instances[3:]:
        instance.Rows //= 2
        instance.PixelData = instance.PixelData[: len(instance.PixelData) // 2]
    write_series(path, instances)


@defect(Cause.MIXED_SERIES, "expected one slice orientation, found 2")
def two_orientations(path: Path, instances: Instances) -> None:
    for instance in instances:
        instance.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    for instance in instances[3:]:
        instance.ImageOrientationPatient = [0, 0.996, 0.0871557, 0, 0.0871557, -0.9962]
    write_series(path, instances)


@defect(Cause.MIXED_SERIES, "expected one SeriesInstanceUID, found 2")
def localizer_beside_it(path: Path, instances: Instances) -> None:
    write_series(path, [*instances, *make_instances(3, uid="1.2.9")])


@defect(Cause.OTHER_KIND, "expected sagittal slices, found axial ones")
def axial_series(path: Path, instances: Instances) -> None:
    for number, instance in enumerate(instances):
        instance.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        instance.ImagePositionPatient = [0, 0, 3.3 * number]
    write_series(path, instances)


@defect(Cause.UNEVEN_SLICES, "slices straight behind one another")
def sheared_stack(path: Path, instances: Instances) -> None:
    for number, instance in enumerate(instances):
        instance.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
        instance.ImagePositionPatient = [3.3 * number, 2.0 * number, 0]
    write_series(path, instances)


@defect(Cause.OTHER_KIND, "expected modality MR, found CT")
def other_modality(path: Path, instances: Instances) -> None:
    for instance in instances:
        instance.Modality = "CT"
    write_series(path, instances)


@defect(Cause.OTHER_KIND, "found mosaics")
def mosaics(path: Path, instances: Instances) -> None:
    for instance in instances:
        instance.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
    write_series(path, instances)


@defect(Cause.DAMAGED, "1 of 6 instances are cut short")
def pixels_cut_short(path: Path, instances: Instances) -> None:
    contents = [encode(i) for i in instances]
    write_zip(path, [*contents[:-1], contents[-1][:-200]])


@defect(Cause.DAMAGED, "expected whole pixel data, 6 of 6 instances are cut short")
def pixels_of_all_cut_short(path: Path, instances: Instances) -> None:
    write_zip(path, [encode(i)[:-200] for i in instances])


@defect(Cause.DAMAGED, "expected a DICOM header of one slice in instance 6 of 6")
def header_cut_short(path: Path, instances: Instances) -> None:
    contents = [encode(i) for i in instances]
    write_zip(path, [*contents[:-1], contents[-1][:500]])


@defect(Cause.DAMAGED, "a file of zeros, where a slice may have been")
def instance_cut_before_its_mark(path: Path, instances: Instances) -> None:
    contents = [encode(i) for i in instances]
    write_zip(path, [*contents[:-1], contents[-1][:100]], "{}.dcm".format)


@defect(Cause.DAMAGED, "no ImagePositionPatient")
def position_missing(path: Path, instances: Instances) -> None:
    del instances[2].ImagePositionPatient
    write_series(path, instances)


@defect(Cause.WRONG_IDENTITY, r"expected PatientID 593973-\d{6}, the headers carry another")
def swapped_patient(path: Path, instances: Instances) -> None:
    for instance in instances:
        instance.PatientID = STRANGER
    write_series(path, instances)


@defect(Cause.WRONG_IDENTITY, r"expected SeriesInstanceUID [\d.]+, the headers carry another")
def swapped_series(path: Path, instances: Instances) -> None:
    for instance in instances:
        instance.SeriesInstanceUID = "1.2.9"
    write_series(path, instances)


@defect(Cause.MIXED_SERIES, "expected one PatientID, found 2")
def two_patients(path: Path, instances: Instances) -> None:
    instances[0].PatientID = STRANGER
    write_series(path, instances)


@defect(Cause.NO_PICTURE, "expected a picture, all voxels are 0")
def pixels_all_zero(path: Path, instances: Instances) -> None:
    for instance in instances:
        instance.PixelData = bytes(len(instance.PixelData))
    write_series(path, instances)


@defect(Cause.DAMAGED, "a file of zeros, where a slice may have been")
def last_slice_of_zeros(path: Path, instances: Instances) -> None:
    write_zip(path, [*(encode(i) for i in instances[:-1]), bytes(1892)], "I{:03d}".format)


@defect(Cause.DAMAGED, "an empty file, where a slice may have been")
def last_slice_empty(path: Path, instances: Instances) -> None:
    write_zip(path, [*(encode(i) for i in instances[:-1]), b""], "I{:03d}".format)


@defect(Cause.DAMAGED, "named as a slice and has no DICOM mark")
def last_slice_is_a_message(path: Path, instances: Instances) -> None:
    write_zip(path, [*(encode(i) for i in instances[:-1]), b"<html>503</html>"], "I{:03d}".format)


@defect(Cause.DAMAGED, "not known as anything else")
def last_slice_of_noise(path: Path, instances: Instances) -> None:
    write_zip(path, [*(encode(i) for i in instances[:-1]), bytes(range(1, 201))], "a slice {}".format)


@defect(Cause.DAMAGED, "without the 128 bytes and the mark DICM")
def instances_without_preamble(path: Path, instances: Instances) -> None:
    write_zip(path, [encode(i)[132:] for i in instances], "I{:03d}".format)


@defect(Cause.DAMAGED, "a packed file that is no zip")
def slices_packed_one_by_one(path: Path, instances: Instances) -> None:
    write_zip(path, [gzip.compress(encode(i)) for i in instances], "I{:03d}.dcm.gz".format)


@defect(Cause.OTHER_KIND, "Deflate64")
def archive_packed_by_windows(path: Path, instances: Instances) -> None:
    content = bytearray(write_series(path, instances).read_bytes())
    for mark, method in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        at = -1
        while (at := content.find(mark, at + 1)) >= 0:
            content[at + method] = 9
    path.write_bytes(content)


@defect(Cause.OTHER_KIND, "enhanced multi-frame one")
def enhanced_multi_frame(path: Path, instances: Instances) -> None:
    del instances[0].ImagePositionPatient
    instances[0].SharedFunctionalGroupsSequence = [Dataset()]
    instances[0].NumberOfFrames = 6
    write_series(path, instances[:1])


@defect(Cause.DAMAGED, "no DICOM and not known as anything else|an empty file")
def member_without_a_name(path: Path, instances: Instances) -> None:
    """Python's zipfile asks for the last letter of every name."""
    write_series(path, instances)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(zipfile.ZipInfo(""), b"")
