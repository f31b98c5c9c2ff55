"""The rows of the imaging tables that say what came of each exam.

Add a column here when an outcome holds something new. What an outcome is stands in ``outcome``, and what a column means
in the description of its table.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from cspine_assets.domain.errors import ConversionError
from cspine_assets.domain.imaging.outcome import Failed, Outcome, Scanned
from cspine_assets.domain.tables.base import typed_frame
from cspine_assets.domain.tables.imaging import HeaderFindings, Volumes


def volume_rows(outcomes: Iterable[Outcome], home: Path) -> pd.DataFrame:
    """Returns the rows of ``imaging.volumes``, one per outcome, in their order; writing them validates them.

    Args:
        outcomes: Of requests that name patient and series; both are columns of the table.
        home: Paths in the table are relative to it.

    Raises:
        ConversionError: A volume lies outside the home.
    """
    return typed_frame(Volumes, [volume_row(outcome, home) for outcome in outcomes])


def header_finding_rows(outcomes: Iterable[Outcome | Scanned]) -> pd.DataFrame:
    """Returns the rows of ``imaging.header_findings``: none for an exam whose headers hold nothing."""
    return typed_frame(HeaderFindings, [row for outcome in outcomes for row in finding_rows(outcome)])


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
