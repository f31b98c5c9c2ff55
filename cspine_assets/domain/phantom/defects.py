"""Faults to plant into a synthetic download, each by its name and each just once.

Add a fault when a check is made for it, and say which check that is. A fault is planted into what was written, as it
would befall a real download; the manifest's size and checksum of a changed table are set right again, so that no other
check sees it.
"""

from __future__ import annotations

import csv
import io
import shutil
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cspine_assets.domain.errors import CSpineError
from cspine_assets.domain.phantom.files import Member, file_facts, write_zip
from cspine_assets.domain.phantom.plan import UID_ROOT, ExamPlan
from cspine_assets.domain.phantom.tables import table_name

Rows = list[dict[str, str]]
NOWHERE: Final = f"{UID_ROOT}.9999999"
"""An identifier in the release's form that is no study and no series."""
NOBODY: Final = "593973-999999"
SPLIT_FILE: Final = "split.tsv"


@dataclass(frozen=True)
class Planted:
    """A fault and where it was planted.

    Attributes:
        defect: Its name.
        check: Check of the cohort that is meant to find it, or the table that is refused for it.
        subject: Row, file or patient concerned, as the check names it.
        exam_id: Exam concerned.
    """

    defect: str
    check: str
    subject: str
    exam_id: str


@dataclass(frozen=True)
class Download:
    """A written download that faults are planted into."""

    root: Path

    def path(self, name: str) -> Path:
        """Returns the one file of this name, or matching this pattern."""
        (found,) = self.root.rglob(name)
        return found

    def read(self, node: str) -> Rows:
        """Returns a table's rows as text."""
        with self.path(table_name(node)).open(newline="", encoding="utf-8") as stream:
            return list(csv.DictReader(stream, delimiter="\t"))

    def write(self, node: str, rows: Rows) -> None:
        """Writes a table's rows and sets its line of the manifest right."""
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(rows[0]), restval="", delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        content = text.getvalue().encode()
        self.path(table_name(node)).write_bytes(content)
        if node != "clinical_manifest":
            facts, manifest = file_facts(table_name(node), content), self.read("clinical_manifest")
            entry = next(row for row in manifest if row["file_name"] == facts.name)
            entry |= {"file_size": str(facts.size), "md5sum": facts.md5}
            self.write("clinical_manifest", manifest)

    def change(self, node: str, key: str, **values: str) -> None:
        """Changes cells of the row with this submitter_id; a dot in a column's name is a double underscore here."""
        rows = self.read(node)
        row = next(row for row in rows if row["submitter_id"] == key)
        row |= {name.replace("__", "."): value for name, value in values.items()}
        self.write(node, rows)

    def drop(self, node: str, column: str, value: str) -> None:
        """Removes the rows with this value."""
        self.write(node, [row for row in self.read(node) if row[column] != value])


Plant = Callable[[Download, ExamPlan, Sequence[ExamPlan]], str]


@dataclass(frozen=True)
class Defect:
    """A fault that can be planted.

    Attributes:
        check: Check that is meant to find it, or the table that is refused for it.
        what: What is wrong, for people.
        plant: Plants it into an exam and returns the subject by which the check names it.
    """

    check: str
    what: str
    plant: Plant


def plant_defects(root: Path, exams: Sequence[ExamPlan], names: Sequence[str]) -> tuple[Planted, ...]:
    """Plants faults into an extracted synthetic download, each into an exam of its own.

    Args:
        root: Folder of the download.
        exams: The cohort's exams.
        names: Names of ``DEFECTS``.

    Raises:
        CSpineError: A name is not known, or there are more faults than exams of patients with one exam and an expert
            mask.
    """
    unknown = sorted(set(names) - set(DEFECTS))
    if unknown:
        raise CSpineError(f"expected defects among {', '.join(DEFECTS)}; got {', '.join(unknown)}.")
    several = {exam.patient.patient_id for exam in exams if exam.study_number > 1}
    hosts = [e for e in exams if e.patient.has_expert_masks and e.patient.patient_id not in several]
    if len(hosts) < len(names):
        raise CSpineError(
            f"expected an exam for each of {len(names)} defects, got {len(hosts)} of expert patients with one exam. "
            "Write a larger cohort."
        )
    download = Download(root)
    # from the last: the first exams are what a person looks at
    return tuple(
        Planted(name, DEFECTS[name].check, DEFECTS[name].plant(download, exam, exams), exam.exam_id)
        for name, exam in zip(names, reversed(hosts), strict=False)
    )


