"""What came of converting one series, and the rows of the tables that say so.

Add a field when a conversion measures something new, together with its column. How it is measured stands in
the modules that measure it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TypeAlias

import pandas as pd

from cspine_assets.domain.errors import ConversionError
from cspine_assets.domain.imaging.deidentification import HeaderFinding
from cspine_assets.domain.imaging.refusal import Cause
from cspine_assets.domain.imaging.sources import SeriesRequest
from cspine_assets.domain.imaging.verification import ShippedComparison
from cspine_assets.domain.tables.base import Table, column_names, empty_frame, validate
from cspine_assets.domain.tables.imaging import HeaderFindings, Volumes
from cspine_assets.domain.volume import Geometry


class Origin(StrEnum):
    """Where the voxels come from; the value is the table's."""

    DICOM = "dicom"
    SHIPPED_NIFTI = "shipped_nifti"


@dataclass(frozen=True)
class ConvertedVolume:
    """A volume that passed every check and lies at its place.

    Attributes:
        path: The NIfTI, ``.nii.gz``.
        series_uid: From the headers, or as requested where there were none.
        instance_count: DICOM instances; None where the shipped NIfTI was taken.
        equals_shipped: How it stands to the shipped NIfTI.
        converter: Tool and version; None where the shipped NIfTI was taken.
        warnings: Of the converter and of this wing; they quote no header value.
        sha256: Of the inflated content of the file at ``path``.
        findings: What the headers hold about a person; empty where there were none.
    """

    request: SeriesRequest
    origin: Origin
    path: Path
    geometry: Geometry
    series_uid: str | None
    instance_count: int | None
    equals_shipped: ShippedComparison
    converter: str | None
    warnings: tuple[str, ...]
    sha256: str
    findings: tuple[HeaderFinding, ...]


@dataclass(frozen=True)
class Converted:
    """An exam that has its volume."""

    volume: ConvertedVolume

    @property
    def request(self) -> SeriesRequest:
        """What was asked for."""
        return self.volume.request

    @property
    def findings(self) -> tuple[HeaderFinding, ...]:
        """What the headers hold about a person."""
        return self.volume.findings


@dataclass(frozen=True)
class Failed:
    """An exam that has none, with cause and reason; the headers may have been read far enough for findings."""

    request: SeriesRequest
    cause: Cause
    reason: str
    findings: tuple[HeaderFinding, ...] = ()


Outcome: TypeAlias = Converted | Failed


@dataclass(frozen=True)
class Scanned:
    """An exam whose headers were read for what they hold about a person, and nothing else."""

    request: SeriesRequest
    findings: tuple[HeaderFinding, ...]


def volume_rows(outcomes: Iterable[Outcome], home: Path) -> pd.DataFrame:
    """Returns the rows of ``imaging.volumes``, one per outcome, in their order.

    Args:
        outcomes: Of requests that name patient and series; both are columns of the table.
        home: Paths in the table are relative to it.

    Raises:
        ConversionError: A volume lies outside the home.
    """
    return _frame(Volumes, [volume_row(outcome, home) for outcome in outcomes])


def header_finding_rows(outcomes: Iterable[Outcome | Scanned]) -> pd.DataFrame:
    """Returns the rows of ``imaging.header_findings``: none for an exam whose headers hold nothing."""
    return _frame(HeaderFindings, [row for outcome in outcomes for row in finding_rows(outcome)])


def finding_rows(outcome: Outcome | Scanned) -> list[dict[str, object]]:
    """Returns what the headers of one exam hold about a person, as rows that are not validated yet."""
    return [
        {
            "exam_id": outcome.request.exam_id,
            "patient_id": outcome.request.patient_id,
            "tag": finding.tag,
            "keyword": finding.keyword,
            "kind": str(finding.kind),
            "instance_count": finding.instance_count,
        }
        for finding in outcome.findings
    ]


def volume_row(outcome: Outcome, home: Path) -> dict[str, object]:
    """Returns one exam's row as it is before validation; a scan outside the study has no patient in it.

    Raises:
        ConversionError: The volume lies outside the home.
    """
    row: dict[str, object] = {
        "exam_id": outcome.request.exam_id,
        "patient_id": outcome.request.patient_id,
        "series_uid": outcome.request.series_uid,
    }
    if isinstance(outcome, Failed):
        return {**row, "status": "failed", "cause": str(outcome.cause), "reason": outcome.reason}
    volume = outcome.volume
    sizes = {f"size_{axis}": size for axis, size in enumerate(volume.geometry.shape)}
    spacings = {f"spacing_{axis}_mm": mm for axis, mm in enumerate(volume.geometry.spacing_mm)}
    return {
        **row,
        **sizes,
        **spacings,
        "series_uid": volume.series_uid,
        "status": "ok",
        "origin": str(volume.origin),
        "path": relative_to_home(volume.path, home),
        "axis_codes": volume.geometry.axis_codes,
        "slice_axis": volume.geometry.slice_axis,
        "instance_count": volume.instance_count,
        "equals_shipped": str(volume.equals_shipped),
        "converter": volume.converter,
        "warnings": " | ".join(volume.warnings) or None,
        "sha256": volume.sha256,
    }


def relative_to_home(path: Path, home: Path) -> str:
    """Returns a path as tables hold it: relative to the home, with forward slashes.

    Raises:
        ConversionError: It lies outside.
    """
    try:
        return path.resolve().relative_to(home.resolve()).as_posix()
    except ValueError as error:
        raise ConversionError(f"{path}: expected a file inside the home {home}. Write it there.") from error


def _frame(table: type[Table], rows: list[dict[str, object]]) -> pd.DataFrame:
    if not rows:
        return empty_frame(table)
    return validate(table, pd.DataFrame(rows, columns=column_names(table)))
