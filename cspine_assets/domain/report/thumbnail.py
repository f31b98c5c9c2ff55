"""A small picture of one exam for a page: the middle slice with its mask's outline, in square millimetres.

Add a picture here when a page shows one per exam, so that it must be quick and small. Figures for print stand in
``overlay``.
"""

from __future__ import annotations

import io
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_erosion

from cspine_assets.domain.anatomy import LABELS
from cspine_assets.domain.report.overlay import most_telling_slice, window_around
from cspine_assets.domain.report.style import COLOURS, grey
from cspine_assets.domain.volume import Volume, middle_slice, sagittal_pixel_mm, sagittal_slice

LIMIT_BYTES: Final = 40_000
"""Pages and event logs carry the picture inline: a thousand exams are 40 MB at most."""

_SIDES_PIXEL: Final = (320, 272, 224, 176, 128)
"""Longer sides to try, largest first, until the picture is small enough; noise packs badly."""

_GREYS: Final = 48
"""Grey levels: more are not seen at this size, and cost bytes."""

_MARGIN_MM: Final = 30.0
"""Border kept around the mask; the rest of a neck's field of view says nothing about a segmentation."""


def mid_sagittal_png(volume: Volume, mask: Volume | None = None) -> bytes:
    """Returns a PNG below 40 KB: the middle slice around the mask, bodies outlined in red, discs in green.

    Where the middle slice has no label, the slice with most of them is shown; without a mask or label the whole
    middle slice.

    Args:
        volume: Scan in any orientation.
        mask: Labels on the same grid, or None.
    """
    index = middle_slice(volume.geometry) if mask is None else most_telling_slice(mask)
    scan = sagittal_slice(volume, index)
    labels = np.zeros(scan.shape, np.uint8) if mask is None else sagittal_slice(mask, index).astype(np.uint8)
    pixel_mm = sagittal_pixel_mm(volume.geometry)
    window = window_around(labels, pixel_mm, _MARGIN_MM)
    content = b""
    for side in _SIDES_PIXEL:
        content = _draw(grey(scan[window]), labels[window], pixel_mm, side)
        if len(content) < LIMIT_BYTES:
            break
    return content


def _draw(scan: NDArray[np.float64], labels: NDArray[np.uint8], pixel_mm: tuple[float, float], side: int) -> bytes:
    """Returns the picture with its longer side at a number of pixels, as many per mm in both directions."""
    size_mm = [count * step for count, step in zip(scan.shape, pixel_mm, strict=True)]
    height, width = (max(1, round(length / max(size_mm) * side)) for length in size_mm)
    shown = Image.fromarray((scan * 255).astype(np.uint8)).resize((width, height), Image.Resampling.LANCZOS)
    colours = np.asarray(shown).astype(np.uint16) * (_GREYS - 1) // 255
    palette = [level * 255 // (_GREYS - 1) for level in range(_GREYS) for _ in range(3)]
    for number, (structure, label) in enumerate(LABELS.items()):
        palette.extend(COLOURS[structure])
        colours[_outline(labels == label, width, height)] = _GREYS + number
    picture = Image.fromarray(colours.astype(np.uint8)).convert("P")
    picture.putpalette(palette)
    stream = io.BytesIO()
    picture.save(stream, format="png", optimize=True)
    return stream.getvalue()


def _outline(inside: NDArray[np.bool_], width: int, height: int) -> NDArray[np.bool_]:
    """Returns the rim of a structure at the picture's size, one pixel wide."""
    area = Image.fromarray(inside * np.uint8(255)).resize((width, height), Image.Resampling.BICUBIC)
    grown = np.asarray(area) > 127
    rim: NDArray[np.bool_] = grown & ~binary_erosion(grown)
    return rim
