"""What the headers of a series still say about a person: a list of places, never of values.

Add an attribute when the standard's basic profile (DICOM PS3.15, table E.1-1) or a finding in real data calls
for it. Whether a finding stops a study is decided elsewhere; nothing here changes a file, and no value leaves
this module.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

import pydicom
from pydicom.datadict import (
    dictionary_has_tag,
    dictionary_VR,
    keyword_for_tag,
    private_dictionary_description,
)
from pydicom.tag import BaseTag, Tag

from cspine_assets.domain.imaging.basic_profile import FREE_TEXT, IDENTIFYING
from cspine_assets.domain.imaging.elements import Element, Header, converted, tag_of
from cspine_assets.domain.imaging.headers import UNREADABLE, quiet_pydicom


class FindingKind(StrEnum):
    """Why a place is listed; the value is the table's."""

    IDENTIFYING = "identifying"
    DATE = "date"
    FREE_TEXT = "free_text"
    PRIVATE = "private"
    BURNED_IN = "burned_in"


@dataclass(frozen=True)
class HeaderFinding:
    """A place in the headers that holds, or may hold, something about a person.

    Attributes:
        tag: Such as ``(0010,0010)``.
        keyword: The standard's name, or what is known of a private element.
        kind: Why it is listed.
        instance_count: Instances of the series with it.
    """

    tag: str
    keyword: str
    kind: FindingKind
    instance_count: int


_UNSHIFTED_MARKS: Final = frozenset({"MODIFIED", "REMOVED"})
_TEXT_VRS: Final = frozenset({"LO", "LT", "SH", "ST", "UC", "UT", "UR", "UN"})
_DATE_VRS: Final = frozenset({"DA", "DT", "TM"})
_WHO_AND_WHERE_VRS: Final = frozenset({"PN", "AE"})
"""A person's name, and the name of a station in its network, whatever attribute it stands in."""

_PATIENT_GROUP: Final = 0x0010
"""Of attributes about the patient; one that no dictionary here knows yet is taken for a telling one."""

_OLDEST_YEARS: Final = 89
"""A greater age identifies (45 CFR 164.514 (b)(2)(i)(C)); up to it, age is a table's column like sex."""

_DUMMY = re.compile(
    r"|anon\w*|removed|none|unknown|unspecified|deidentified|de-identified|n/?a|[x0*^._ -]+|not reported",
    re.I,
)
_SUSPICIOUS = re.compile(
    r"""(?<!\d)(19|20)\d\d([-/.]?)(0[1-9]|1[0-2])\2(0[1-9]|[12]\d|3[01])(?!\d)   # a date, year first
      |(?<!\d)(0?[1-9]|[12]\d|3[01])[-/.](0?[1-9]|[12]\d|3[01])[-/.](19|20)?\d\d(?![\d.])  # a date, year last
      |[\w.+-]+@[\w-]+\.\w+  # a mail address
      |(?<![\d.])\d{3}-\d\d-\d{4}(?!\d)  # a social security number
      |\bMRN\b|\bDOB\b|\baccession\b  # what a number is announced by
    """,
    re.I | re.X,
)
_DEEPEST: Final = 8
"""Sequences within sequences are followed so far; none of the standard's images nests half as deep."""

_LONGEST_TEXT_BYTES: Final = 4096
"""Longer private values are protocols and raw tables; they are listed as private without being read."""


def scan_headers(headers: Sequence[Header], *, pseudonyms: Sequence[str] = ()) -> tuple[HeaderFinding, ...]:
    """Lists the places in a series' headers that hold, or may hold, something about a person.

    Listed are: attributes of the basic profile with a value other than a dummy; names of persons and stations
    wherever they stand; places by GPS; an age over 89; dates and times, unless the header says that they were moved;
    comments; every private element; any other text with a date, an address or a number in it, or with a word of the
    patient's own name or number; and the mark of burned-in annotation. UIDs and the number of a study are not judged:
    a replaced one looks like any other. Sex, size and weight are not listed, nor are descriptions of what was done
    unless they say more than that: the profile removes them, its options keep them, and studies need them. Faces and
    annotation inside the pixels are not looked for.

    Args:
        headers: Of the instances of one series.
        pseudonyms: Values that the study itself gave, such as the patient id; they are no findings.

    Returns:
        One entry per tag and kind, ordered by tag; empty where nothing was found or there are no headers.
    """
    counts: Counter[_Place] = Counter()
    scans: dict[tuple[frozenset[str], bool], _Scan] = {}
    allowed = frozenset(value.casefold() for value in pseudonyms)
    with quiet_pydicom():
        for header in headers:
            circumstances = (_own_words(header.elements, allowed), _dates_moved(header.elements))
            if circumstances not in scans:
                scans[circumstances] = _Scan(allowed, *circumstances)
            scan = scans[circumstances]
            counts.update({*scan.places(header.elements), *scan.places(header.meta)})
    return tuple(
        HeaderFinding(f"({place.tag >> 16:04X},{place.tag & 0xFFFF:04X})", place.keyword, place.kind, count)
        for place, count in sorted(counts.items())
    )


class _Place(NamedTuple):
    """Where something was found, within one header."""

    tag: int
    keyword: str
    kind: FindingKind


