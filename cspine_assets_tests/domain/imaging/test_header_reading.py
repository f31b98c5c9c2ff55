"""Headers are the same whether read the short way or by pydicom as a whole, in every encoding that is met."""

from __future__ import annotations

import io
import random
from contextlib import suppress

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from cspine_assets.domain.imaging.elements import HeadReader, converted
from cspine_assets.domain.imaging.headers import UNREADABLE, describe_instances, quiet_pydicom, read_headers
from cspine_assets_tests.domain.imaging.dicom_series import PIXEL_MM, SIZE, encode, make_instances


def long_private_table(instance):
    instance.private_block(0x0029, "SIEMENS CSA HEADER", create=True).add_new(0x10, "OB", bytes(100_001))


def sequence_without_length(instance):
    item = Dataset()
    item.ReferencedSOPInstanceUID = "1.2.3"
    item.is_undefined_length_sequence_item = True
    instance.ReferencedImageSequence = Sequence([item])
    instance["ReferencedImageSequence"].is_undefined_length = True


def non_ascii_text(instance):
    instance.SpecificCharacterSet = "ISO_IR 100"
    instance.InstitutionName = "Universitätsklinik"


def nothing(_instance):
    pass


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
@pytest.mark.parametrize("change", [nothing, long_private_table, sequence_without_length, non_ascii_text])
def test_a_header_is_read_as_pydicom_reads_it(change, syntax, tmp_path):
    (instance,) = make_instances(1)
    change(instance)
    instance.file_meta.TransferSyntaxUID = syntax
    path = tmp_path / "one.dcm"
    path.write_bytes(encode(instance))
    (header,) = read_headers([path], subject="exam")
    expected = pydicom.dcmread(path, stop_before_pixels=True)
    assert sorted(header.elements) == sorted(int(tag) for tag in expected.keys())  # noqa: SIM118 - it is no dict
    for tag in set(header.elements) - {0x00080080}:
        assert converted(header.elements[tag]).value == expected[tag].value, expected[tag].keyword
    (slice_,) = describe_instances([header], subject="exam")
    assert (slice_.rows, slice_.columns, slice_.lacking_bytes) == (SIZE, SIZE, 0)
    assert slice_.pixel_spacing_mm == (PIXEL_MM, PIXEL_MM)


def test_a_file_that_lacks_pixels_is_told_by_how_many_bytes(tmp_path):
    (instance,) = make_instances(1)
    path = tmp_path / "one.dcm"
    path.write_bytes(encode(instance)[:-10])
    (slice_,) = describe_instances(read_headers([path], subject="exam"), subject="exam")
    assert slice_.lacking_bytes == 10


def test_a_value_of_blanks_is_empty_in_every_instance(tmp_path):
    files = []
    for number, instance in enumerate(make_instances(3)):
        # an element that is filled with blanks has no value (DICOM PS3.5, 6.2)
        instance.EchoTime = ""
        content = encode(instance)
        start = content.index(b"\x18\x00\x81\x00DS") + 6
        assert content[start : start + 2] == b"\0\0"
        files.append(tmp_path / f"{number}.dcm")
        files[-1].write_bytes(content[:start] + b"\x02\0  " + content[start + 2 :])
    read = describe_instances(read_headers(files, subject="exam"), subject="exam")
    assert [one.echo_time_ms for one in read] == [None] * 3


def test_sequences_of_no_stated_length_keep_the_characters_of_their_header(tmp_path):
    (instance,) = make_instances(1)
    non_ascii_text(instance)
    sequence_without_length(instance)
    instance.ReferencedImageSequence[0].InstitutionName = "Universitätsklinik"
    path = tmp_path / "one.dcm"
    path.write_bytes(encode(instance))
    (header,) = read_headers([path], subject="exam")
    (item,) = converted(header.elements[0x00081140]).value
    assert item.InstitutionName == "Universitätsklinik"


def test_instances_of_a_series_keep_what_differs_between_them(tmp_path):
    instances = make_instances(3)
    instances[1].InstitutionName = "another"
    del instances[2].Manufacturer
    paths = [tmp_path / f"{number}.dcm" for number in range(3)]
    for path, instance in zip(paths, instances, strict=True):
        path.write_bytes(encode(instance))
    for header, path in zip(read_headers(paths, subject="exam"), paths, strict=True):
        expected = pydicom.dcmread(path, stop_before_pixels=True)
        assert {tag: converted(element).value for tag, element in header.elements.items()} == {
            int(element.tag): element.value for element in expected
        }


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Returns a file with some bytes of its header changed, lost, put in, or made a length that is not stated."""
    changed, end = bytearray(content), content.index(b"\xe0\x7f\x10\x00OW") + 8
    for _ in range(rng.choice((1, 1, 2, 5))):
        at, some = rng.randrange(132, end), rng.randrange(1, 9)
        match rng.randrange(4):
            case 0:
                changed[at] = rng.randrange(256)
            case 1:
                changed[at : at + some] = b""
            case 2:
                changed[at:at] = rng.randbytes(some)
            case 3:
                changed[at : at + 4] = b"\xff" * 4
    return bytes(changed)


def test_damaged_bytes_are_read_as_pydicom_reads_them_or_left_to_it():
    (instance,) = make_instances(1)
    sequence_without_length(instance)
    content, rng, read = encode(instance), random.Random(1), 0
    for _ in range(600):
        bad = damaged(content, rng)
        header = None
        with quiet_pydicom(), suppress(*UNREADABLE):
            header = HeadReader().read(bad, len(bad))
        if header is None:
            continue
        with quiet_pydicom():
            expected = pydicom.dcmread(io.BytesIO(bad), stop_before_pixels=True)
            # what was converted in reading (the file's own elements, character sets) is bytes no longer
            raw = {int(tag): one.value for tag, one in expected.items() if isinstance(one.value, bytes)}
        assert sorted(header.elements) == sorted(int(tag) for tag in expected.keys())  # noqa: SIM118 - it is no dict
        assert raw.items() <= {tag: element.value for tag, element in header.elements.items()}.items()
        read += 1
    assert read > 100
