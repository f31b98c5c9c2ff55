"""Tables of schema ``imaging``: volumes, masks, what headers still say, and why something is missing.

Add a column when a conversion or a mask check measures something new.
Rules of conversion stand in the imaging wing, not here.
"""

from __future__ import annotations

from cspine_assets.domain.anatomy import ALLOWED_LABELS
from cspine_assets.domain.tables.base import Integer, Number, Table, Text, column

_LABELS_TEXT = ", ".join(str(label) for label in sorted(ALLOWED_LABELS))

STATUSES = ("ok", "failed")

FILE_CAUSES = ("missing", "damaged", "unsafe_archive", "not_a_volume", "unplaced", "unexpected")
"""What can be wrong with any file: absent; cut or corrupt; hostile or too large; no readable 3-D NIfTI; without a qform
or sform; something that nobody foresaw."""

VOLUME_CAUSES = (
    *FILE_CAUSES,
    "wrong_identity",  # of another patient or series than the tables say
    "mixed_series",  # several series, patients, matrices, orientations or kinds of image in one
    "other_kind",  # no sagittal stack of MR slices
    "slice_count",  # more or fewer than number_of_instances
    "repeated_slices",  # several at one position: echoes, repetitions, copies
    "uneven_slices",  # a gap between slices, or slices aside of one another
    "converter",  # dcm2niix did not make one volume of it
    "differs_from_headers",  # what dcm2niix made lies elsewhere than the headers say
    "differs_from_pixels",  # a slice of it holds another picture, or is scaled otherwise, than its instance
    "no_picture",  # all voxels alike, or no finite numbers
    "worker_died",  # twice over this series
)
MASK_CAUSES = (
    *FILE_CAUSES,
    "interpolated",
    "strange_labels",
    "other_grid",
    "structure_missing",
    "wrong_checksum",  # another file than the release lists
    "worker_died",
)


class Volumes(Table):
    """One row per exam of a converted patient: the NIfTI volume, or the reason why there is none."""

    exam_id: Text = column("Exam: patient, study and series number")
    patient_id: Text = column("Patient")
    series_uid: Text = column("DICOM SeriesInstanceUID")
    status: Text = column("ok, or failed: then only the reason is given", isin=STATUSES)
    cause: Text = column(f"Kind of failure: {', '.join(VOLUME_CAUSES)}", nullable=True, isin=VOLUME_CAUSES)
    reason: Text = column("Why the conversion failed: expected and found", nullable=True)
    origin: Text = column(
        "Where the voxels come from: dicom (converted here) or shipped_nifti",
        nullable=True,
        isin=("dicom", "shipped_nifti"),
    )
    path: Text = column("NIfTI file, relative to the home", nullable=True)
    size_0: Integer = column("Voxels along the first array axis", nullable=True, ge=1)
    size_1: Integer = column("Voxels along the second array axis", nullable=True, ge=1)
    size_2: Integer = column("Voxels along the third array axis", nullable=True, ge=1)
    spacing_0_mm: Number = column("Voxel spacing along the first array axis", unit="mm", nullable=True, gt=0)
    spacing_1_mm: Number = column("Voxel spacing along the second array axis", unit="mm", nullable=True, gt=0)
    spacing_2_mm: Number = column("Voxel spacing along the third array axis", unit="mm", nullable=True, gt=0)
    axis_codes: Text = column("Where the array axes point, such as PSR", nullable=True)
    slice_axis: Integer = column("Array axis nearest to left-right, from the affine", nullable=True, isin=(0, 1, 2))
    instance_count: Integer = column("DICOM instances in the series", nullable=True, ge=1)
    equals_shipped: Text = column(
        "Against the shipped NIfTI: equal, voxels_differ, geometry_differs, unreadable, or absent",
        nullable=True,
        isin=("equal", "voxels_differ", "geometry_differs", "unreadable", "absent"),
    )
    converter: Text = column("Tool and version that made the volume", nullable=True)
    warnings: Text = column("Warnings of the converter, joined by ' | '; no values of identifying tags", nullable=True)
    sha256: Text = column("SHA-256 of the NIfTI as it is inflated, whatever its compression", nullable=True)

    class Config:
        """Name and key."""

        name = "imaging.volumes"
        unique = ["exam_id"]


class Masks(Table):
    """One row per exam that has a volume: its shipped mask checked against it, or why it cannot be used."""

    exam_id: Text = column("Exam: patient, study and series number")
    patient_id: Text = column("Patient")
    status: Text = column("ok, or failed: then only the reason is given", isin=STATUSES)
    cause: Text = column(f"Kind of failure: {', '.join(MASK_CAUSES)}", nullable=True, isin=MASK_CAUSES)
    reason: Text = column("Why the mask cannot be used: expected and found", nullable=True)
    path: Text = column("Mask file, relative to the home", nullable=True)
    labels: Text = column(f"Labels present in the mask, joined by a comma; allowed are {_LABELS_TEXT}", nullable=True)
    vertebral_body_voxels: Integer = column("Voxels of vertebral bodies", nullable=True, ge=0)
    intervertebral_disc_voxels: Integer = column("Voxels of intervertebral discs", nullable=True, ge=0)
    vertebral_body_components: Integer = column("6-connected components of vertebral bodies", nullable=True, ge=0)
    intervertebral_disc_components: Integer = column("6-connected components of discs", nullable=True, ge=0)
    stored_type: Text = column("Number type of the mask's voxels, such as uint8", nullable=True)
    geometry_difference: Text = column("What differs from the volume's grid; empty when equal", nullable=True)
    notes: Text = column("What is unusual about the mask and does no harm, joined by ' | '", nullable=True)
    sha256: Text = column("SHA-256 of the mask as it is inflated, whatever its compression", nullable=True)

    class Config:
        """Name and key."""

        name = "imaging.masks"
        unique = ["exam_id"]


class HeaderFindings(Table):
    """One row per place in an exam's headers that may speak of a person; never the value."""

    exam_id: Text = column("Exam: patient, study and series number")
    patient_id: Text = column("Patient")
    tag: Text = column("DICOM tag, such as (0010,0010)")
    keyword: Text = column("The standard's name of the element, or what is known of a private one")
    kind: Text = column(
        "identifying, date (times too), free_text (comments, or text that names the patient), private, or burned_in",
        isin=("identifying", "date", "free_text", "private", "burned_in"),
    )
    instance_count: Integer = column("Instances of the series with it", ge=1)

    class Config:
        """Name and key."""

        name = "imaging.header_findings"
        unique = ["exam_id", "tag", "keyword", "kind"]
