"""Distances between the surfaces of a reference and a predicted mask: HD95, ASSD and normalized surface Dice.

Add a measure here when it follows from how far the surface of one mask lies from that of the other. Voxel counts,
levels of the spine and anything over more than one exam stand in their own modules.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from cspine_assets.domain.anatomy import LABELS, Structure
from cspine_assets.domain.errors import GeometryError

ROUNDING: Final = 1e-6
"""Part by which a distance may exceed a tolerance and still count as within it. Headers hold spacings as float32, so
two pixels of 0.5 mm come out as 1.00000003 mm in one exam and as 0.99999998 mm in the next: without it, the
normalized surface Dice at 1 mm would be a toss-up over every voxel that is two pixels off."""


@dataclass(frozen=True)
class SurfaceDistance:
    """How far apart the surfaces of one structure in one exam lie.

    Where both masks are empty nothing is measured: all are None. Where one is, the distances are infinite and the
    normalized surface Dice is 0.

    Attributes:
        hd95_mm: The larger of the two directed 95th percentiles (numpy's linear interpolation). The percentile over
            both directions pooled, as some packages have it, is another and mostly smaller number.
        assd_mm: Mean of the two directed mean distances.
        nsd_1mm: Surface voxels of both masks that lie within 1 mm of the other surface, divided by all of them.
        nsd_2mm: The same for 2 mm.
    """

    hd95_mm: float | None
    assd_mm: float | None
    nsd_1mm: float | None
    nsd_2mm: float | None


NOTHING_TO_MEASURE: Final = SurfaceDistance(None, None, None, None)
ONE_IS_EMPTY: Final = SurfaceDistance(inf, inf, 0.0, 0.0)


def measure_surfaces(
    reference: NDArray[np.uint8],
    prediction: NDArray[np.uint8],
    *,
    spacing_mm: tuple[float, float, float],
) -> dict[Structure, SurfaceDistance]:
    """Returns the surface distances of every structure of two masks on one grid.

    A surface is made of the voxels that the 6-connected erosion of a mask removes, outside the array being
    background; distances are between voxel centres.

    Args:
        reference: Mask with the study's labels, any shape of three axes.
        prediction: Mask of the same shape.
        spacing_mm: Distance of neighbouring voxel centres along each array axis.

    Raises:
        GeometryError: The shapes differ.
    """
    if reference.shape != prediction.shape:
        raise GeometryError(f"expected two masks of one shape, got {reference.shape} against {prediction.shape}.")
    order = sorted(range(3), key=lambda axis: -reference.strides[axis])
    box = _box(reference.transpose(order) | prediction.transpose(order))
    cut = [np.ascontiguousarray(mask.transpose(order)[box]) for mask in (reference, prediction)]
    spacing = np.array([spacing_mm[axis] for axis in order])
    return {
        structure: _distance_between(cut[0] == label, cut[1] == label, spacing) for structure, label in LABELS.items()
    }


def _distance_between(
    reference: NDArray[np.bool_], prediction: NDArray[np.bool_], spacing: NDArray[np.float64]
) -> SurfaceDistance:
    """Returns the distances of two masks of one structure."""
    if not reference.any() or not prediction.any():
        return ONE_IS_EMPTY if reference.any() or prediction.any() else NOTHING_TO_MEASURE
    true, found = _Surface.of(reference), _Surface.of(prediction)
    there, back = true.distances_to(found, spacing), found.distances_to(true, spacing)
    return SurfaceDistance(
        hd95_mm=max(float(np.percentile(there, 95)), float(np.percentile(back, 95))),
        assd_mm=(float(there.mean()) + float(back.mean())) / 2,
        nsd_1mm=_share_within(1.0, there, back),
        nsd_2mm=_share_within(2.0, there, back),
    )


def surface_of(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Returns the voxels of a mask that have a face on the background or on the edge of the array."""
    padded = np.pad(mask, 1)
    inner = mask.copy()
    for axis, size in enumerate(mask.shape):
        for start in (0, 2):
            neighbour = [slice(1, -1)] * mask.ndim
            neighbour[axis] = slice(start, start + size)
            inner &= padded[tuple(neighbour)]
    surface: NDArray[np.bool_] = mask & ~inner
    return surface


@dataclass(frozen=True)
class _Surface:
    """Voxels of a surface.

    Attributes:
        is_surface: Whether a voxel is one of them, flat.
        places: Their places in it, ascending.
        voxels: Their indices along the axes, shape (n, 3).
    """

    is_surface: NDArray[np.bool_]
    places: NDArray[np.int64]
    voxels: NDArray[np.int64]

    @classmethod
    def of(cls, mask: NDArray[np.bool_]) -> _Surface:
        """Returns the surface of a mask that is not empty."""
        is_surface = surface_of(mask).ravel()
        places = np.flatnonzero(is_surface)
        return cls(is_surface, places, np.column_stack(np.unravel_index(places, mask.shape)))

    def distances_to(self, target: _Surface, spacing: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns the distance of every voxel of this surface to the nearest one of another, in no fixed order.

        Voxels that are in both are 0 away, which is half of them in a good segmentation. The nearest voxels of the
        others come out of a tree over the target: five times faster than a distance transform of the box, most of
        which is no surface. The distance is then taken from whole steps along the axes, so that equal steps give equal
        numbers.
        """
        distances = np.zeros(len(self.places))
        apart = self.voxels[~target.is_surface[self.places]]
        if len(apart):
            # cKDTree is KDTree without its checks of what is finite here. Surface voxels are spread evenly over a thin
            # shell: cells of equal size are as good as balanced ones, and larger leaves better than many nodes
            tree = cKDTree(target.voxels * spacing, leafsize=32, balanced_tree=False, compact_nodes=False)
            _, nearest = tree.query(apart * spacing)
            steps = (apart - target.voxels[nearest]) * spacing
            distances[: len(apart)] = np.sqrt(np.einsum("ij,ij->i", steps, steps))
        return distances


def _share_within(tolerance_mm: float, there: NDArray[np.float64], back: NDArray[np.float64]) -> float:
    """Returns the part of both surfaces' voxels that lies within a tolerance of the other surface."""
    limit = tolerance_mm * (1 + ROUNDING)
    return float(np.count_nonzero(there <= limit) + np.count_nonzero(back <= limit)) / (len(there) + len(back))


def _box(filled: NDArray[np.uint8]) -> tuple[slice, ...]:
    """Returns the smallest box around all voxels that are not 0; an empty one where all are."""
    ranges = []
    for axis in range(filled.ndim):
        used = np.flatnonzero(filled.any(axis=tuple(other for other in range(filled.ndim) if other != axis)))
        ranges.append(slice(used[0], used[-1] + 1) if used.size else slice(0, 0))
    return tuple(ranges)