def _annotation(name: str) -> str:
    return f"{name.removesuffix('.nii.gz')}_annotation"


def _missing_column(download: Download, _exam: ExamPlan, _exams: Sequence[ExamPlan]) -> str:
    rows = download.read("imaging_study")
    download.write("imaging_study", [{k: v for k, v in row.items() if k != "case_ids"} for row in rows])
    return "case_ids"


def _unknown_column(download: Download, _exam: ExamPlan, _exams: Sequence[ExamPlan]) -> str:
    rows = download.read("case")
    download.write("case", [{**row, "race_ethnicity": row["race"]} for row in rows])
    return "race_ethnicity"


def _duplicate_key(download: Download, exam: ExamPlan, _exams: Sequence[ExamPlan]) -> str:
    rows = download.read("mr_series")
    download.write("mr_series", [*rows, next(row for row in rows if row["submitter_id"] == exam.series_uid)])
    return exam.series_uid


def _unknown_value(download: Download, exam: ExamPlan, _exams: Sequence[ExamPlan]) -> str:
    download.change("case", exam.patient.patient_id, sex="Divers")
    return "Divers"


def _study_without_case(download: Download, exam: ExamPlan, _exams: Sequence[ExamPlan]) -> str:
    download.change("imaging_study", exam.study_uid, case_ids=NOBODY, cases__submitter_id=NOBODY)
    return exam.study_uid


def _series_without_study(download: Download, exam: ExamPlan, _exams: Sequence[ExamPlan]) -> str:
    download.change("mr_series", exam.series_uid, imaging_studies__submitter_id=NOWHERE)
    return exam.series_uid


def _file_without_series(download: Download, exam: ExamPlan, _exams: Sequence[ExamPlan]) -> str:
    key = _annotation(exam.image_file_name)
    download.change("annotation_file", key, mr_series_files__submitter_id=NOWHERE)
    return key


def _instance_without_series(download: Download, exam: ExamPlan, _exams: Sequence[ExamPlan]) -> str:
    key = exam.instance_uid(0)
    download.change("image_manifest", key, series_uid=NOWHERE)
    return key


def _file_listed_twice(download: Download, exam: ExamPlan, _exams: Sequence[ExamPlan]) -> str:
    rows = download.read("annotation_file")
    row = next(row for row in rows if row["file_name"] == exam.mask_file_name)
    download.write("annotation_file", [*rows, {**row, "submitter_id": f"{row['submitter_id']}_again"}])
    return exam.mask_file_name


def _without(kind: str) -> Plant:
    """Leaves a scan or mask out of the table and off the disk."""

    def plant(download: Download, exam: ExamPlan, _exams: Sequence[ExamPlan]) -> str:
        name = exam.image_file_name if kind == "image" else exam.mask_file_name
        download.drop("annotation_file", "file_name", name)
        download.path(name).unlink()
        return name

    return plant


def _lost_manifest_row(download: Download, exam: ExamPlan, _exams: Sequence[ExamPlan]) -> str:
    download.drop("image_manifest", "submitter_id", exam.instance_uid(0))
    return exam.series_uid


def _lost(kind: str) -> Plant:
    """Removes a file that the tables list."""

    def plant(download: Download, exam: ExamPlan, _exams: Sequence[ExamPlan]) -> str:
        names = {"image": exam.image_file_name, "mask": exam.mask_file_name, "series": f"{exam.series_uid}.zip"}
        download.path(names[kind]).unlink()
        return names[kind]

    return plant


def _unreadable_archive(download: Download, exam: ExamPlan, _exams: Sequence[ExamPlan]) -> str:
    archive = download.path(f"{exam.series_uid}.zip")
    archive.write_bytes(archive.read_bytes()[:-200])
    return archive.relative_to(download.root).as_posix()


