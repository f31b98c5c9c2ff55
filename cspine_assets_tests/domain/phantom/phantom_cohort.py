from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import pandas as pd

from cspine_assets.domain.phantom.cohort import STRUCTURED, CohortReport, write_cohort
from cspine_assets.domain.phantom.plan import ExamPlan, plan_cohort
from cspine_assets.domain.phantom.settings import CohortSettings

SETTINGS = CohortSettings(patients=8, seed=11, matrix=64, slices_min=9, slices_max=11)


@dataclass(frozen=True)
class Written:
    root: Path
    report: CohortReport
    exams: tuple[ExamPlan, ...]

    def table(self, node: str) -> pd.DataFrame:
        (path,) = (self.root / STRUCTURED).glob(f"{node}_*.tsv")
        return pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)

    def image(self, exam: ExamPlan) -> nib.Nifti1Image:
        return nib.load(self.root / "DukeCSpineSeg_annotation" / exam.image_file_name)

    def mask(self, exam: ExamPlan) -> nib.Nifti1Image:
        return nib.load(self.root / "DukeCSpineSeg_segmentation" / exam.mask_file_name)

    def archive(self, exam: ExamPlan) -> Path:
        return self.root / "DukeCSpineSeg_imaging_files" / "case_image" / exam.archive_name


def write(root: Path) -> Written:
    return Written(root, write_cohort(root, SETTINGS), plan_cohort(SETTINGS).exams)
