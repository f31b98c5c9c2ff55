"""A second way to shape bodies and discs: sharp-edged wedges, with none of the proportions of the textbook spine.

Add here another simple shape. The cohort's own spine does not stand on these: they are for trials that must not
depend on how that one was drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cspine_assets.domain.anatomy import Structure
from cspine_assets.domain.phantom.grid import FloatArray, Frame, Matrix, Window


@dataclass(frozen=True)
class Block:
    """A wedge, box-shaped or oval from above, on which a dens may stand.

    Attributes:
        level: Its name, for people.
        structure: Whose label it gets.
        frame: Its centre and axes.
        half_depth_mm: Half its size from front to back.
        half_width_mm: Half its size from side to side.
        half_height_mm: Half its height at the centre.
        wedge: By how much each plate rises or falls towards the front, in mm per mm; positive is higher in front.
        is_oval: Whether it is an ellipse seen from above.
        dens_mm: Height of a cone on top, 0 for none.
    """

    level: str
    structure: Structure
    frame: Frame
    half_depth_mm: float
    half_width_mm: float
    half_height_mm: float
    wedge: float = 0.0
    is_oval: bool = False
    dens_mm: float = 0.0

    @property
    def half_extent_mm(self) -> Matrix:
        """Returns half the box (anterior, right, superior) that surely holds the block and 2 mm around it."""
        height = self.half_height_mm + abs(self.wedge) * self.half_depth_mm + self.dens_mm
        return np.array([self.half_depth_mm, self.half_width_mm, height]) + 2.0

    def depth_below_surface_mm(self, at: Window) -> FloatArray:
        """Returns about the distance to the surface at each voxel: positive inside."""
        half_height = np.float32(self.half_height_mm) + np.float32(self.wedge) * at.anterior
        inside: FloatArray = np.minimum(half_height - np.abs(at.superior), self._from_the_side(at))
        with_dens: FloatArray = np.maximum(inside, self._dens(at)) if self.dens_mm else inside
        return with_dens

    def _from_the_side(self, at: Window) -> FloatArray:
        depth, width = np.float32(self.half_depth_mm), np.float32(self.half_width_mm)
        if not self.is_oval:
            box: FloatArray = np.minimum(depth - np.abs(at.anterior), width - np.abs(at.right))
            return box
        gauge = np.sqrt((at.anterior / depth) ** 2 + (at.right / width) ** 2)
        oval: FloatArray = (1 - gauge) * np.minimum(depth, width)
        return oval

    def _dens(self, at: Window) -> FloatArray:
        """Returns the depth below a cone: half as wide as the body at its base, a third of that at its tip."""
        risen = np.clip((at.superior - self.half_height_mm) / self.dens_mm, 0, 1)
        radius = 0.5 * self.half_depth_mm * (1.2 - 0.7 * risen)
        lateral = radius - np.sqrt(at.anterior**2 + at.right**2)
        above = np.float32(self.half_height_mm + self.dens_mm) - at.superior
        depth: FloatArray = np.minimum(np.minimum(lateral, above), at.superior)
        return depth