def _lost_instance(download: Download, exam: ExamPlan, _exams: Sequence[ExamPlan]) -> str:
    _rewrite_instances(download, exam, lambda _content: None)
    return exam.instance_uid(0)


def _altered_instance(download: Download, exam: ExamPlan, _exams: Sequence[ExamPlan]) -> str:
    _rewrite_instances(download, exam, lambda content: content[:-1] + bytes([content[-1] ^ 1]))
    return exam.instance_uid(0)


def _rewrite_instances(download: Download, exam: ExamPlan, change: Callable[[bytes], bytes | None]) -> None:
    """Changes the first slice of a series inside its archive, or leaves it out."""
    path = download.path(f"{exam.series_uid}.zip")
    md5 = next(r["md5sum"] for r in download.read("image_manifest") if r["submitter_id"] == exam.instance_uid(0))
    with zipfile.ZipFile(path) as archive:
        members = [Member(name, archive.read(name)) for name in archive.namelist()]
    changed = [
        Member(m.name, change(m.content)) if file_facts(m.name, m.content).md5 == md5 else m  # type: ignore[arg-type]
        for m in members
    ]
    write_zip(path, (member for member in changed if member.content is not None), compressed=True)


def _truncated_mask(download: Download, exam: ExamPlan, _exams: Sequence[ExamPlan]) -> str:
    path = download.path(exam.mask_file_name)
    path.write_bytes(path.read_bytes()[:-8])
    return exam.mask_file_name


def _altered_image(download: Download, exam: ExamPlan, _exams: Sequence[ExamPlan]) -> str:
    path = download.path(exam.image_file_name)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    return exam.image_file_name


def _altered_table(download: Download, _exam: ExamPlan, _exams: Sequence[ExamPlan]) -> str:
    manifest = download.read("clinical_manifest")
    manifest[0]["md5sum"] = "0" * 32
    download.write("clinical_manifest", manifest)
    return manifest[0]["file_name"]


def _orphan_mask(download: Download, exam: ExamPlan, _exams: Sequence[ExamPlan]) -> str:
    mask = download.path(exam.mask_file_name)
    twin = mask.with_name(f"{NOBODY}_Study-MR-1_Series-1_SEG.nii.gz")
    shutil.copyfile(mask, twin)
    return twin.relative_to(download.root).as_posix()


def _orphan_series(download: Download, exam: ExamPlan, _exams: Sequence[ExamPlan]) -> str:
    archive = download.path(f"{exam.series_uid}.zip")
    twin = archive.with_name(f"{NOWHERE}.zip")
    shutil.copyfile(archive, twin)
    return twin.relative_to(download.root).as_posix()


def _strange_name(download: Download, exam: ExamPlan, _exams: Sequence[ExamPlan]) -> str:
    path, name = download.path(exam.mask_file_name), f"mask of {exam.patient.patient_id}_SEG.nii.gz"
    shutil.copyfile(path, path.with_name(name))
    rows = download.read("annotation_file")
    row = next(row for row in rows if row["file_name"] == exam.mask_file_name)
    download.write("annotation_file", [*rows, {**row, "submitter_id": _annotation(name), "file_name": name}])
    return name


def _unknown_manufacturer(download: Download, exam: ExamPlan, _exams: Sequence[ExamPlan]) -> str:
    download.change("mr_series", exam.series_uid, manufacturer="ACME Imaging")
    return "ACME Imaging"


def _sources_disagree(download: Download, exam: ExamPlan, exams: Sequence[ExamPlan]) -> str:
    """Sets the table's column right for all masks, as a later release does, but for this one."""
    expert = {e.mask_file_name for e in exams if e.patient.has_expert_masks} - {exam.mask_file_name}
    rows = download.read("annotation_file")
    for row in rows:
        row["annotation_method"] = "Retrospective_expert" if row["file_name"] in expert else row["annotation_method"]
    if not expert:
        raise CSpineError("expected another expert mask to tell the column of one; write a larger cohort.")
    download.write("annotation_file", rows)
    return exam.exam_id


