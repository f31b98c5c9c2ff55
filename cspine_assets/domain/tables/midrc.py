"""Tables of schema ``midrc``: the six tables of a MIDRC download as they came, with types, and its files.

Add a column when a release documents one; until then it is kept as text in ``extra_columns``. A dot in
MIDRC's name of a column is an underscore here; meanings that the study derives belong to schema ``cohort``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from cspine_assets.domain.tables.base import Integer, Number, Table, Text, column

SEXES: Final = ("Female", "Male", "Not Reported")
RACES: Final = (
    "American Indian or Alaska Native",
    "Asian",
    "Black or African American",
    "Native Hawaiian or other Pacific Islander",
    "Other",
    "White",
    "Not Reported",
)
ETHNICITIES: Final = ("Hispanic or Latino", "Not Hispanic or Latino", "Not Reported")
YES_NO: Final = ("Yes", "No")
FILE_KINDS: Final = ("table", "image", "mask", "series", "instance", "other")

_EXTRA = "Columns that this description does not know, as one JSON object; missing where there are none"
_MODIFIED = "Whether the images were modified before release"


class Cases(Table):
    """One row per patient, as the data commons describes a case."""

    submitter_id: Text = column("Patient")
    type: Text = column("Node of the data commons", nullable=True)
    datasets: Text = column("Dataset the case belongs to", nullable=True)
    case_ids: Text = column("Patient again, where given", nullable=True)
    age_at_index: Number = column(
        "Age at the index event; missing for those over 89", unit="years", nullable=True, ge=0, le=89
    )
    age_at_index_gt89: Text = column("Whether the patient was over 89 at the index event", nullable=True, isin=YES_NO)
    sex: Text = column("Sex", nullable=True, isin=SEXES)
    race: Text = column("Race", nullable=True, isin=RACES)
    ethnicity: Text = column("Ethnicity", nullable=True, isin=ETHNICITIES)
    country_of_residence: Text = column("Country of residence", nullable=True)
    covid19_positive: Text = column("Whether a COVID-19 test was ever positive", nullable=True)
    gen3_linked_subjects_available: Text = column("Whether other resources hold data of the patient", nullable=True)
    icu_indicator: Text = column("Whether the patient was admitted to intensive care", nullable=True)
    index_event: Text = column("Event that dates are counted from", nullable=True)
    linked_external_data: Text = column("Other resources that hold data of the patient", nullable=True)
    long_covid_diagnosis: Text = column("Whether long COVID was diagnosed", nullable=True)
    site_id: Text = column("De-identified site code", nullable=True)
    token_record_id: Text = column("De-identified link to other resources", nullable=True)
    ventilator_indicator: Text = column("Whether the patient was ventilated", nullable=True)
    treatment_info: Text = column("Whether treatment information is available", nullable=True)
    zip: Text = column("First three digits of the postal code; leading zeros count", nullable=True)
    extra_columns: Text = column(_EXTRA, nullable=True)

    class Config:
        """Name and key."""

        name = "midrc.cases"
        unique = ["submitter_id"]


class ImagingStudies(Table):
    """One row per imaging study, as the data commons describes it."""

    submitter_id: Text = column("DICOM StudyInstanceUID")
    type: Text = column("Node of the data commons", nullable=True)
    case_ids: Text = column("Patient")
    cases_submitter_id: Text = column("Patient again, where given", nullable=True)
    study_uid: Text = column("DICOM StudyInstanceUID again, where given", nullable=True)
    age_at_imaging: Number = column(
        "Age at the study; missing for those over 89", unit="years", nullable=True, ge=0, le=89
    )
    age_at_imaging_gt89: Text = column("Whether the patient was over 89 at the study", nullable=True, isin=YES_NO)
    body_part_examined: Text = column("Body part", nullable=True)
    days_to_study: Integer = column("Days from the index event to the study", unit="days", nullable=True)
    image_data_modified: Text = column(_MODIFIED, nullable=True)
    loinc_code: Text = column("LOINC code of the study", nullable=True)
    loinc_contrast: Text = column("LOINC contrast", nullable=True)
    loinc_long_common_name: Text = column("LOINC name", nullable=True)
    loinc_method: Text = column("LOINC method", nullable=True)
    loinc_system: Text = column("LOINC system", nullable=True)
    study_description: Text = column("Description of the study", nullable=True)
    study_modality: Text = column("Modality of the study", nullable=True)
    study_year: Integer = column("Year of the study", nullable=True)
    study_year_shifted: Text = column("Whether the year was shifted for privacy", nullable=True)
    extra_columns: Text = column(_EXTRA, nullable=True)

    class Config:
        """Name and key."""

        name = "midrc.imaging_studies"
        unique = ["submitter_id"]


class MrSeries(Table):
    """One row per MR series with its acquisition parameters, as the data commons describes it."""

    submitter_id: Text = column("DICOM SeriesInstanceUID")
    type: Text = column("Node of the data commons", nullable=True)
    imaging_studies_submitter_id: Text = column("DICOM StudyInstanceUID")
    case_ids: Text = column("Patient")
    series_uid: Text = column("DICOM SeriesInstanceUID again, where given", nullable=True)
    number_of_instances: Integer = column("DICOM instances of the series", ge=0)
    manufacturer: Text = column("Manufacturer as the scanner spells it", nullable=True)
    manufacturer_model_name: Text = column("Scanner model", nullable=True)
    magnetic_field_strength: Number = column("Field strength", unit="T", nullable=True, gt=0)
    echo_time: Number = column("Echo time", unit="ms", nullable=True, ge=0)
    repetition_time: Number = column("Repetition time", unit="ms", nullable=True, ge=0)
    echo_train_length: Integer = column("Echo train length", nullable=True, ge=0)
    echo_number: Text = column("Echo number", nullable=True)
    pixel_spacing: Number = column("In-plane spacing", unit="mm", nullable=True, gt=0)
    imager_pixel_spacing: Number = column("In-plane spacing at the detector", unit="mm", nullable=True, gt=0)
    slice_thickness: Number = column("Slice thickness", unit="mm", nullable=True, gt=0)
    spacing_between_slices: Number = column("Distance of neighbouring slice centres", unit="mm", nullable=True)
    spatial_resolution: Text = column("Spatial resolution", nullable=True)
    modality: Text = column("Modality", nullable=True)
    mr_acquisition_type: Text = column("2D or 3D", nullable=True)
    series_description: Text = column("Description of the series", nullable=True)
    angio_flag: Text = column("DICOM AngioFlag", nullable=True)
    contrast_bolus_agent: Text = column("Contrast agent", nullable=True)
    diffusion_b_value: Text = column("Diffusion b-value", nullable=True)
    diffusion_gradient_orientation: Text = column("Diffusion gradient orientation", nullable=True)
    image_type: Text = column("DICOM ImageType", nullable=True)
    imaged_nucleus: Text = column("Imaged nucleus", nullable=True)
    lossy_image_compression: Text = column("DICOM code 00 (never) or 01 (once lossy)", nullable=True)
    number_of_temporal_positions: Text = column("Temporal positions", nullable=True)
    scan_options: Text = column("DICOM ScanOptions", nullable=True)
    scanning_sequence: Text = column("DICOM ScanningSequence", nullable=True)
    sequence_name: Text = column("Sequence name", nullable=True)
    sequence_variant: Text = column("DICOM SequenceVariant", nullable=True)
    software_version: Text = column("Scanner software", nullable=True)
    data_type: Text = column("Data type", nullable=True)
    data_format: Text = column("Data format", nullable=True)
    data_category: Text = column("Data category", nullable=True)
    image_data_modification_method: Text = column("How the images were modified before release", nullable=True)
    image_data_modification_name: Text = column("Name of that modification", nullable=True)
    image_data_modified: Text = column(_MODIFIED, nullable=True)
    extra_columns: Text = column(_EXTRA, nullable=True)

    class Config:
        """Name and key."""

        name = "midrc.mr_series"
        unique = ["submitter_id"]


class AnnotationFiles(Table):
    """One row per shipped NIfTI file, a scan or a mask, as the data commons lists it."""

    submitter_id: Text = column("Record of the file")
    type: Text = column("Node of the data commons", nullable=True)
    mr_series_files_submitter_id: Text = column("DICOM SeriesInstanceUID of the scan", nullable=True)
    case_ids: Text = column("Patient, where given", nullable=True)
    file_name: Text = column("File name")
    file_size: Integer = column("File size", unit="bytes", nullable=True, ge=0)
    md5sum: Text = column("MD5 of the file", nullable=True)
    annotation_name: Text = column("Name of the annotation", nullable=True)
    annotation_method: Text = column("How the annotation was made, as the release says", nullable=True)
    data_type: Text = column("Data type", nullable=True)
    data_format: Text = column("Data format", nullable=True)
    data_category: Text = column("Data category", nullable=True)
    object_id: Text = column("Identifier in the data commons", nullable=True)
    extra_columns: Text = column(_EXTRA, nullable=True)

    class Config:
        """Name and key."""

        name = "midrc.annotation_files"
        unique = ["submitter_id"]


class ImageManifest(Table):
    """One row per DICOM instance, found by the meaning of the manifest's column names."""

    row: Integer = column("Position in the manifest, from 1", ge=1)
    instance_uid: Text = column("DICOM SOPInstanceUID, or the instance's record", nullable=True)
    series_uid: Text = column("DICOM SeriesInstanceUID", nullable=True)
    study_uid: Text = column("DICOM StudyInstanceUID", nullable=True)
    patient_id: Text = column("Patient", nullable=True)
    file_name: Text = column("File name or path", nullable=True)
    file_size: Integer = column("File size", unit="bytes", nullable=True, ge=0)
    md5sum: Text = column("MD5 of the file", nullable=True)
    object_id: Text = column("Identifier in the data commons", nullable=True)
    extra_columns: Text = column(_EXTRA, nullable=True)

    class Config:
        """Name and key."""

        name = "midrc.image_manifest"
        unique = ["row"]


