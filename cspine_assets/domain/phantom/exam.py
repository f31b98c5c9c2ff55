"""One batch of synthetic exams on disk: DICOM archives, the MRI as dcm2niix converts it, and masks on its grid.

Add here what happens between a scene and its shipped files.
Tables, and which exams there are, do not belong here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from cspine_assets.domain.anatomy import DISC_LEVELS, VERTEBRAE
from cspine_assets.domain.dcm2niix import FinishedRun, run_dcm2niix
from cspine_assets.domain.errors import ConversionError
from cspine_assets.domain.phantom.degradation import model_mask
from cspine_assets.domain.phantom.dicom import Instance, encode_series
from cspine_assets.domain.phantom.files import FileFacts, Member, file_facts, gzipped, write_zip
from cspine_assets.domain.phantom.grid import VoxelGrid
from cspine_assets.domain.phantom.masks import Mask, mask_solids
from cspine_assets.domain.phantom.picture import draw_picture
from cspine_assets.domain.phantom.plan import ExamPlan
from cspine_assets.domain.phantom.scene import Scene, draw_scene, exam_generator
from cspine_assets.domain.phantom.settings import CohortSettings
from cspine_assets.domain.phantom.spine import Solid
from cspine_assets.domain.phantom.tables import ExamFiles, InstanceFacts


@dataclass(frozen=True)
class DownloadFolders:
    """Where the imaging parts of a download lie."""

    case_image: Path
    annotation: Path
    segmentation: Path


def write_exams(
    settings: CohortSettings, exams: Sequence[ExamPlan], folders: DownloadFolders, scratch: Path
) -> list[ExamFiles]:
    """Writes the files of some exams and returns their facts, in the same order.

    Args:
        settings: The cohort's choices.
        exams: Converted in one run of dcm2niix.
        folders: Existing folders of the download.
        scratch: Empty folder for DICOM and NIfTI before they are packed; the caller removes it.

    Raises:
        ConversionError: dcm2niix is missing, or did not make one volume of each series.
    """
    dicom, nifti = scratch / "dicom", scratch / "nifti"
    nifti.mkdir(parents=True)
    scenes = [draw_scene(settings, exam) for exam in exams]
    instances = [
        _write_series(settings, exam, scene, folders.case_image, dicom)
        for exam, scene in zip(exams, scenes, strict=True)
    ]
    finished = run_dcm2niix(dicom, nifti, "%j")
    files = []
    for exam, scene, own in zip(exams, scenes, instances, strict=True):
        image = _read_converted(exam, nifti, finished)
        header = nib.Nifti1Image.from_bytes(image)
        mask = _mask_bytes(header, exam_mask(settings, exam, scene, _grid(header)))
        files.append(
            ExamFiles(
                image=_write(folders.annotation, exam.image_file_name, gzipped(image)),
                mask=_write(folders.segmentation, exam.mask_file_name, gzipped(mask)),
                instances=own,
            )
        )
    return files


def exam_mask(settings: CohortSettings, exam: ExamPlan, scene: Scene, grid: VoxelGrid) -> Mask:
    """Returns an exam's mask on a grid: exact where an expert drew it, worse where a model did."""
    if exam.patient.has_expert_masks:
        return mask_solids(_drawn(settings, exam, scene.spine.solids), grid)
    return model_mask(exam_generator(settings, exam, purpose=7), scene.spine, grid)


def _drawn(settings: CohortSettings, exam: ExamPlan, solids: tuple[Solid, ...]) -> tuple[Solid, ...]:
    """Returns what an expert draws of a spine: all of it, or what lies above T1."""
    every = settings.to_c7_every
    if not every or exam.index % every != every // 2:
        return solids
    return tuple(solid for solid in solids if solid.level in (*VERTEBRAE[:-1], *DISC_LEVELS[:-1]))


def _write_series(
    settings: CohortSettings, exam: ExamPlan, scene: Scene, case_image: Path, dicom: Path
) -> tuple[InstanceFacts, ...]:
    rng = exam_generator(settings, exam, purpose=6)
    counts = draw_picture(rng, scene.grid, scene.spine, scene.course, scene.contrast)
    instances = encode_series(exam, counts, scene.grid)
    names = _member_names(instances, style=int(rng.integers(3)))
    folder = f"{exam.series_uid}/" if rng.random() < 0.33 else ""
    order = rng.permutation(len(instances))
    archive = case_image / exam.archive_name
    archive.parent.mkdir(parents=True, exist_ok=True)
    members = (Member(folder + names[place], instances[place].content) for place in order)
    write_zip(archive, members, compressed=True)
    loose = dicom / str(exam.index)
    loose.mkdir(parents=True)
    for name, instance in zip(names, instances, strict=True):
        (loose / name).write_bytes(instance.content)
    return tuple(
        InstanceFacts(instance.uid, instance.number, file_facts(name, instance.content))
        for name, instance in zip(names, instances, strict=True)
    )


def _member_names(instances: Sequence[Instance], *, style: int) -> list[str]:
    """Returns names as archives of several origins have them; none of them tells the position of the slice."""
    if style == 0:
        return [instance.uid for instance in instances]
    if style == 1:
        return [f"{instance.uid}.dcm" for instance in instances]
    return [f"IM{instance.number:06d}" for instance in instances]


def _read_converted(exam: ExamPlan, nifti: Path, finished: FinishedRun) -> bytes:
    found = sorted(path.name for path in nifti.iterdir() if path.name.startswith(f"{exam.series_uid}"))
    if found != [f"{exam.series_uid}.nii"]:
        raise ConversionError(
            f"{exam.exam_id}: expected dcm2niix to make one volume of the synthetic series, got {found or 'none'} "
            f"(return code {finished.return_code}). Its last words: {finished.output[-300:]!r}. "
            "Check that the installed dcm2niix is the required version."
        )
    return (nifti / found[0]).read_bytes()


def _grid(image: nib.Nifti1Image) -> VoxelGrid:
    return VoxelGrid(np.asarray(image.affine, dtype=np.float64), tuple(image.shape))


def _mask_bytes(image: nib.Nifti1Image, mask: Mask) -> bytes:
    """Returns a NIfTI file with the image's geometry to the last bit, holding labels instead of signal."""
    header = image.header.copy()
    header.set_data_dtype(np.uint8)
    header["descrip"], header["aux_file"] = b"", b""
    header["cal_max"] = header["cal_min"] = 0
    content: bytes = nib.Nifti1Image(mask, None, header).to_bytes()
    return content


def _write(folder: Path, name: str, content: bytes) -> FileFacts:
    (folder / name).write_bytes(content)
    return file_facts(name, content)
