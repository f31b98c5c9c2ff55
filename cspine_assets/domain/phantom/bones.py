"""Grey values of bodies and discs, and the unlabelled bones around them: arches, processes, pillars.

Add here detail inside or beside a bone.
Where bodies and discs lie belongs to the spine's formulas, soft tissue to the neck.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cspine_assets.domain.anatomy import Structure
from cspine_assets.domain.phantom.contrast import Contrast, blend, coverage
from cspine_assets.domain.phantom.grid import FloatArray, Frame, Matrix, VoxelGrid, Window, window_around
from cspine_assets.domain.phantom.spine import Solid, Spine


@dataclass(frozen=True)
class _Rod:
    """A rounded rod between two points (anterior, right, superior) of a body's frame."""

    frame: Frame
    start: Matrix
    end: Matrix
    radius_mm: float
    flatness: float

    def window(self, grid: VoxelGrid) -> Window | None:
        middle = self.frame.point_mm(*(self.start + self.end) / 2)
        reach = np.abs(self.end - self.start) / 2 + self.radius_mm + 3
        return window_around(grid, Frame(middle, self.frame.axes), reach)

    def depth_below_surface_mm(self, at: Window) -> FloatArray:
        along, middle = self.end - self.start, (self.start + self.end) / 2
        from_start = [
            offset + np.float32(centre - first)
            for offset, centre, first in zip((at.anterior, at.right, at.superior), middle, self.start, strict=True)
        ]
        parts = [part * np.float32(step) for part, step in zip(from_start, along, strict=True)]
        share = np.clip((parts[0] + parts[1] + parts[2]) / np.float32(along @ along), 0, 1)
        anterior, right, superior = (
            part - share * np.float32(step) for part, step in zip(from_start, along, strict=True)
        )
        distance = np.sqrt(anterior**2 + (right * np.float32(self.flatness)) ** 2 + superior**2)
        depth: FloatArray = np.float32(self.radius_mm) - distance
        return depth


def paint_bones(
    image: FloatArray, grid: VoxelGrid, spine: Spine, contrast: Contrast, grain: FloatArray, edge_mm: float
) -> None:
    """Paints arches and processes, then discs, then bodies into an image, in place.

    Args:
        image: Float array of the grid's shape.
        grid: Where its voxels lie.
        spine: Bodies and discs, drawn exactly where their masks are.
        contrast: Grey values.
        grain: Fine texture, about -1 to 1, of the image's shape.
        edge_mm: Width of the blur between two tissues.
    """
    for rod in _rods(spine):
        window = rod.window(grid)
        if window is not None:
            depth, part = rod.depth_below_surface_mm(window), image[window.index]
            blend(part, 0.75 * coverage(depth, edge_mm), contrast.cortex * 1.6)
            blend(part, coverage(depth - 1.1, 1.5 * edge_mm), contrast.marrow * (0.95 + 0.1 * grain[window.index]))
    for solid in spine.solids:
        window = window_around(grid, solid.frame, solid.half_extent_mm)
        if window is not None:
            paint = _paint_body if solid.structure is Structure.VERTEBRAL_BODY else _paint_disc
            paint(image[window.index], grain[window.index], window, solid, contrast, edge_mm)


def _paint_body(
    image: FloatArray, grain: FloatArray, at: Window, body: Solid, contrast: Contrast, edge_mm: float
) -> None:
    depth = body.depth_below_surface_mm(at)
    blend(image, coverage(depth, edge_mm), contrast.cortex)
    marrow = contrast.marrow * (1 + 0.07 * grain)
    behind = (at.anterior + body.half_depth_mm) / 5.0
    vein = np.exp(-(behind**2) - (at.right / 4.0) ** 2 - (at.superior / 2.0) ** 2)
    near_plates = np.exp(-(((np.abs(at.superior) - body.half_height_mm + 2.0) / 2.0) ** 2))
    marrow = marrow * (1 + 0.45 * vein + 0.10 * near_plates)
    blend(image, coverage(depth - 0.9, edge_mm), marrow)


def _paint_disc(
    image: FloatArray, grain: FloatArray, at: Window, disc: Solid, contrast: Contrast, edge_mm: float
) -> None:
    depth = disc.depth_below_surface_mm(at)
    blend(image, coverage(depth, edge_mm), contrast.annulus)
    gauge = np.sqrt(
        (at.anterior / (0.68 * disc.half_depth_mm)) ** 2
        + (at.right / (0.72 * disc.half_width_mm)) ** 2
        + (at.superior / (0.85 * disc.half_height_mm)) ** 2
    )
    core = contrast.annulus + (contrast.nucleus - contrast.annulus) * (1 - disc.degeneration) ** 1.3
    cleft = 1 - 0.25 * np.exp(-((at.superior / 0.9) ** 2))
    blend(image, np.clip((1.15 - gauge) / 0.5, 0, 1), core * cleft * (1 + 0.08 * grain))


def _rods(spine: Spine) -> list[_Rod]:
    rods = [rod for body in spine.bodies for rod in _arch(body)]
    return [*_atlas(spine.bodies[0]), *rods]


def _arch(body: Solid) -> list[_Rod]:
    """Returns the spinous process, the laminae's root and both articular pillars of a body."""
    cervical = body.level.startswith("C")
    length = {"C2": 20.0, "C6": 20.0, "C7": 29.0}.get(body.level, 13.0 if cervical else 31.0)
    slope = 0.32 if body.level in ("C2", "C7") else (0.55 if cervical else 0.85)
    back = -body.half_depth_mm - 17.5
    root, tip = np.array([back, 0, -3.5]), np.array([back - length, 0, -3.5 - slope * length])
    radius = 5.2 if body.level in ("C2", "C7") else 3.7
    process = _Rod(body.frame, root, tip, radius, 1.5)
    side = body.half_width_mm + (5.5 if cervical else 2.5)
    pillars = [
        _Rod(
            body.frame,
            np.array([-body.half_depth_mm - 1.5, sign * side, 5.5]),
            np.array([-body.half_depth_mm - 6.5, sign * side, -6.0]),
            5.2,
            0.8,
        )
        for sign in (-1, 1)
    ]
    return [process, *pillars]


def _atlas(axis: Solid) -> list[_Rod]:
    """Returns the atlas around the dens of C2: the front arch, the back arch, both lateral masses."""
    height = axis.half_height_mm + 0.62 * axis.dens_mm
    side = np.array([0, 9.0, 0])
    front, back = np.array([8.2, 0, height]), np.array([-axis.half_depth_mm - 22.0, 0, height - 3])
    masses = [
        _Rod(axis.frame, np.array([0, sign * 13.0, height + 4]), np.array([-2, sign * 19.0, height - 5]), 6.5, 0.9)
        for sign in (-1, 1)
    ]
    return [
        _Rod(axis.frame, front - side, front + side, 4.2, 1.0),
        _Rod(axis.frame, back - side, back + side, 4.4, 1.0),
        *masses,
    ]
