"""Tables of schema ``cohort``: patients, exams, who drew the masks, the split, summaries and findings.

Add a column when something true of a patient or an exam is needed by more than one part of the platform.
How it is derived stands in the cohort wing; values as the release spells them belong to schema ``midrc``.
"""

from __future__ import annotations

from typing import Final

from cspine_assets.domain.tables.base import Integer, Number, Table, Text, Truth, column
from cspine_assets.domain.tables.midrc import ETHNICITIES, RACES, SEXES

PROVENANCES: Final = ("expert", "model", "unknown")
PARTS: Final = ("development", "test", "unannotated", "withheld")
SEVERITIES: Final = ("blocks", "warns")
GROUPINGS: Final = ("all", "provenance", "part", "sex", "manufacturer", "field_strength")

_EXAM = "Exam: patient, study and series number"
_GROUPED_BY = "What the group is told by: all, provenance of the mask, part of the split, sex, manufacturer, field"
_GROUP_VALUE = "The group, such as expert, test, Female, GE or 1.5 T; all for everybody"


class Patients(Table):
    """One row per patient of the release."""

    patient_id: Text = column("Patient")
    sex: Text = column("Sex; Not Reported where the release says nothing", isin=SEXES)
    race: Text = column("Race; Not Reported where the release says nothing", isin=RACES)
    ethnicity: Text = column("Ethnicity; Not Reported where the release says nothing", isin=ETHNICITIES)
    age_years: Number = column(
        "Age at the index event; missing for those over 89", unit="years", nullable=True, ge=0, le=89
    )
    age_over_89: Truth = column("Whether the age is withheld because it is over 89")
    exam_count: Integer = column("Exams of the patient", ge=0)

    class Config:
        """Name and key."""

        name = "cohort.patients"
        unique = ["patient_id"]


class Exams(Table):
    """One row per exam whose links all hold; every other exam stands in cohort.findings with its reason."""

    exam_id: Text = column(_EXAM)
    patient_id: Text = column("Patient")
    study_uid: Text = column("DICOM StudyInstanceUID")
    series_uid: Text = column("DICOM SeriesInstanceUID")
    study_number: Integer = column("Number of the study among the patient's, from the file name", ge=0)
    series_number: Integer = column("Number of the series in the study, from the file name", ge=0)
    image_file_name: Text = column("Shipped NIfTI of the scan", nullable=True)
    image_size_bytes: Integer = column("Its size, where the release gives it", unit="bytes", nullable=True, ge=0)
    image_md5: Text = column("Its MD5, where the release gives it", nullable=True)
    mask_file_name: Text = column("Shipped NIfTI of the mask", nullable=True)
    mask_size_bytes: Integer = column("Its size, where the release gives it", unit="bytes", nullable=True, ge=0)
    mask_md5: Text = column("Its MD5, where the release gives it", nullable=True)
    number_of_instances: Integer = column("DICOM instances of the series", ge=0)
    age_years: Number = column(
        "Age at imaging, or at the index event where that is not given; missing for those over 89",
        unit="years",
        nullable=True,
        ge=0,
        le=89,
    )
    age_over_89: Truth = column("Whether the age is withheld because it is over 89")
    sex: Text = column("Sex; Not Reported where the release says nothing", isin=SEXES)
    race: Text = column("Race; Not Reported where the release says nothing", isin=RACES)
    ethnicity: Text = column("Ethnicity; Not Reported where the release says nothing", isin=ETHNICITIES)
    manufacturer: Text = column("Manufacturer in one spelling: Siemens, GE, ...", nullable=True)
    manufacturer_raw: Text = column("Manufacturer as the scanner spells it", nullable=True)
    model: Text = column("Scanner model", nullable=True)
    magnetic_field_strength_t: Number = column("Field strength", unit="T", nullable=True, gt=0)
    acquisition_type: Text = column("2D or 3D", nullable=True)
    echo_time_ms: Number = column("Echo time", unit="ms", nullable=True, ge=0)
    repetition_time_ms: Number = column("Repetition time", unit="ms", nullable=True, ge=0)
    echo_train_length: Integer = column("Echo train length", nullable=True, ge=0)
    pixel_spacing_mm: Number = column("In-plane spacing", unit="mm", nullable=True, gt=0)
    slice_thickness_mm: Number = column("Slice thickness", unit="mm", nullable=True, gt=0)
    slice_spacing_mm: Number = column("Distance of neighbouring slice centres", unit="mm", nullable=True)
    study_year: Integer = column("Year of the study", nullable=True)

    class Config:
        """Name and key."""

        name = "cohort.exams"
        unique = ["exam_id"]


class AnnotationProvenance(Table):
    """One row per exam: who drew its mask, and how that is known."""

    exam_id: Text = column(_EXAM)
    patient_id: Text = column("Patient")
    provenance: Text = column("expert, model, or unknown: nothing trustworthy says who drew the mask", isin=PROVENANCES)
    source: Text = column("What says so: a file by its name, annotation_method (the release's table), or none")
    reason: Text = column("Why it is unknown; missing otherwise", nullable=True)
    annotation_method: Text = column("What the release's own table says, for comparison", nullable=True)

    class Config:
        """Name and key."""

        name = "cohort.annotation_provenance"
        unique = ["exam_id"]


