"""A series unpacked, its headers read, scanned and judged: all that comes before conversion.

Add a step here when something must be known before dcm2niix sees a series. The rules themselves stand in
``archive``, ``headers``, ``series`` and ``deidentification``.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from cspine_assets.domain.errors import ConversionError
from cspine_assets.domain.imaging.archive import ArchiveLimits, StagedSeries, stage_series
from cspine_assets.domain.imaging.deidentification import HeaderFinding, scan_headers
from cspine_assets.domain.imaging.headers import describe_instances, read_headers
from cspine_assets.domain.imaging.pixels import Slices
from cspine_assets.domain.imaging.scratch import MEMORY_SERIES_BYTES
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
        slices: The instances in the order of the volume's slices; None where the headers describe no volume.
    """

    folder: Path
    findings: tuple[HeaderFinding, ...]
    verdict: SeriesGeometry | ConversionError
    notes: tuple[str, ...]
    slices: Slices | None


def open_series(request: SeriesRequest, source: Path, folder: Path, *, memory: Path | None = None) -> OpenedSeries:
    """Unpacks a series into a folder and reads its headers.

    Args:
        request: What is known of it.
        source: Zip, folder or file.
        folder: Created here.
        memory: Created here where the series fits into memory; the folder is a link to it then.

    Raises:
        ConversionError: It cannot be unpacked, or a header cannot be read at all.
    """
    subject = request.exam_id
    staged = _in_memory(source, folder, memory) or stage_series(source, folder, subject=subject)
    headers = read_headers(staged.files, subject=subject)
    pseudonyms = [request.exam_id, *([request.patient_id] if request.patient_id else [])]
    findings = scan_headers(headers, pseudonyms=pseudonyms)
    verdict: SeriesGeometry | ConversionError
    slices = None
    try:
        instances = describe_instances(headers, subject=subject)
        expectation = SeriesExpectation(subject, request.patient_id, request.series_uid, request.expected_instances)
        verdict = check_series(instances, expectation)
        slices = Slices(
            tuple(staged.files[number] for number in verdict.order),
            tuple(instances[number] for number in verdict.order),
        )
    except ConversionError as refusal:
        verdict = refusal
    ignored = staged.ignored_count
    notes = (f"{ignored} file(s) beside the series are no DICOM and were left aside",) if ignored else ()
    return OpenedSeries(folder, findings, verdict, notes, slices)


def _in_memory(source: Path, folder: Path, memory: Path | None) -> StagedSeries | None:
    """Unpacks a series into memory; None where that does not go well: what is wrong with it is told on the disk."""
    if memory is None:
        return None
    try:
        staged = stage_series(source, memory, limits=ArchiveLimits(total_bytes=MEMORY_SERIES_BYTES))
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.symlink_to(memory, target_is_directory=True)
    except (ConversionError, OSError):
        shutil.rmtree(memory, ignore_errors=True)
        return None
    return staged
