"""One exam's scene: the patient's spine and neck, and the grid of slices through them.

Add here how a patient lies in the scanner and how slices are placed.
Drawing the picture and writing files do not belong here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from cspine_assets.domain.phantom.contrast import Contrast, draw_contrast
from cspine_assets.domain.phantom.course import Course, draw_course
from cspine_assets.domain.phantom.grid import Matrix, VoxelGrid
from cspine_assets.domain.phantom.plan import ExamPlan
from cspine_assets.domain.phantom.protocol import Acquisition
from cspine_assets.domain.phantom.settings import CohortSettings
from cspine_assets.domain.phantom.spine import Spine, draw_spine


@dataclass(frozen=True)
class Scene:
    """What is scanned and where: the grid counts slices, rows, columns along its three axes."""

    spine: Spine
    course: Course
    contrast: Contrast
    grid: VoxelGrid


def draw_scene(settings: CohortSettings, exam: ExamPlan) -> Scene:
    """Draws the scene of an exam; both exams of a patient see the same spine."""
    patient = exam.patient
    person = np.random.default_rng([settings.seed, 4, patient.index])
    spine = draw_spine(person, age_years=patient.age_years, is_female=patient.sex == "Female")
    course = draw_course(person, spine, build=patient.build)
    visit = exam_generator(settings, exam, purpose=5)
    contrast = draw_contrast(visit, age_years=exam.age_years, is_ge=exam.acquisition.is_ge)
    return Scene(spine, course, contrast, _draw_grid(visit, exam.acquisition, spine))


def exam_generator(settings: CohortSettings, exam: ExamPlan, *, purpose: int) -> Generator:
    """Returns a generator of its own for one purpose of one exam, whatever was drawn before."""
    return np.random.default_rng([settings.seed, purpose, exam.index])


def _draw_grid(rng: Generator, acquisition: Acquisition, spine: Spine) -> VoxelGrid:
    """Places sagittal slices around the fifth cervical body, tilted as a technician tilts them along the spine."""
    turn = _rotation(*np.deg2rad(rng.normal(0, [1.2, 1.5, 2.0])))
    rows, columns = turn @ [0.0, 0.0, -1.0], turn @ [0.0, -1.0, 0.0]  # RAS+: downwards, backwards
    across = np.cross(columns, rows) * (1 if rng.random() < 0.5 else -1)
    cervical = [body.frame.centre_mm for body in spine.bodies[:7]]
    middle = np.mean(cervical, axis=0) + rng.normal(0, [1.2, 5.0, 5.0]) + [0.0, -6.0, 0.0]
    spacing, gap = acquisition.pixel_spacing_mm, acquisition.slice_spacing_mm
    half = (acquisition.matrix - 1) / 2
    first = middle - across * gap * (acquisition.slices - 1) / 2 - (rows + columns) * spacing * half
    affine = np.eye(4)
    affine[:3] = np.column_stack([across * gap, rows * spacing, columns * spacing, first])
    return VoxelGrid(affine, (acquisition.slices, acquisition.matrix, acquisition.matrix))


def _rotation(pitch: float, roll: float, yaw: float) -> Matrix:
    """Returns the rotation about the x, then the y, then the z axis."""
    around_x = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    around_y = np.array([[np.cos(roll), 0, np.sin(roll)], [0, 1, 0], [-np.sin(roll), 0, np.cos(roll)]])
    around_z = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
    turn: Matrix = around_z @ around_y @ around_x
    return turn
