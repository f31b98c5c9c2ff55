from __future__ import annotations

import logging
import warnings

import pytest
from dicomanonymizer.dicom_anonymization_databases import dicomfields_2026c as basic_profile
from pydicom.datadict import dictionary_has_tag, dictionary_VR, keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from cspine_assets.domain.imaging.deidentification import FindingKind, HeaderFinding, scan_headers
from cspine_assets.domain.imaging.headers import read_headers
from cspine_assets_tests.domain.imaging.dicom_series import PATIENT, encode, make_instances


def scan(tmp_path, change, count=2):
    files = []
    for number, instance in enumerate(make_instances(count)):
        change(instance)
        files.append(tmp_path / f"{number}.dcm")
        files[-1].write_bytes(encode(instance))
    return scan_headers(read_headers(files, subject="exam"), pseudonyms=[PATIENT])


def setter(**values):
    def change(instance):
        for keyword, value in values.items():
            setattr(instance, keyword, value)

    return change


def test_a_series_with_pseudonyms_alone_has_no_findings(tmp_path):
    assert scan(tmp_path, lambda instance: None) == ()


def test_a_finding_names_tag_keyword_and_count_but_no_value(tmp_path):
    found = scan(tmp_path, setter(PatientName="Doe^Jane"))
    assert found == (HeaderFinding("(0010,0010)", "PatientName", FindingKind.IDENTIFYING, 2),)
    assert "Doe" not in repr(found)


@pytest.mark.parametrize(
    ("values", "keyword", "kind"),
    [
        ({"PatientID": "MRN123456"}, "PatientID", FindingKind.IDENTIFYING),
        ({"PatientBirthDate": "19700101"}, "PatientBirthDate", FindingKind.IDENTIFYING),
        ({"PatientAddress": "1 Main Street"}, "PatientAddress", FindingKind.IDENTIFYING),
        ({"InstitutionName": "Some Hospital"}, "InstitutionName", FindingKind.IDENTIFYING),
        ({"AccessionNumber": "A99"}, "AccessionNumber", FindingKind.IDENTIFYING),
        ({"StudyDate": "20190203"}, "StudyDate", FindingKind.DATE),
        ({"ImageComments": "moved a lot"}, "ImageComments", FindingKind.FREE_TEXT),
        ({"SeriesDescription": "sag t2 2019-02-03"}, "SeriesDescription", FindingKind.FREE_TEXT),
        ({"ProtocolName": "call jane@example.org"}, "ProtocolName", FindingKind.FREE_TEXT),
        ({"BurnedInAnnotation": "YES"}, "BurnedInAnnotation", FindingKind.BURNED_IN),
        ({"StudyTime": "101500"}, "StudyTime", FindingKind.DATE),
        ({"PatientAge": "090Y"}, "PatientAge", FindingKind.IDENTIFYING),
        ({"ROIInterpreter": "Doe^John"}, "ROIInterpreter", FindingKind.IDENTIFYING),
        ({"StationAETitle": "MR_WEST"}, "StationAETitle", FindingKind.IDENTIFYING),
        ({"GPSLatitude": [36, 0, 6]}, "GPSLatitude", FindingKind.IDENTIFYING),
    ],
)
def test_what_identifies_is_found(values, keyword, kind, tmp_path):
    assert [(f.keyword, f.kind) for f in scan(tmp_path, setter(**values))] == [(keyword, kind)]


@pytest.mark.parametrize(
    "values",
    [
        {"PatientName": "Anonymous"},
        {"InstitutionName": ""},
        {"StudyDate": "20190203", "LongitudinalTemporalInformationModified": "MODIFIED"},
        {"StudyTime": "101500", "LongitudinalTemporalInformationModified": "MODIFIED"},
        {"SeriesDescription": "t2_tse_sag 1.5 mm"},
        {"PatientAge": "089Y", "PatientSex": "F", "PatientSize": "1.7", "PatientWeight": "70"},
        {"BurnedInAnnotation": "NO"},
    ],
)
def test_what_does_not_identify_is_no_finding(values, tmp_path):
    assert scan(tmp_path, setter(**values)) == ()


