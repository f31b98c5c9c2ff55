"""Every planted defect through the assets, in range runs over one cohort: each bad patient alone, all others whole."""

from __future__ import annotations

import gzip
import io
import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import nibabel as nib
import numpy as np
import pydicom
import pytest

from cspine_assets.definitions import defs
from cspine_assets.defs.driver import RANGE_END, RANGE_START, materialize
from cspine_assets.defs.imaging import deidentified
from cspine_assets.defs.instance import open_instance
from cspine_assets.defs.io import asset_key
from cspine_assets.defs.resources import StudyResource
from cspine_assets.domain.home import Home, HomeSettings
from cspine_assets.domain.imaging.refusal import Cause
from cspine_assets.domain.phantom.cohort import PROVENANCE_FILE, write_cohort
from cspine_assets.domain.phantom.defects import Download
from cspine_assets.domain.phantom.files import file_facts
from cspine_assets.domain.phantom.plan import ExamPlan, plan_cohort
from cspine_assets.domain.phantom.settings import CohortSettings
from cspine_assets.domain.tables.imaging import HeaderFindings, Masks, Volumes
from cspine_assets_tests.domain.imaging.dicom_series import write_series
from cspine_assets_tests.domain.imaging.planted_series import SERIES_DEFECTS, STRANGER

COHORT = CohortSettings(patients=70, seed=5, matrix=80, slices_min=6, slices_max=6, expert_fraction=1)


@dataclass(frozen=True)
class Exam:
    """An exam's files in the download."""

    plan: ExamPlan
    root: Path

    @property
    def series(self) -> Path:
        return next(self.root.rglob("case_image")) / self.plan.archive_name

    @property
    def image(self) -> Path:
        return next(self.root.rglob(self.plan.image_file_name))

    @property
    def mask(self) -> Path:
        return next(self.root.rglob(self.plan.mask_file_name))

    def instances(self) -> list[pydicom.FileDataset]:
        """Its slices, in the order of their positions."""
        with zipfile.ZipFile(self.series) as archive:
            read = [pydicom.dcmread(io.BytesIO(archive.read(name))) for name in archive.namelist()]
        row, column = np.reshape(np.array(read[0].ImageOrientationPatient, dtype=float), (2, 3))
        return sorted(read, key=lambda one: np.dot(np.cross(row, column), np.array(one.ImagePositionPatient, float)))


Plant = Callable[[Exam, Exam], object]


def change_mask(change: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]) -> Plant:
    def plant(exam: Exam, _: Exam) -> None:
        image = nib.load(exam.mask)
        array, affine = change(np.asarray(image.dataobj).copy(), image.affine.copy())
        nib.save(nib.Nifti1Image(array, affine), exam.mask)

    return plant


def wrong_label(mask, affine):
    mask[0, 0, 0] = 3
    return mask, affine


def shifted_affine(mask, affine):
    affine[1, 3] += 0.01
    return mask, affine


def interpolated(mask, affine):
    return np.where(mask == 2, 1.5, mask).astype(np.float32), affine


def empty(mask, affine):
    return mask * 0, affine


def bodies_alone(mask, affine):
    return np.where(mask == 2, 0, mask), affine


def cropped(mask, affine):
    return mask[:-1], affine


def repeated(mask, affine):
    return np.stack([mask, mask], axis=-1), affine


def whole_floats(mask, affine):
    return mask.astype(np.float32), affine


def lose_mask(exam: Exam, _: Exam) -> None:
    exam.mask.unlink()


def cut_mask(exam: Exam, _: Exam) -> None:
    exam.mask.write_bytes(exam.mask.read_bytes()[:-9])


def damaged_inside_an_archive(exam: Exam, _: Exam) -> None:
    content = exam.mask.read_bytes()
    archive = exam.mask.with_name("masks_of_one_exam.zip")
    with zipfile.ZipFile(archive, "w") as stored:
        stored.writestr(exam.mask.name, content)
    archive.write_bytes(archive.read_bytes().replace(content, content[:-9] + bytes(9)))
    exam.mask.unlink()


def shipped_alone_and_cut(exam: Exam, _: Exam) -> None:
    exam.series.unlink()
    exam.image.write_bytes(gzip.compress(gzip.decompress(exam.image.read_bytes()))[:-9])


def shipped_alone_and_short(exam: Exam, _: Exam) -> None:
    exam.series.unlink()
    image = nib.load(exam.image)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj)[..., :-1], image.affine), exam.image)


def another_patient_s_archive(exam: Exam, other: Exam) -> None:
    exam.series.write_bytes(other.series.read_bytes())


def archive_in_another_patient_s_folder(exam: Exam, other: Exam) -> None:
    exam.series.rename(other.series.with_name(exam.series.name))


