"""What is true of a synthetic exam and written nowhere in its download: where each level really lies.

Add here an oracle that a test of a measurement needs. Nothing that a user's download holds belongs here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from cspine_assets.domain.anatomy import Structure
from cspine_assets.domain.phantom.grid import Matrix, VoxelGrid, window_around
from cspine_assets.domain.phantom.plan import ExamPlan, plan_cohort
from cspine_assets.domain.phantom.scene import draw_scene
from cspine_assets.domain.phantom.settings import CohortSettings
from cspine_assets.domain.phantom.spine import Solid

_SAMPLE_MM: Final = 0.8


@dataclass(frozen=True)
class LevelTruth:
    """The true place and size of one body or disc."""

    level: str
    structure: Structure
    centroid_mm: Matrix
    volume_mm3: float
    is_in_view: bool


@dataclass(frozen=True)
class ExamTruth:
    """The oracle of one exam: its plan, and its levels from superior to inferior, discs before bodies."""

    exam: ExamPlan
    levels: tuple[LevelTruth, ...]


def exam_truth(settings: CohortSettings, index: int) -> ExamTruth:
    """Returns the truth of one exam of a cohort.

    Centroids are in RAS+ mm, sampled every 0.8 mm; a level is in view if its centroid lies within the exam's
    slices.

    Args:
        settings: Those that the cohort was written with.
        index: Position of the exam among the cohort's exams, ordered by patient and study number.

    Raises:
        IndexError: The cohort has no such exam.
    """
    exam = plan_cohort(settings).exams[index]
    scene = draw_scene(settings, exam)
    return ExamTruth(exam, tuple(_level(solid, scene.grid) for solid in scene.spine.solids))


def _level(solid: Solid, grid: VoxelGrid) -> LevelTruth:
    reach = float(np.linalg.norm(solid.half_extent_mm))
    size = int(np.ceil(2 * reach / _SAMPLE_MM))
    affine = np.diag([_SAMPLE_MM, _SAMPLE_MM, _SAMPLE_MM, 1.0])
    affine[:3, 3] = solid.frame.centre_mm - reach
    window = window_around(VoxelGrid(affine, (size, size, size)), solid.frame, solid.half_extent_mm)
    if window is None:  # the sampling box is built around the solid
        raise AssertionError(f"{solid.level} lies outside its own box")
    inside = np.argwhere(solid.depth_below_surface_mm(window) > 0) + [part.start for part in window.index]
    centroid = affine[:3, :3] @ inside.mean(axis=0) + affine[:3, 3]
    voxel = np.linalg.inv(grid.affine) @ [*centroid, 1.0]
    in_view = bool(np.all(voxel[:3] >= 0) and np.all(voxel[:3] <= np.array(grid.shape) - 1))
    return LevelTruth(solid.level, solid.structure, centroid, len(inside) * _SAMPLE_MM**3, in_view)