@dataclass(frozen=True)
class _Scan:
    """What the elements of headers are judged by, and what was found before: instances of a series share most."""

    pseudonyms: frozenset[str]
    own_words: frozenset[str]
    dates_moved: bool
    judged: dict[tuple[int, str, bytes], tuple[_Place, ...]] = field(default_factory=dict)

    def places(self, elements: Mapping[int, Element], depth: int = 0) -> Iterator[_Place]:
        for tag, element in elements.items():
            raw = element.value
            if tag >> 16 & 1:
                yield from self._private(elements, BaseTag(tag))
            elif not isinstance(raw, bytes):  # a sequence of no stated length, or no value
                yield from self._found(BaseTag(tag), element, depth)
            else:
                key = (tag, element.VR or "", raw)
                found = self.judged.get(key)
                if found is None:
                    found = self.judged[key] = tuple(self._found(BaseTag(tag), element, depth))
                yield from found

    def _private(self, elements: Mapping[int, Element], tag: BaseTag) -> Iterator[_Place]:
        if tag.is_private_creator:
            return
        creator = _raw(elements.get(int(Tag(tag.group, tag.element >> 8))))
        key = (int(tag), "", creator)
        if key not in self.judged:
            self.judged[key] = (_Place(int(tag), _private_name(tag, _decoded(creator)), FindingKind.PRIVATE),)
        yield from self.judged[key]

    def _found(self, tag: BaseTag, element: Element, depth: int) -> Iterator[_Place]:
        keyword = keyword_for_tag(tag) or "unknown element"
        vr = _vr(element, tag)
        if tag.group == _PATIENT_GROUP and not keyword_for_tag(tag):
            kind = FindingKind.IDENTIFYING if element.value else None
        elif vr != "SQ":
            kind = self._judge(keyword, vr, _decoded(_raw(element)))
        else:
            kind = FindingKind.IDENTIFYING if element.value and keyword in IDENTIFYING else None
        if kind is not None:
            yield _Place(int(tag), keyword, kind)
        if vr == "SQ" and depth < _DEEPEST:
            for item in _items(element):
                yield from self.places({int(inner): value for inner, value in item.items()}, depth + 1)

    def _judge(self, keyword: str, vr: str, text: str) -> FindingKind | None:
        kind: FindingKind | None = None
        if keyword in {"BurnedInAnnotation", "RecognizableVisualFeatures"}:
            kind = FindingKind.BURNED_IN if text.upper() == "YES" else None
        elif _DUMMY.fullmatch(text) or text.casefold() in self.pseudonyms:
            kind = None
        elif keyword in IDENTIFYING or vr in _WHO_AND_WHERE_VRS or keyword.startswith("GPS"):
            kind = FindingKind.IDENTIFYING
        elif vr == "AS":
            kind = FindingKind.IDENTIFYING if _is_over_the_oldest(text) else None
        elif vr in _DATE_VRS:
            kind = None if self.dates_moved else FindingKind.DATE
        elif keyword in FREE_TEXT or (vr in _TEXT_VRS and self._speaks(text)):
            kind = FindingKind.FREE_TEXT
        return kind

    def _speaks(self, text: str) -> bool:
        """Whether a text holds a date, an address, a number's announcement, or the patient's own words."""
        if len(text) > _LONGEST_TEXT_BYTES:
            return False
        words = {word.casefold() for word in re.split(r"[^\w]+", text)}
        return bool(_SUSPICIOUS.search(text)) or bool(words & self.own_words)


def _own_words(elements: Mapping[int, Element], pseudonyms: frozenset[str]) -> frozenset[str]:
    """Returns the parts of the patient's name and number that are long enough to be recognized elsewhere."""
    words: set[str] = set()
    for keyword in ("PatientName", "OtherPatientNames", "PatientID", "AccessionNumber"):
        text = _decoded(_raw(elements.get(tag_of(keyword))))
        if text.casefold() not in pseudonyms and not _DUMMY.fullmatch(text):
            words |= {word.casefold() for word in re.split(r"[^\w]+", text) if len(word) >= 4}
    return frozenset(words)


def _is_over_the_oldest(age: str) -> bool:
    """Whether an age string of the standard, such as ``092Y``, says more than 89 years."""
    years = re.fullmatch(r"(\d+)Y", age)
    return years is not None and int(years[1]) > _OLDEST_YEARS


def _dates_moved(elements: Mapping[int, Element]) -> bool:
    mark = elements.get(tag_of("LongitudinalTemporalInformationModified"))
    return _decoded(_raw(mark)).upper() in _UNSHIFTED_MARKS


def _vr(element: Element | None, tag: BaseTag) -> str:
    if element is not None and element.VR:
        return str(element.VR)
    return dictionary_VR(tag) if dictionary_has_tag(tag) else "UN"


def _raw(element: Element | None) -> bytes:
    value = None if element is None else element.value
    if isinstance(value, bytes):
        return value
    return b"" if value is None else str(value).encode()


def _decoded(raw: bytes) -> str:
    return raw[: _LONGEST_TEXT_BYTES + 1].decode("utf-8", errors="replace").strip(" \0")


def _items(element: Element) -> list[pydicom.Dataset]:
    try:
        return list(converted(element).value or ())
    except UNREADABLE:  # a damaged sequence: what cannot be read here is read by no viewer either
        return []


def _private_name(tag: BaseTag, creator: str) -> str:
    """Names a private element by the dictionaries alone; a creator that no dictionary knows is not repeated."""
    try:
        return f"private: {private_dictionary_description(tag, creator).strip('[]')}"
    except KeyError:
        return "private: unknown element"