def test_the_patients_name_is_recognized_in_another_text(tmp_path):
    found = scan(tmp_path, setter(PatientName="Miller^Jane", StudyDescription="spine miller follow up"))
    assert ("StudyDescription", FindingKind.FREE_TEXT) in [(f.keyword, f.kind) for f in found]


TELLING = {"DA": "20190203", "TM": "101500", "DT": "20190203101500", "AS": "092Y", "DS": "1.5", "IS": "1", "US": 1}
UNLISTED = {
    # sizes and states that the standard's option keeps, and codes that hold no free word
    *("PatientSize", "PatientWeight", "PregnancyStatus", "SmokingStatus", "PatientSex", "PatientSexNeutered"),
    *("LensSpecification", "ReasonForTheAttributeModification", "InstanceOriginStatus"),
    # bytes without a text in them
    *("CertificateOfSigner", "CertifiedTimestamp", "DataSetTrailingPadding", "DeviceSettingDescription"),
    *("EncapsulatedDocument", "FlowIdentifier", "FrameOriginTimestamp", "MAC", "MakerNote"),
    *("NonconformingDataElementValue", "SelectorOBValue", "SourceIdentifier"),
}
"""Of the basic profile, apart from UIDs: what the scan passes over, and why."""


def telling_element(tag):
    """An element with something of Jane Miller in it."""
    vr = dictionary_VR(tag) if dictionary_has_tag(tag) else "LO"
    if vr == "SQ":
        item = Dataset()
        item.PatientComments = "seen by J. Miller"
        return vr, Sequence([item])
    return vr, TELLING.get(vr, b"Miller" if vr in {"OB", "UN"} else "Miller")


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
def test_every_attribute_of_the_basic_profile_is_found_where_it_speaks_of_the_patient(tmp_path):
    tags = {(group << 16) + element for group, element in (tag for tag in basic_profile.ALL_TAGS if len(tag) == 2)}
    judged = {tag for tag in tags if (tag >> 16) > 2 and not (dictionary_has_tag(tag) and dictionary_VR(tag) == "UI")}
    assert len(judged) > 500

    def change(instance):
        for tag in judged:
            instance.add_new(tag, *telling_element(tag))
        instance.PatientName = "Miller^Jane"

    found = {finding.tag for finding in scan(tmp_path, change, count=1)}
    passed_over = {
        keyword_for_tag(tag) or f"{tag:08X}"
        for tag in judged
        if f"({tag >> 16:04X},{tag & 0xFFFF:04X})" not in found
        and not (dictionary_has_tag(tag) and dictionary_VR(tag) == "SQ")
    }
    assert passed_over == UNLISTED
    inside = next(f for f in scan(tmp_path, change, count=1) if f.keyword == "PatientComments")
    assert inside.kind == FindingKind.FREE_TEXT


def test_a_name_inside_a_sequence_is_found(tmp_path):
    item = Dataset()
    item.PatientName = "Doe^Jane"
    found = scan(tmp_path, setter(ReferencedImageSequence=Sequence([item])))
    assert [f.keyword for f in found] == ["PatientName"]


def test_private_elements_are_listed_and_unknown_creators_not_repeated(tmp_path):
    def change(instance):
        instance.private_block(0x0029, "JANE DOE TOOLS", create=True).add_new(0x08, "LO", "whatever")
        instance.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x08, "CS", "IMAGE NUM 4")

    found = scan(tmp_path, change)
    assert [(f.keyword, f.kind) for f in found] == [
        ("private: CSA Image Header Type", FindingKind.PRIVATE),
        ("private: unknown element", FindingKind.PRIVATE),
    ]


def test_reading_says_nothing_of_a_value_in_logs_and_warnings(tmp_path, caplog, capsys):
    with warnings.catch_warnings(record=True) as caught, caplog.at_level(logging.DEBUG):
        warnings.simplefilter("always")
        # a birth date and an age that fit no format make pydicom quote them
        scan(tmp_path, lambda i: i.add_new(0x00101010, "LO", "secret age, far too long for an age string" * 3))
    assert not [warning for warning in caught if "secret" in str(warning.message)]
    assert "secret" not in caplog.text + "".join(capsys.readouterr())
