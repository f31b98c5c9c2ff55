"""The six tables of a synthetic cohort, column for column as MIDRC ships them.

Add here a column or a value that a release holds.
Images are not read here: a table needs the cohort's plan and the facts of the files, wherever they come from.
"""

from __future__ import annotations

import csv
import hashlib
import uuid
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cspine_assets.domain.phantom.columns import (
    ANNOTATION_FILE,
    CASE,
    CLINICAL_MANIFEST,
    IMAGE_MANIFEST,
    IMAGING_STUDY,
    MR_SERIES,
)
from cspine_assets.domain.phantom.files import FileFacts, file_facts
from cspine_assets.domain.phantom.plan import CohortPlan, ExamPlan

RELEASE: Final = "RSNA_20250321"
DATASET: Final = "Open-Duke-CSpineSeg"
METHOD_IN_TABLE: Final = "Retrospective_auto"
"""What the release of 2025-03-21 says of every mask, also of those that experts drew."""

LISTED_NODES: Final = ("case", "imaging_study", "mr_series", "annotation_file", "image_manifest")
"""The tables that the clinical manifest lists: all others than itself."""

Row = dict[str, str]


@dataclass(frozen=True)
class InstanceFacts:
    """What the image manifest says about one DICOM instance."""

    uid: str
    number: int
    file: FileFacts


@dataclass(frozen=True)
class ExamFiles:
    """What the tables say about one exam's files."""

    image: FileFacts
    mask: FileFacts
    instances: tuple[InstanceFacts, ...]


def table_name(node: str) -> str:
    """Returns the file name of a node's table."""
    return f"{node}_{RELEASE}.tsv"


def imagined_files(exam: ExamPlan) -> ExamFiles:
    """Returns facts of files that nobody wrote: of a usual size, with a checksum made of the name."""
    instances = [(exam.instance_uid(place), exam.instance_number(place)) for place in range(exam.acquisition.slices)]
    return ExamFiles(
        image=_imagined(exam.image_file_name, 1_000_000),
        mask=_imagined(exam.mask_file_name, 20_000),
        instances=tuple(InstanceFacts(uid, number, _imagined(f"{uid}.dcm", 300_000)) for uid, number in instances),
    )


def _imagined(name: str, size: int) -> FileFacts:
    return FileFacts(name, size, hashlib.md5(name.encode(), usedforsecurity=False).hexdigest())


def write_tables(folder: Path, plan: CohortPlan, files: Iterable[ExamFiles]) -> None:
    """Writes the six tables, row by row, so that a million of them need no memory.

    Args:
        folder: New folder.
        plan: Patients and exams.
        files: The facts of each exam's files, in the order of the plan's exams; gone through once.
    """
    folder.mkdir(parents=True)
    with ExitStack() as stack:

        def begun(node: str, columns: Sequence[str]) -> csv.DictWriter[str]:
            stream = stack.enter_context((folder / table_name(node)).open("w", newline="", encoding="utf-8"))
            writer = csv.DictWriter(stream, columns, restval="", delimiter="\t", lineterminator="\n")
            writer.writeheader()
            return writer

        begun("case", CASE).writerows(_case(exam) for exam in plan.exams if exam.study_number == 1)
        begun("imaging_study", IMAGING_STUDY).writerows(_imaging_study(exam) for exam in plan.exams)
        begun("mr_series", MR_SERIES).writerows(_mr_series(exam) for exam in plan.exams)
        annotations, instances = begun("annotation_file", ANNOTATION_FILE), begun("image_manifest", IMAGE_MANIFEST)
        for exam, own in zip(plan.exams, files, strict=True):
            annotations.writerows(_annotations(exam, own))
            instances.writerows(_instances(exam, own))
    written = [folder / table_name(node) for node in LISTED_NODES]
    entries = [_manifest_entry(file_facts(path.name, path.read_bytes())) for path in written]
    with (folder / table_name("clinical_manifest")).open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, CLINICAL_MANIFEST, restval="", delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(entries)


def _object_id(name: str) -> str:
    """Returns an identifier made of the name alone, under a prefix that no data commons owns."""
    return f"dg.PHANTOM/{uuid.uuid5(uuid.NAMESPACE_OID, name)}"


def _age(column: str, age_years: int) -> Row:
    over = age_years > 89
    return {column: "" if over else str(age_years), f"{column}_gt89": "Yes" if over else "No"}


def _case(first_exam: ExamPlan) -> Row:
    patient = first_exam.patient
    return {
        "type": "case",
        "submitter_id": patient.patient_id,
        "datasets": DATASET,
        **_age("age_at_index", patient.age_years),
        "case_ids": patient.patient_id,
        "country_of_residence": "USA",
        "covid19_positive": "Not Reported",
        "ethnicity": patient.ethnicity,
        "gen3_linked_subjects_available": "",
        "icu_indicator": "Not Reported",
        "index_event": "Imaging Study",
        "long_covid_diagnosis": "Not Reported",
        "race": patient.race,
        "sex": patient.sex,
        "site_id": "593973",
        "ventilator_indicator": "Not Reported",
        "treatment_info": "",
        "zip": "",
    }