class ClinicalManifest(Table):
    """One row per other table of the release, as its manifest lists them."""

    file_name: Text = column("File name")
    file_size: Integer = column("File size", unit="bytes", nullable=True, ge=0)
    md5sum: Text = column("MD5 of the file", nullable=True)
    object_id: Text = column("Identifier in the data commons", nullable=True)
    extra_columns: Text = column(_EXTRA, nullable=True)

    class Config:
        """Name and key."""

        name = "midrc.clinical_manifest"
        unique = ["file_name"]


class Files(Table):
    """One row per file of the download, wherever it lies; the instances of a series stand below their archive."""

    location: Text = column("Place below the folder of the download, through archives, with forward slashes")
    folder: Text = column("Folder (or archive) that holds it; a dot is the download's own folder")
    name: Text = column("File name")
    kind: Text = column(
        "table, image (shipped scan), mask, series (archive or folder of instances), instance, or other",
        isin=FILE_KINDS,
    )
    series_uid: Text = column("DICOM SeriesInstanceUID, of a series and its instances", nullable=True)
    size_bytes: Integer = column("Size; of an extracted series, the sum over its instances", unit="bytes", ge=0)
    md5: Text = column("MD5 of the content, where a table of the release gives one to compare with", nullable=True)
    problem: Text = column("Why the file could not be read; missing otherwise", nullable=True)

    class Config:
        """Name and key."""

        name = "midrc.files"
        unique = ["location"]