MASK_DEFECTS: dict[str, tuple[Plant, Cause, str]] = {
    "wrong_label": (
        change_mask(wrong_label),
        Cause.STRANGE_LABELS,
        "expected labels 0, 1, 2 in the mask, found also 3",
    ),
    "shifted_affine": (change_mask(shifted_affine), Cause.OTHER_GRID, "origin differs by 0.01"),
    "interpolated": (change_mask(interpolated), Cause.INTERPOLATED, r"values in between \(float32\)"),
    "empty": (change_mask(empty), Cause.STRUCTURE_MISSING, "found none of vertebral_body and intervertebral_disc"),
    "bodies_alone": (change_mask(bodies_alone), Cause.STRUCTURE_MISSING, "found none of intervertebral_disc"),
    "cropped": (change_mask(cropped), Cause.OTHER_GRID, "shape"),
    "repeated": (change_mask(repeated), Cause.NOT_A_VOLUME, "3 axes"),
    "lose_mask": (lose_mask, Cause.MISSING, "there is none"),
    "cut_mask": (cut_mask, Cause.DAMAGED, "cut short"),
    "damaged_inside_an_archive": (
        damaged_inside_an_archive,
        Cause.DAMAGED,
        r"masks_of_one_exam\.zip \(.*_SEG\.nii\.gz\): expected a readable file .* got BadZipFile \(Bad CRC-32",
    ),
}
VOLUME_DEFECTS: dict[str, tuple[Plant, Cause, str]] = {
    "shipped_alone_and_cut": (shipped_alone_and_cut, Cause.DAMAGED, "cut short"),
    "shipped_alone_and_short": (shipped_alone_and_short, Cause.SLICE_COUNT, "expected 6 slices"),
    "another_patient_s_archive": (another_patient_s_archive, Cause.WRONG_IDENTITY, "the headers carry another"),
    "archive_in_another_patient_s_folder": (
        archive_in_another_patient_s_folder,
        Cause.WRONG_IDENTITY,
        r"expected case_image/593973-\d{6}",
    ),
    **{
        name: (
            lambda exam, _, planted=planted: planted.plant(exam.series, exam.instances()),
            planted.cause,
            planted.reason,
        )
        for name, planted in SERIES_DEFECTS.items()
        if name != "archive_missing"  # then the shipped NIfTI is taken
    },
}


@dataclass(frozen=True)
class Spoilt:
    """A cohort after its range runs, and who got which defect."""

    home: Home
    instance: dg.DagsterInstance
    patients: tuple[str, ...]
    hosts: dict[str, str]
    named: str
    floats: str

    def row(self, table, name: str):
        (row,) = self.home.lake.read(table, [self.hosts[name]]).to_dict("records")
        return row

    def standing(self, table) -> dict[str, dg.AssetMaterialization]:
        records = self.instance.fetch_materializations(asset_key(table), limit=500).records
        events = [record.event_log_entry.asset_materialization for record in records]
        assert len(events) == len({event.partition for event in events})
        return {event.partition: event for event in events}

    def bad(self, defects) -> set[str]:
        return {self.hosts[name] for name in defects}


def run_range(home: Home, instance: dg.DagsterInstance, table, patients: list[str]) -> dg.ExecuteInProcessResult:
    return (
        defs()
        .resolve_implicit_global_asset_job_def()
        .execute_in_process(
            run_config={"resources": {"study": {"config": {"home": str(home.root)}}}},
            instance=instance,
            asset_selection=[asset_key(table)],
            tags={RANGE_START: patients[0], RANGE_END: patients[-1]},
            raise_on_error=False,
        )
    )


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spoilt]:
    root = tmp_path_factory.mktemp("spoilt")
    write_cohort(root / "download", COHORT)
    exams = [Exam(plan, root / "download") for plan in plan_cohort(COHORT).exams]
    several = {exam.plan.patient.patient_id for exam in exams if exam.plan.study_number > 1}
    single = [
        exam for exam in exams if exam.plan.patient.patient_id not in several and exam.plan.acquisition.slices == 6
    ]
    donor, named, floats, *hosts = single
    change_mask(whole_floats)(floats, donor)
    released_as_it_is(floats)
    home = Home(root / "home")
    home.open(HomeSettings("demo", str(root / "download"), str(root / "download" / PROVENANCE_FILE)))
    with open_instance(home) as instance:
        materialize(home, instance=instance, schemas=("midrc", "cohort"))
        patients = sorted(instance.get_dynamic_partitions("patient"))
        planted = {**VOLUME_DEFECTS, **MASK_DEFECTS}
        assert len(hosts) >= len(planted)
        for exam, (plant, _, _) in zip(hosts, planted.values(), strict=False):
            plant(exam, donor)
        identify(named)
        for table in (Volumes, Masks, HeaderFindings):
            run_range(home, instance, table, patients)
        chosen = {name: exam.plan.patient.patient_id for exam, name in zip(hosts, planted, strict=False)}
        people = (named.plan.patient.patient_id, floats.plan.patient.patient_id)
        yield Spoilt(home, instance, tuple(patients), chosen, *people)


