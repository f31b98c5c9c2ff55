"""Writing a synthetic cohort in the exact layout of a MIDRC download.

Add here another part that a download ships.
How exams look and what tables say belongs to the modules beside this one.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cspine_assets.domain.errors import CSpineError
from cspine_assets.domain.files import fresh_folder_beside
from cspine_assets.domain.phantom.defects import Planted, plant_defects
from cspine_assets.domain.phantom.exam import DownloadFolders, write_exams
from cspine_assets.domain.phantom.files import Member, write_zip
from cspine_assets.domain.phantom.plan import CohortPlan, ExamPlan, plan_cohort
from cspine_assets.domain.phantom.settings import CohortSettings
from cspine_assets.domain.phantom.tables import DATASET, ExamFiles, imagined_files, write_tables

STRUCTURED: Final = "DukeCSpineSeg_structured"
IMAGING_FILES: Final = "DukeCSpineSeg_imaging_files"
ANNOTATION: Final = "DukeCSpineSeg_annotation"
SEGMENTATION: Final = "DukeCSpineSeg_segmentation"
PROVENANCE_FILE: Final = "annotation_provenance.json"

_EXAMS_PER_BATCH: Final = 4
_WORKERS: Final = 2


@dataclass(frozen=True)
class CohortReport:
    """What was written, and which faults were planted into it."""

    destination: Path
    patients: int
    exams: int
    instances: int
    expert_masks: int
    provenance_file: Path
    planted: tuple[Planted, ...] = ()


def write_cohort(destination: Path, settings: CohortSettings) -> CohortReport:
    """Writes a synthetic cohort as the four parts of a MIDRC download, and who drew its masks beside them.

    Equal settings give equal bytes in every file. Everything is written into a folder beside the destination, which
    takes its place at the end.

    Args:
        destination: New or empty folder.
        settings: Size and shape of the cohort.

    Raises:
        CSpineError: The destination holds something, or cannot be written.
        ConversionError: dcm2niix is missing or failed.
    """
    _refuse_used(destination)
    plan = plan_cohort(settings)
    try:
        with fresh_folder_beside(destination) as aside:
            instances = _write_tables(aside, plan) if settings.tables_only else _write_parts(aside, plan)
            planted = plant_defects(aside, plan.exams, settings.defects)
            (aside / PROVENANCE_FILE).write_bytes(provenance_answer(plan))
            if settings.archived:
                _archive_parts(aside)
            _refuse_used(destination)  # by another run that was faster
    except OSError as error:
        raise CSpineError(f"The synthetic cohort cannot be written to {destination}: {error}.") from error
    return CohortReport(
        destination=destination,
        patients=len(plan.patients),
        exams=len(plan.exams),
        instances=instances,
        expert_masks=sum(exam.patient.has_expert_masks for exam in plan.exams),
        provenance_file=destination / PROVENANCE_FILE,
        planted=planted,
    )


def _refuse_used(destination: Path) -> None:
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise CSpineError(
            f"{destination}: expected a new or an empty folder for the synthetic cohort, found something in it. "
            "Choose another folder, or remove this one."
        )


def _write_parts(root: Path, plan: CohortPlan) -> int:
    """Writes all four parts and returns how many DICOM instances they hold."""
    folders = DownloadFolders(root / IMAGING_FILES / "case_image", root / ANNOTATION, root / SEGMENTATION)
    for folder in (folders.case_image, folders.annotation, folders.segmentation):
        folder.mkdir(parents=True)
    files = _write_all_exams(plan, folders, root / "scratch")
    write_tables(root / STRUCTURED, plan, files)
    return sum(len(own.instances) for own in files)


def _write_tables(root: Path, plan: CohortPlan) -> int:
    """Writes the tables of files that are nowhere, and returns how many instances they list."""
    write_tables(root / STRUCTURED, plan, (imagined_files(exam) for exam in plan.exams))
    return sum(exam.acquisition.slices for exam in plan.exams)


def _write_all_exams(plan: CohortPlan, folders: DownloadFolders, scratch: Path) -> list[ExamFiles]:
    """Writes all exams in batches, a few at a time; each exam draws from its own generator, whatever the order."""

    def write_batch(exams: Sequence[ExamPlan]) -> list[ExamFiles]:
        own_scratch = scratch / str(exams[0].index)
        try:
            return write_exams(plan.settings, exams, folders, own_scratch)
        finally:
            shutil.rmtree(own_scratch, ignore_errors=True)

    starts = range(0, len(plan.exams), _EXAMS_PER_BATCH)
    batches = [plan.exams[start : start + _EXAMS_PER_BATCH] for start in starts]
    with ThreadPoolExecutor(_WORKERS) as pool:
        written = list(pool.map(write_batch, batches))
    shutil.rmtree(scratch)
    return [files for batch in written for files in batch]


def provenance_answer(plan: CohortPlan) -> bytes:
    """Returns the expert masks as MIDRC's index answers the query for them, a JSON document."""
    experts = [
        {"file_name": exam.mask_file_name, "annotation_method": "Retrospective_expert", "project_id": DATASET}
        for exam in plan.exams
        if exam.patient.has_expert_masks
    ]
    return (json.dumps({"data": {"data_file": experts}}, indent=2) + "\n").encode()


def _archive_parts(root: Path) -> None:
    for part in (STRUCTURED, IMAGING_FILES, ANNOTATION, SEGMENTATION):
        if (root / part).exists():
            _archive_part(root, part)


def _archive_part(root: Path, part: str) -> None:
    folder = root / part
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    members = (Member(path.relative_to(root).as_posix(), path.read_bytes()) for path in paths)
    write_zip(root / f"{part}.zip", members, compressed=part == STRUCTURED)
    shutil.rmtree(folder)