@dataclass(frozen=True)
class MidrcNode:
    """How a table of the release is found and read.

    Attributes:
        name: Node of the data commons; its file is ``<name>_*.tsv``.
        table: Its description.
        required: Described columns without which nothing can be built on the table.
        synonyms: Other names of a described column, in lower case without separators; the first that is there
            wins.
        expected_values: Values known so far of columns whose lists grow with releases. Another value is
            reported and kept: nothing is counted or grouped by these columns without a look at them. The
            values that block (sex, race, ethnicity, over 89) stand in the descriptions: they make the strata
            of the split and the groups of every published number, where an unknown value would be a group
            that nobody defined.
    """

    name: str
    table: type[Table]
    required: tuple[str, ...]
    synonyms: dict[str, tuple[str, ...]] = field(default_factory=dict)
    expected_values: dict[str, tuple[str, ...]] = field(default_factory=dict)


_FILE_SYNONYMS: Final = {
    "file_name": ("filename", "name", "filepath", "path", "storageurls", "storageurl", "url", "urls"),
    "file_size": ("filesize", "size"),
    "md5sum": ("md5sum", "md5", "md5hash"),
    "object_id": ("objectid", "guid", "did"),
}

NODES: Final[tuple[MidrcNode, ...]] = (
    MidrcNode("case", Cases, required=("submitter_id", "sex", "race", "ethnicity", "age_at_index")),
    MidrcNode(
        "imaging_study",
        ImagingStudies,
        required=("submitter_id", "case_ids"),
        expected_values={"study_modality": ("MR",)},
    ),
    MidrcNode(
        "mr_series",
        MrSeries,
        required=(
            "submitter_id",
            "imaging_studies_submitter_id",
            "case_ids",
            "number_of_instances",
            "manufacturer",
            "magnetic_field_strength",
        ),
        expected_values={
            "modality": ("MR",),
            "manufacturer": ("SIEMENS", "Siemens", "GE MEDICAL SYSTEMS"),
            "mr_acquisition_type": ("2D", "3D"),
            "lossy_image_compression": ("00", "01"),
        },
    ),
    MidrcNode(
        "annotation_file",
        AnnotationFiles,
        required=("submitter_id", "mr_series_files_submitter_id", "file_name"),
        expected_values={
            "annotation_method": (
                "Clinically_derived",
                "Retrospective_expert",
                "Retrospective_general",
                "Retrospective_auto",
            )
        },
    ),
    MidrcNode(
        "image_manifest",
        ImageManifest,
        required=(),
        synonyms={
            "instance_uid": (
                "sopinstanceuid",
                "instanceuid",
                "imageuid",
                "sopuid",
                "instanceid",
                "submitterid",
            ),
            "series_uid": (
                "seriesinstanceuid",
                "seriesuid",
                "mrseriessubmitterid",
                "mrseriesfilessubmitterid",
                "seriesid",
                "seriessubmitterid",
            ),
            "study_uid": (
                "studyinstanceuid",
                "studyuid",
                "imagingstudiessubmitterid",
                "studyid",
                "imagingstudysubmitterid",
            ),
            "patient_id": (
                "patientid",
                "caseids",
                "caseid",
                "casessubmitterid",
                "casesubmitterid",
                "subjectid",
            ),
            **_FILE_SYNONYMS,
        },
    ),
    MidrcNode("clinical_manifest", ClinicalManifest, required=("file_name",), synonyms=_FILE_SYNONYMS),
)
"""The tables of a release, in the order in which their keys are referred to."""