def _leaking_split(download: Download, exam: ExamPlan, exams: Sequence[ExamPlan]) -> str:
    """Writes a split in which one patient with two exams is developed and tested on."""
    twice = next(e for e in exams if e.study_number > 1)
    _write_split(download, exams, test={exam.series_uid, twice.series_uid})
    return twice.patient.patient_id


def _split_of_others(download: Download, exam: ExamPlan, exams: Sequence[ExamPlan]) -> str:
    """Writes a split that names a series which is not in the cohort."""
    _write_split(download, exams, test={exam.series_uid}, more=f"{NOBODY}\t{NOWHERE}\ttest\tgold\n")
    return NOWHERE


def _write_split(download: Download, exams: Sequence[ExamPlan], test: set[str], more: str = "") -> None:
    lines = [
        f"{e.patient.patient_id}\t{e.series_uid}\t{'test' if e.series_uid in test else 'train'}\t"
        f"{'gold' if e.patient.has_expert_masks else 'silver'}\n"
        for e in exams
    ]
    header = "patient_id\tseries_submitter_id\tsplit\tannotation_quality\n"
    (download.root / SPLIT_FILE).write_text(header + "".join(lines) + more, encoding="utf-8")


DEFECTS: Final[dict[str, Defect]] = {
    "missing_column": Defect("midrc.imaging_studies", "a required column is not there", _missing_column),
    "duplicate_key": Defect("table_rows", "a row of a series stands twice", _duplicate_key),
    "unknown_value": Defect("table_rows", "a sex outside the dictionary", _unknown_value),
    "unknown_column": Defect("drift", "a column of a later release; no fault, only reported", _unknown_column),
    "study_without_case": Defect("foreign_keys", "a study of a patient who is not there", _study_without_case),
    "series_without_study": Defect("foreign_keys", "a series of a study that is not there", _series_without_study),
    "file_without_series": Defect("foreign_keys", "a scan of a series that is not there", _file_without_series),
    "instance_without_series": Defect(
        "foreign_keys", "an instance of a series that is not there", _instance_without_series
    ),
    "file_listed_twice": Defect("file_names", "a mask with two rows", _file_listed_twice),
    "strange_name": Defect("file_names", "a listed file that is not named after an exam", _strange_name),
    "exam_without_mask": Defect("image_and_mask", "no mask, neither listed nor there", _without("mask")),
    "exam_without_image": Defect("image_and_mask", "no scan, neither listed nor there", _without("image")),
    "lost_manifest_row": Defect("instance_sums", "a manifest row less than instances", _lost_manifest_row),
    "lost_image": Defect("files_present", "a listed scan is not there", _lost("image")),
    "lost_mask": Defect("files_present", "a listed mask is not there", _lost("mask")),
    "lost_series": Defect("files_present", "a listed series is not there", _lost("series")),
    "lost_instance": Defect("files_present", "an instance is not in its archive", _lost_instance),
    "unreadable_archive": Defect("files_present", "an archive without its end", _unreadable_archive),
    "truncated_mask": Defect("file_sizes", "a mask without its last bytes", _truncated_mask),
    "altered_image": Defect("file_checksums", "a scan with one bit changed", _altered_image),
    "altered_instance": Defect("file_checksums", "an instance with one bit changed", _altered_instance),
    "altered_table": Defect("file_checksums", "a table that is not the one of the manifest", _altered_table),
    "orphan_mask": Defect("orphans", "a mask that no table lists", _orphan_mask),
    "orphan_series": Defect("orphans", "a series that no table lists", _orphan_series),
    "unknown_manufacturer": Defect("manufacturers", "a manufacturer without a known spelling", _unknown_manufacturer),
    "sources_disagree": Defect("provenance", "table and file say otherwise of one mask", _sources_disagree),
    "leaking_split": Defect("split", "a user's split with a patient on two sides", _leaking_split),
    "split_of_others": Defect("split", "a user's split that names a series of nobody", _split_of_others),
}
"""Every fault that can be planted, by its name."""
