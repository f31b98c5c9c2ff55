"""What came of converting one series.

Add a field when a conversion measures something new, together with its column in ``rows``. How it is measured stands in
the modules that measure it, and pandas is left out: every worker process loads this module.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TypeAlias

from cspine_assets.domain.imaging.deidentification import HeaderFinding
from cspine_assets.domain.imaging.refusal import Cause
from cspine_assets.domain.imaging.sources import SeriesRequest
from cspine_assets.domain.imaging.verification import ShippedComparison
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
