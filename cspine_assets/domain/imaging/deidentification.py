"""What the headers of a series still say about a person: a list of places, never of values.

Add an attribute when the standard's basic profile (DICOM PS3.15, table E.1-1) or a finding in real data calls
for it. Whether a finding stops a study is decided elsewhere; nothing here changes a file, and no value leaves
this module.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import pydicom
from pydicom.datadict import (
    dictionary_has_tag,
    dictionary_VR,
    keyword_for_tag,
    private_dictionary_description,
)
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.tag import BaseTag

from cspine_assets.domain.imaging.basic_profile import FREE_TEXT, IDENTIFYING
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
_TEXT_VRS: Final = frozenset({"LO", "LT", "SH", "ST", "UC", "UT", "PN", "AE", "UR", "UN"})
_DATE_VRS: Final = frozenset({"DA", "DT"})
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
_LONGEST_TEXT_BYTES: Final = 4096
"""Longer private values are protocols and raw tables; they are listed as private without being read."""


def scan_headers(headers: Sequence[pydicom.Dataset], *, pseudonyms: Sequence[str] = ()) -> tuple[HeaderFinding, ...]:
    """Lists the places in a series' headers that hold, or may hold, something about a person.

    Listed are: attributes of the basic profile with a value other than a dummy; dates, unless the header says
    that they were moved; comments; every private element; any other text with a date, an address or a number
    in it, or with a word of the patient's own name or number; and the mark of burned-in annotation. UIDs are
    not judged: a replaced one looks like any other. Faces and annotation inside the pixels are not looked
    for.

    Args:
        headers: Of the instances of one series.
        pseudonyms: Values that the study itself gave, such as the patient id; they are no findings.

    Returns:
        One entry per tag and kind, ordered by tag; empty where nothing was found or there are no headers.
    """
    counts: Counter[tuple[int, str, FindingKind]] = Counter()
    judged: dict[tuple[int, str, bytes], FindingKind | None] = {}
    allowed = frozenset(value.casefold() for value in pseudonyms)
    with quiet_pydicom():
        for header in headers:
            reader = _Scan(allowed, _own_words(header, allowed), _dates_moved(header), judged)
            found = set(reader.findings(header))
            found |= set(reader.findings(getattr(header, "file_meta", None) or pydicom.Dataset()))
            counts.update(found)
    return tuple(
        HeaderFinding(f"({tag >> 16:04X},{tag & 0xFFFF:04X})", keyword, kind, count)
        for (tag, keyword, kind), count in sorted(counts.items())
    )


@dataclass(frozen=True)
class _Scan:
    """What one header's elements are judged by."""

    pseudonyms: frozenset[str]
    own_words: frozenset[str]
    dates_moved: bool
    judged: dict[tuple[int, str, bytes], FindingKind | None]

    def findings(self, dataset: pydicom.Dataset, depth: int = 0) -> Iterator[tuple[int, str, FindingKind]]:
        # iterating over the dataset itself would convert every value
        for tag in list(dataset.keys()):
            element = dataset.get_item(tag)
            keyword = _keyword(dataset, tag)
            kind = self._kind(tag, keyword, element)
            if kind is not None:
                yield int(tag), keyword, kind
            if _vr(element, tag) == "SQ" and depth < 8:
                for item in _items(dataset, tag):
                    yield from self.findings(item, depth + 1)

    def _kind(self, tag: BaseTag, keyword: str, element: RawDataElement | DataElement | None) -> FindingKind | None:
        if tag.is_private:
            return None if tag.is_private_creator else FindingKind.PRIVATE
        vr = _vr(element, tag)
        if vr == "SQ":
            listed = element is not None and bool(element.value)
            return FindingKind.IDENTIFYING if listed and keyword in IDENTIFYING else None
        raw = _raw(element)
        key = (int(tag), " ".join(sorted(self.own_words)) + str(self.dates_moved), raw)
        if key not in self.judged:
            self.judged[key] = self._judge(keyword, vr, _decoded(raw))
        return self.judged[key]

    def _judge(self, keyword: str, vr: str, text: str) -> FindingKind | None:
        kind: FindingKind | None = None
        if keyword in {"BurnedInAnnotation", "RecognizableVisualFeatures"}:
            kind = FindingKind.BURNED_IN if text.upper() == "YES" else None
        elif _DUMMY.fullmatch(text) or text.casefold() in self.pseudonyms:
            kind = None
        elif keyword in IDENTIFYING:
            kind = FindingKind.IDENTIFYING
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


def _own_words(header: pydicom.Dataset, pseudonyms: frozenset[str]) -> frozenset[str]:
    """Returns the parts of the patient's name and number that are long enough to be recognized elsewhere."""
    words: set[str] = set()
    for keyword in ("PatientName", "OtherPatientNames", "PatientID", "AccessionNumber"):
        tag = pydicom.tag.Tag(keyword)
        text = _decoded(_raw(header.get_item(tag))) if tag in header else ""
        if text.casefold() not in pseudonyms and not _DUMMY.fullmatch(text):
            words |= {word.casefold() for word in re.split(r"[^\w]+", text) if len(word) >= 4}
    return frozenset(words)


def _dates_moved(header: pydicom.Dataset) -> bool:
    tag = pydicom.tag.Tag("LongitudinalTemporalInformationModified")
    return tag in header and _decoded(_raw(header.get_item(tag))).upper() in _UNSHIFTED_MARKS


def _vr(element: RawDataElement | DataElement | None, tag: BaseTag) -> str:
    if element is not None and element.VR:
        return str(element.VR)
    return dictionary_VR(tag) if dictionary_has_tag(tag) else "UN"


def _raw(element: RawDataElement | DataElement | None) -> bytes:
    value = None if element is None else element.value
    if isinstance(value, bytes):
        return value
    return b"" if value is None else str(value).encode()


def _decoded(raw: bytes) -> str:
    return raw[: _LONGEST_TEXT_BYTES + 1].decode("utf-8", errors="replace").strip(" \0")


def _items(dataset: pydicom.Dataset, tag: BaseTag) -> list[pydicom.Dataset]:
    try:
        return list(dataset[tag].value or ())
    except UNREADABLE:  # a damaged sequence: what cannot be read here is read by no viewer either
        return []


def _keyword(dataset: pydicom.Dataset, tag: BaseTag) -> str:
    """Names an element by the dictionaries alone; a creator that no dictionary knows is not repeated."""
    if not tag.is_private:
        return keyword_for_tag(tag) or "unknown element"
    creator_tag = pydicom.tag.Tag(tag.group, tag.element >> 8)
    try:
        creator = _decoded(_raw(dataset.get_item(creator_tag))) if creator_tag in dataset else ""
        return f"private: {private_dictionary_description(tag, creator).strip('[]')}"
    except KeyError:
        return "private: unknown element"