def _imaging_study(exam: ExamPlan) -> Row:
    return {
        "submitter_id": exam.study_uid,
        "type": "imaging_study",
        "case_ids": exam.patient.patient_id,
        "cases.submitter_id": exam.patient.patient_id,
        **_age("age_at_imaging", exam.age_years),
        "body_part_examined": "CSPINE",
        "days_to_study": str(exam.days_to_study),
        "image_data_modified": "FALSE",
        "loinc_code": "24935-0",
        "loinc_contrast": "WO",
        "loinc_long_common_name": "MR Cervical spine WO contrast",
        "loinc_method": "MR",
        "loinc_system": "Spine.cervical",
        "study_description": "MRI CERVICAL SPINE WITHOUT CONTRAST",
        "study_modality": "MR",
        "study_uid": exam.study_uid,
        "study_year": str(exam.shifted_date.year),
        "study_year_shifted": "TRUE",
    }


def _mr_series(exam: ExamPlan) -> Row:
    acquisition, scanner = exam.acquisition, exam.acquisition.scanner
    return {
        "imaging_studies.submitter_id": exam.study_uid,
        "angio_flag": "N",
        "case_ids": exam.patient.patient_id,
        "echo_number": "1",
        "echo_train_length": str(acquisition.echo_train_length),
        "echo_time": f"{acquisition.echo_time_ms:g}",
        "image_type": "ORIGINAL, PRIMARY, OTHER" if acquisition.is_ge else "ORIGINAL, PRIMARY, M, ND",
        "imaged_nucleus": "1H",
        "lossy_image_compression": "00",
        "magnetic_field_strength": f"{scanner.field_strength_t:g}",
        "mr_acquisition_type": "3D" if acquisition.is_3d else "2D",
        "manufacturer": scanner.manufacturer,
        "manufacturer_model_name": scanner.model,
        "modality": "MR",
        "pixel_spacing": f"{acquisition.pixel_spacing_mm:.6g}",
        "series_description": acquisition.series_description,
        "series_uid": exam.series_uid,
        "repetition_time": f"{acquisition.repetition_time_ms:g}",
        "scan_options": acquisition.scan_options.replace("\\", ", "),
        "scanning_sequence": "SE",
        "sequence_name": acquisition.sequence_name,
        "sequence_variant": acquisition.sequence_variant.replace("\\", ", "),
        "slice_thickness": f"{acquisition.slice_thickness_mm:g}",
        "software_version": scanner.software.replace("\\", ", "),
        "spacing_between_slices": f"{acquisition.slice_spacing_mm:g}",
        "type": "mr_series",
        "data_type": "DICOM",
        "data_format": "DCM",
        "data_category": "MR",
        "submitter_id": exam.series_uid,
        "image_data_modified": "FALSE",
        "number_of_instances": str(acquisition.slices),
    }


def _annotations(exam: ExamPlan, files: ExamFiles) -> list[Row]:
    common = {
        "type": "annotation_file",
        "case_ids": exam.patient.patient_id,
        "mr_series_files.submitter_id": exam.series_uid,
        "annotation_name": "DukeCSpineSeg",
        "data_type": "Other Annotation",
        "data_format": "NIFTI",
        "data_category": "annotation_file",
    }
    return [
        {
            **common,
            "submitter_id": f"{facts.name.removesuffix('.nii.gz')}_annotation",
            "annotation_method": method,
            "file_name": facts.name,
            "file_size": str(facts.size),
            "md5sum": facts.md5,
            "object_id": _object_id(facts.name),
        }
        for facts, method in ((files.image, ""), (files.mask, METHOD_IN_TABLE))
    ]


def _instances(exam: ExamPlan, files: ExamFiles) -> list[Row]:
    return [
        {
            "submitter_id": instance.uid,
            "case_ids": exam.patient.patient_id,
            "study_uid": exam.study_uid,
            "series_uid": exam.series_uid,
            "instance_uid": instance.uid,
            "instance_number": str(instance.number),
            "file_name": instance.file.name,
            "file_size": str(instance.file.size),
            "md5sum": instance.file.md5,
            "object_id": _object_id(instance.uid),
            "archive": f"case_image/{exam.archive_name}",
        }
        for instance in files.instances
    ]


def _manifest_entry(facts: FileFacts) -> Row:
    return {
        "file_name": facts.name,
        "file_size": str(facts.size),
        "md5sum": facts.md5,
        "object_id": _object_id(f"{facts.name}/{facts.md5}"),
        "commons_url": "data.example.org",
    }
