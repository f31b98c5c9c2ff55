"""Whether a mask can be used with its volume: labels, number type, grid, what it holds.

Add a check here when masks are met that would mislead a training or a score.
A mask is never resampled, relabelled or repaired: one that does not fit is refused with its reason.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import cc3d
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cspine_assets.domain.anatomy import ALLOWED_LABELS, LABELS, Structure
from cspine_assets.domain.errors import GeometryError, unexpected_reason
from cspine_assets.domain.files import fingerprint_file
from cspine_assets.domain.imaging.compression import content_sha256, read_nifti_bytes, write_gzip
from cspine_assets.domain.imaging.nifti_header import without_free_text
from cspine_assets.domain.imaging.refusal import Cause, Refusal
from cspine_assets.domain.imaging.rows import relative_to_home
from cspine_assets.domain.imaging.scratch import scratch_folder
from cspine_assets.domain.tables.base import typed_frame
from cspine_assets.domain.tables.imaging import Masks
from cspine_assets.domain.volume import Geometry, UnplacedError, Volume, read_volume, view_volume

MOST_LABELS_NAMED = 12
"""A mask of intensities holds thousands of values; so many are named in a reason."""


@dataclass(frozen=True)
class StructureCount:
    """How much of a structure a mask holds.

    Attributes:
        voxels: With its label.
        components: Of voxels that touch by a face (6-connected).
    """

    voxels: int
    components: int


@dataclass(frozen=True)
class MaskFindings:
    """A mask that was looked at; with a reason, it cannot be used.

    Attributes:
        cause: Kind of the reason.
        path: The mask file; None where there is no usable one.
        labels: Values in the mask, sorted; empty where they could not be read.
        stored_type: Number type on disk once scaled, such as ``uint8``.
        counts: Per structure; empty where the labels are others.
        geometry_difference: What differs from the volume's grid, or None.
        notes: What is unusual and does no harm.
        sha256: Of the inflated content of the file at ``path``.
    """

    exam_id: str
    patient_id: str | None
    cause: Cause | None = None
    reason: str | None = None
    path: Path | None = None
    labels: tuple[int, ...] = ()
    stored_type: str | None = None
    counts: Mapping[Structure, StructureCount] = field(default_factory=dict)
    geometry_difference: str | None = None
    notes: tuple[str, ...] = ()
    sha256: str | None = None

    @property
    def is_ok(self) -> bool:
        """Whether the mask can be used."""
        return self.reason is None


def check_mask(
    mask_path: Path | None,
    volume_geometry: Geometry,
    *,
    exam_id: str,
    patient_id: str | None,
    destination: Path | None = None,
    md5: str | None = None,
) -> MaskFindings:
    """Looks at one mask and says whether it can be used with its volume.

    The labels must be whole numbers of the study, every structure must be there, and the grid must be the
    volume's: the shape exactly, spacing and origin within 1e-3 mm, direction cosines within 1e-4. A mask
    stored as floating-point numbers that are all whole has lost nothing and is taken, with a note; one with
    values in between was interpolated and is refused, as no rounding gives back what was drawn.

    Args:
        mask_path: ``.nii`` or ``.nii.gz``, or None where there is none.
        volume_geometry: Grid of the exam's volume.
        exam_id: Exam.
        patient_id: Patient.
        destination: Where a usable mask is written, voxels and grid unchanged, free text of its header
            removed; None leaves it where it is.
        md5: Of the file, as the release lists it; None where it lists none. A mask of another one was changed after
            its release, and is no reference: it is neither trained on nor scored.
    """
    looked_at = MaskFindings(exam_id, patient_id)
    if mask_path is None:
        return replace(looked_at, cause=Cause.MISSING, reason=f"{exam_id}: expected a mask, there is none.")
    try:
        content = read_nifti_bytes(mask_path, subject=exam_id)
        mask = _read(content, mask_path, exam_id)
        stripped = without_free_text(content)
    except (Refusal, GeometryError) as error:
        cause = Cause.UNPLACED if isinstance(error, UnplacedError) else Cause.NOT_A_VOLUME
        cause = error.cause if isinstance(error, Refusal) else cause
        return replace(looked_at, cause=cause, reason=str(error))
    except Exception as error:  # noqa: BLE001 - a hostile file raises what nobody listed, and a whole cohort waits
        return replace(looked_at, cause=Cause.UNEXPECTED, reason=unexpected_reason(exam_id, error))
    findings = _as_listed(_examined(looked_at, mask, volume_geometry), mask_path, md5)
    if not findings.is_ok:
        return findings
    if destination is None:
        sha256 = content_sha256(stripped.head, stripped.voxels)
    else:
        sha256 = write_gzip(destination, stripped.head, stripped.voxels)
    kept = destination or mask_path
    emptied = (f"free text removed from the header: {', '.join(stripped.emptied)}",) if stripped.emptied else ()
    notes = (*findings.notes, *emptied) if destination is not None else findings.notes
    return replace(findings, path=kept, sha256=sha256, notes=notes)


def mask_rows(findings: Iterable[MaskFindings], home: Path) -> pd.DataFrame:
    """Returns the rows of ``imaging.masks``, one per mask looked at, in their order; writing them validates them.

    Args:
        findings: Of exams whose patient is known.
        home: Paths in the table are relative to it.

    Raises:
        ConversionError: A usable mask lies outside the home.
    """
    return typed_frame(Masks, [_row(found, home) for found in findings])


def _read(content: bytes, mask_path: Path, exam_id: str) -> Volume:
    """Reads a mask from its inflated bytes; one of no plain kind lies on the disk for that moment."""
    plain = view_volume(content)
    if plain is not None:
        return plain
    with scratch_folder(Path(tempfile.gettempdir())) as folder:
        file = folder / "mask.nii"
        file.write_bytes(content)
        try:
            volume = read_volume(file)
            return Volume(np.array(volume.array), volume.geometry)
        except GeometryError as error:
            found = str(error).removeprefix(f"{file}: ")
            raise type(error)(f"{exam_id}: {mask_path.name}: {found}") from error


def _examined(looked_at: MaskFindings, mask: Volume, volume_geometry: Geometry) -> MaskFindings:
    exam_id = looked_at.exam_id
    stored_type = mask.array.dtype.name
    difference = volume_geometry.difference(mask.geometry)
    seen = replace(looked_at, stored_type=stored_type, geometry_difference=difference)
    values = pd.unique(mask.array.ravel())
    if not np.all(np.isfinite(values)) or np.any(values != np.rint(values)):
        return replace(
            seen,
            cause=Cause.INTERPOLATED,
            reason=f"{exam_id}: expected labels as whole numbers, found values in between ({stored_type}): "
            "the mask was interpolated. Use the mask as it was drawn.",
        )
    labels = tuple(sorted(int(value) for value in values))
    seen = replace(seen, labels=labels)
    strange = _label_fault(exam_id, labels)
    if strange is not None:
        return replace(seen, cause=Cause.STRANGE_LABELS, reason=strange)
    if difference is not None:
        reason = f"{exam_id}: expected the mask on the volume's grid, found {difference}."
        return replace(seen, cause=Cause.OTHER_GRID, reason=reason)
    counts = {structure: _count(mask.array == label) for structure, label in LABELS.items()}
    missing = [str(structure) for structure, count in counts.items() if count.voxels == 0]
    is_float = not np.issubdtype(mask.array.dtype, np.integer)
    return replace(
        seen,
        counts=counts,
        cause=Cause.STRUCTURE_MISSING if missing else None,
        reason=f"{exam_id}: expected voxels of every structure, found none of {' and '.join(missing)}."
        if missing
        else None,
        notes=(f"whole numbers stored as {stored_type}",) if is_float else (),
    )


def _as_listed(findings: MaskFindings, mask_path: Path, md5: str | None) -> MaskFindings:
    """Returns the findings of a mask, refused where it has no other fault than to be another file than is listed."""
    if not findings.is_ok or md5 is None or (found := fingerprint_file(mask_path, "md5")) == md5.lower():
        return findings
    reason = (
        f"{findings.exam_id}: expected the mask of the release, with MD5 {md5.lower()}, found MD5 {found}. Download it "
        "again; if it was changed on purpose, list its own MD5 in the table of annotation files."
    )
    return replace(findings, cause=Cause.WRONG_CHECKSUM, reason=reason)


def _label_fault(exam_id: str, labels: tuple[int, ...]) -> str | None:
    strangers = [label for label in labels if label not in ALLOWED_LABELS]
    if not strangers:
        return None
    named = ", ".join(str(label) for label in strangers[:MOST_LABELS_NAMED])
    more = f" and {len(strangers) - MOST_LABELS_NAMED} more" if len(strangers) > MOST_LABELS_NAMED else ""
    allowed = ", ".join(str(label) for label in sorted(ALLOWED_LABELS))
    return f"{exam_id}: expected labels {allowed} in the mask, found also {named}{more}."


def _count(region: NDArray[np.bool_]) -> StructureCount:
    _, components = cc3d.connected_components(region, connectivity=6, return_N=True)
    return StructureCount(int(np.count_nonzero(region)), int(components))


def _row(found: MaskFindings, home: Path) -> dict[str, object]:
    counted: dict[str, object] = {}
    for structure, count in found.counts.items():
        counted[f"{structure}_voxels"] = count.voxels
        counted[f"{structure}_components"] = count.components
    return {
        "exam_id": found.exam_id,
        "patient_id": found.patient_id,
        "status": "ok" if found.is_ok else "failed",
        "cause": None if found.cause is None else str(found.cause),
        "reason": found.reason,
        "path": relative_to_home(found.path, home) if found.path else None,
        "labels": ", ".join(str(label) for label in found.labels[:MOST_LABELS_NAMED]) or None,
        "stored_type": found.stored_type,
        **counted,
        "geometry_difference": found.geometry_difference,
        "notes": " | ".join(found.notes) or None,
        "sha256": found.sha256,
    }
