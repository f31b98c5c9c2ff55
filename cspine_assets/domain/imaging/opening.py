"""A series unpacked, its headers read, scanned and judged: all that comes before conversion.

Add a step here when something must be known before dcm2niix sees a series. The rules themselves stand in
``archive``, ``headers``, ``series`` and ``deidentification``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cspine_assets.domain.errors import ConversionError
from cspine_assets.domain.imaging.archive import stage_series
from cspine_assets.domain.imaging.deidentification import HeaderFinding, scan_headers
from cspine_assets.domain.imaging.headers import describe_instances, read_headers
from cspine_assets.domain.imaging.series import SeriesExpectation, SeriesGeometry, check_series
from cspine_assets.domain.imaging.sources import SeriesRequest


@dataclass(frozen=True)
class OpenedSeries:
    """A series that lies unpacked.

    Attributes:
        folder: Holds its instances and nothing else.
        findings: What its headers hold about a person.
        verdict: The volume that its headers describe, or the reason why they describe none.
        notes: What was left aside.
    """

    folder: Path
    findings: tuple[HeaderFinding, ...]
    verdict: SeriesGeometry | ConversionError
    notes: tuple[str, ...]


def open_series(request: SeriesRequest, source: Path, folder: Path) -> OpenedSeries:
    """Unpacks a series into a folder and reads its headers.

    Args:
        request: What is known of it.
        source: Zip, folder or file.
        folder: Created here.

    Raises:
        ConversionError: It cannot be unpacked, or a header cannot be read at all.
    """
    subject = request.exam_id
    staged = stage_series(source, folder, subject=subject)
    headers = read_headers(staged.files, subject=subject)
    pseudonyms = [request.exam_id, *([request.patient_id] if request.patient_id else [])]
    findings = scan_headers(headers, pseudonyms=pseudonyms)
    verdict: SeriesGeometry | ConversionError
    try:
        instances = describe_instances(headers, subject=subject)
        expectation = SeriesExpectation(subject, request.patient_id, request.series_uid, request.expected_instances)
        verdict = check_series(instances, expectation)
    except ConversionError as refusal:
        verdict = refusal
    ignored = staged.ignored_count
    notes = (f"{ignored} file(s) beside the series are no DICOM and were left aside",) if ignored else ()
    return OpenedSeries(folder, findings, verdict, notes)