def released_as_it_is(exam: Exam) -> None:
    """Has the release list the mask as it is now: what is changed after its release is refused."""
    download = Download(exam.root)
    facts = file_facts(exam.mask.name, exam.mask.read_bytes())
    rows = download.read("annotation_file")
    (row,) = [row for row in rows if row["file_name"] == facts.name]
    row |= {"file_size": str(facts.size), "md5sum": facts.md5}
    download.write("annotation_file", rows)


def identify(exam: Exam) -> None:
    """Leaves a name, a birth date and an address in the headers, and a comment that dcm2niix would copy."""
    instances = exam.instances()
    for instance in instances:
        instance.PatientName = "Doe^Jane"
        instance.PatientBirthDate = "19700203"
        instance.PatientAddress = "1 Main Street"
        instance.ImageComments = "Jane called"
    write_series(exam.series, instances)


@pytest.mark.parametrize("name", sorted(VOLUME_DEFECTS))
def test_a_bad_series_has_its_cause_and_reason(spoilt: Spoilt, name: str):
    _, cause, reason = VOLUME_DEFECTS[name]
    row = spoilt.row(Volumes, name)
    assert (row["status"], row["cause"]) == ("failed", str(cause))
    assert re.search(reason, row["reason"])
    assert STRANGER not in row["reason"]


@pytest.mark.parametrize("name", sorted(MASK_DEFECTS))
def test_a_bad_mask_has_its_cause_and_reason(spoilt: Spoilt, name: str):
    _, cause, reason = MASK_DEFECTS[name]
    assert spoilt.row(Volumes, name)["status"] == "ok"
    row = spoilt.row(Masks, name)
    assert (row["status"], row["cause"]) == ("failed", str(cause))
    assert re.search(reason, row["reason"])


def test_at_least_25_defects_are_planted():
    assert len(VOLUME_DEFECTS) + len(MASK_DEFECTS) >= 25


def test_all_others_are_materialized_with_metadata_of_their_own(spoilt: Spoilt):
    good = set(spoilt.patients) - spoilt.bad(VOLUME_DEFECTS)
    assert set(spoilt.standing(Volumes)) == good
    assert set(spoilt.standing(Masks)) == good - spoilt.bad(MASK_DEFECTS)
    for patient_id, event in spoilt.standing(Volumes).items():
        assert patient_id in event.metadata["volumes"].value
        rows = spoilt.home.lake.read(Volumes, [patient_id])
        shapes = rows[["size_0", "size_1", "size_2"]].astype(str).agg(" x ".join, axis=1)
        assert event.metadata["shape"].value == ", ".join(shapes)
        assert set(event.metadata["status"].value.split(", ")) == {"ok"}
        assert event.metadata["spacing_mm"].value
    pictures = {event.metadata["mid_sagittal"].value for event in spoilt.standing(Masks).values()}
    assert len(pictures) == len(spoilt.standing(Masks))


def test_no_file_is_written_for_the_bad(spoilt: Spoilt):
    written = {path.parent.name for path in spoilt.home.volumes.rglob("*.nii.gz")}
    assert written == set(spoilt.standing(Volumes))
    assert not list((spoilt.home.root / "scratch").iterdir())


def test_whole_numbers_stored_as_floats_are_taken_with_a_note(spoilt: Spoilt):
    (row,) = spoilt.home.lake.read(Masks, [spoilt.floats]).to_dict("records")
    assert (row["status"], row["stored_type"]) == ("ok", "float32")
    assert "whole numbers stored as float32" in row["notes"]


def test_identifying_tags_are_found_by_name_and_leave_no_value_behind(spoilt: Spoilt):
    found = spoilt.home.lake.read(HeaderFindings, [spoilt.named])
    assert {"PatientName", "PatientBirthDate", "PatientAddress", "ImageComments"} <= set(found["keyword"])
    for path in (p for p in spoilt.home.root.rglob("*") if p.is_file()):
        content = path.read_bytes()
        inflated = gzip.decompress(content) if path.suffix == ".gz" else b""
        for value in (b"Doe^Jane", b"19700203", b"Main Street", b"Jane called"):
            assert value not in content, path
            assert value not in inflated, path


def test_the_light_for_identification_is_red_and_counts(spoilt: Spoilt):
    light = deidentified(StudyResource(home=str(spoilt.home.root)))
    assert not light.passed
    assert light.severity == dg.AssetCheckSeverity.WARN
    found = spoilt.home.lake.read(HeaderFindings)
    telling = found[found["kind"] != "private"]
    assert spoilt.named in set(telling["patient_id"])
    assert light.metadata["exams_with_findings"].value == telling["exam_id"].nunique()
    assert "PatientName" in light.metadata["exams_by_element"].value