class Splits(Table):
    """One row per exam: the part it plays; all exams of a patient are on one side."""

    exam_id: Text = column(_EXAM)
    patient_id: Text = column("Patient")
    part: Text = column(
        "development (trained on in folds), test, unannotated (no reference mask, patient on no other side), "
        "or withheld (not used: no reference mask although the patient is developed or tested on, or a reference "
        "mask that the user's file does not name)",
        isin=PARTS,
    )
    fold: Integer = column("Fold that holds the exam out; missing outside development", nullable=True, ge=0)
    annotation_provenance: Text = column("Who drew the mask", isin=PROVENANCES)
    rule: Text = column(
        "What made the split: published, all_expert or all_masks, or file: and the name of the user's file"
    )
    split_sha256: Text = column("SHA-256 over who is developed on (in which fold) and tested on; one value in all rows")

    class Config:
        """Name and key."""

        name = "cohort.splits"
        unique = ["exam_id"]


class SplitBalance(Table):
    """One row per stratum value and part: how far the parts are alike."""

    variable: Text = column("Stratum, such as sex")
    value: Text = column("Its value")
    part: Text = column("development, test, or fold_0, fold_1, ...")
    patient_count: Integer = column("Patients", unit="patients", ge=0)
    share: Number = column("Share of the part's patients", ge=0, le=1)
    standardized_difference: Number = column(
        "(share - share in all other annotated patients) / pooled standard deviation of a proportion; "
        "missing where nobody or everybody has the value",
        nullable=True,
    )

    class Config:
        """Name and key."""

        name = "cohort.split_balance"
        unique = ["variable", "value", "part"]


class Integrity(Table):
    """One row per check of the cohort: how much it looked at, and how much was wrong."""

    check_name: Text = column("Check; its findings stand in cohort.findings under this name")
    description: Text = column("What holds when nothing is found")
    checked_count: Integer = column("How many things it looked at", ge=0)
    checked_what: Text = column("What those things are")
    blocking_count: Integer = column("Findings that have to be mended (severity blocks)", ge=0)
    warning_count: Integer = column("Findings that a person should look at (severity warns)", ge=0)
    note: Text = column("What else a person should know of what it saw", nullable=True)

    class Config:
        """Name and key."""

        name = "cohort.integrity"
        unique = ["check_name"]


class Findings(Table):
    """One row per thing that is wrong with the cohort, found by one check."""

    check_name: Text = column("Check that found it")
    severity: Text = column(
        "blocks: it has to be mended, and an exam whose links do not hold is left out; warns: look at it",
        isin=SEVERITIES,
    )
    table_name: Text = column("Table or file where it was found")
    exam_id: Text = column("Exam concerned, where it is one", nullable=True)
    subject: Text = column("Key or file concerned")
    message: Text = column("What was expected, what came, and what to do")

    class Config:
        """Name."""

        name = "cohort.findings"


class Demographics(Table):
    """One row per demographic value and group; a patient whose exams are in two groups counts in each, once in all."""

    grouped_by: Text = column(_GROUPED_BY, isin=GROUPINGS)
    group_value: Text = column(_GROUP_VALUE)
    variable: Text = column("sex, race, ethnicity, age_years or age_over_89")
    value: Text = column("Value counted; all for a number")
    patient_count: Integer = column("Patients with the value, or with a number", unit="patients", ge=0)
    share: Number = column("Share of the patients of this group", nullable=True, ge=0, le=1)
    missing_count: Integer = column("Patients without any value of the variable", unit="patients", ge=0)
    mean: Number = column("Mean, for a number", nullable=True)
    sd_sample: Number = column("Standard deviation with n - 1 in the denominator, for a number", nullable=True)

    class Config:
        """Name and key."""

        name = "cohort.demographics"
        unique = ["grouped_by", "group_value", "variable", "value"]


class ImagingParameters(Table):
    """One row per imaging parameter (and value, where it is a category) and group, over exams."""

    grouped_by: Text = column(_GROUPED_BY, isin=GROUPINGS)
    group_value: Text = column(_GROUP_VALUE)
    parameter: Text = column("Column of cohort.exams; the unit is in its name")
    value: Text = column("Value counted; all for a number")
    exam_count: Integer = column("Exams with the value, or with a number", unit="exams", ge=0)
    share: Number = column("Share of the exams of this group", nullable=True, ge=0, le=1)
    missing_count: Integer = column("Exams without any value of the parameter", unit="exams", ge=0)
    mean: Number = column("Mean, for a number", nullable=True)
    sd_sample: Number = column("Standard deviation with n - 1 in the denominator, for a number", nullable=True)
    minimum: Number = column("Smallest, for a number", nullable=True)
    median: Number = column("Median, for a number", nullable=True)
    maximum: Number = column("Largest, for a number", nullable=True)

    class Config:
        """Name and key."""

        name = "cohort.imaging_parameters"
        unique = ["grouped_by", "group_value", "parameter", "value"]
