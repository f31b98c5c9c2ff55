import hashlib
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pytest

from cspine_assets.domain.cohort.exams import ExamsBuilt, build_exams
from cspine_assets.domain.cohort.midrc_tables import read_midrc_table
from cspine_assets.domain.cohort.source import find_source
from cspine_assets.domain.tables.base import Table
from cspine_assets.domain.tables.midrc import AnnotationFiles, Cases, ImagingStudies, MrSeries

STEM = "593973-{patient:06d}_Study-MR-{study}_Series-1"


def uid(number: int) -> str:
    return f"1.2.826.0.1.3680043.10.474.593973.{number}"


@dataclass
class Download:
    """A download as rows, to be changed by a test before it is written."""

    case: list[dict] = field(default_factory=list)
    imaging_study: list[dict] = field(default_factory=list)
    mr_series: list[dict] = field(default_factory=list)
    annotation_file: list[dict] = field(default_factory=list)
    image_manifest: list[dict] = field(default_factory=list)
    clinical_manifest: list[dict] = field(default_factory=lambda: [{"file_name": "case_RSNA_20250321.tsv"}])

    def add_patient(self, number: int, exams: int = 1, **case: object) -> None:
        patient = f"593973-{number:06d}"
        values = {
            "sex": "Female" if number % 2 else "Male",
            "race": ("White", "Black or African American", "Asian")[number % 3],
            "ethnicity": "Not Hispanic or Latino",
            "age_at_index": 20 + number * 7 % 65,
            "age_at_index_gt89": "No",
        }
        self.case.append({"submitter_id": patient, "zip": "012", **values, **case})
        for study in range(1, exams + 1):
            self._add_exam(number, patient, study)

    def _add_exam(self, number: int, patient: str, study: int) -> None:
        study_uid, series_uid = uid(number * 100 + study), uid(number * 100 + study + 50)
        age = self.case[-1]["age_at_index"]
        over = self.case[-1]["age_at_index_gt89"]
        self.imaging_study.append(
            {
                "submitter_id": study_uid,
                "case_ids": patient,
                "cases.submitter_id": patient,
                "age_at_imaging": age,
                "age_at_imaging_gt89": over,
                "study_year": 2019,
            }
        )
        self.mr_series.append(
            {
                "submitter_id": series_uid,
                "imaging_studies.submitter_id": study_uid,
                "case_ids": patient,
                "number_of_instances": 2,
                "manufacturer": ("SIEMENS", "Siemens", "GE MEDICAL SYSTEMS")[number % 3],
                "manufacturer_model_name": "Skyra",
                "magnetic_field_strength": (1.5, 3)[number % 2],
                "lossy_image_compression": "00",
                "pixel_spacing": "[0.5, 0.5]",
                "echo_time": "101.5",
            }
        )
        stem = STEM.format(patient=number, study=study)
        for name in (f"{stem}.nii.gz", f"{stem}_SEG.nii.gz"):
            self.annotation_file.append(
                {
                    "submitter_id": f"file-{name}",
                    "mr_series_files.submitter_id": series_uid,
                    "file_name": name,
                    "file_size": len(name),
                    "md5sum": hashlib.md5(name.encode(), usedforsecurity=False).hexdigest(),
                    "annotation_method": "Retrospective_auto",
                }
            )
        for instance in range(2):
            self.image_manifest.append(
                {
                    "SOPInstanceUID": f"{series_uid}.{instance}",
                    "SeriesInstanceUID": series_uid,
                    "StudyInstanceUID": study_uid,
                    "case_ids": patient,
                }
            )

    def tables(self) -> dict[str, pd.DataFrame]:
        return {name: pd.DataFrame(getattr(self, name)) for name in self.__dataclass_fields__}

    def write(self, folder: Path, *, prefix: str = "DukeCSpineSeg_", date: str = "20250321") -> Path:
        structured = folder / f"{prefix}structured"
        structured.mkdir(parents=True, exist_ok=True)
        for name, frame in self.tables().items():
            frame.to_csv(structured / f"{name}_RSNA_{date}.tsv", sep="\t", index=False)
        for row in self.annotation_file:
            part = "segmentation" if "_SEG" in row["file_name"] else "annotation"
            path = folder / f"{prefix}{part}" / row["file_name"]
            path.parent.mkdir(exist_ok=True)
            path.write_text(row["file_name"])
        for row in self.mr_series:
            place = folder / f"{prefix}imaging_files" / "case_image" / row["case_ids"]
            place = place / row["imaging_studies.submitter_id"]
            place.mkdir(parents=True, exist_ok=True)
            with zipfile.ZipFile(place / f"{row['submitter_id']}.zip", "w") as archive:
                archive.writestr("folder/1", b"dicom")
        return folder


@pytest.fixture
def download() -> Download:
    made = Download()
    for number in range(1, 7):
        made.add_patient(number, exams=2 if number == 3 else 1)
    return made


@pytest.fixture
def frames(tmp_path: Path) -> Callable[[Download], dict[type[Table], pd.DataFrame]]:
    def read(download: Download) -> dict[type[Table], pd.DataFrame]:
        source = find_source(download.write(tmp_path / "frames"))
        tables = (Cases, ImagingStudies, MrSeries, AnnotationFiles)
        return {table: read_midrc_table(source, table).frame for table in tables}

    return read


@pytest.fixture
def build(frames) -> Callable[[Download], ExamsBuilt]:
    return lambda download: build_exams(*frames(download).values())


@pytest.fixture
def experts(tmp_path: Path) -> Callable[..., Path]:
    def write(*stems: str) -> Path:
        path = tmp_path / "guppy.json"
        files = [{"file_name": f"{stem}_SEG.nii.gz"} for stem in stems]
        path.write_text(json.dumps({"data": {"data_file": files}}))
        return path

    return write
