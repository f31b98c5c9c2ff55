"""Colours and canvases that every figure shares.

Add a colour here when a new structure or series is drawn. What a figure shows stands in its own module.
"""

from __future__ import annotations

import io
from typing import Final

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cspine_assets.domain.anatomy import Structure

COLOURS: Final[dict[Structure, tuple[int, int, int]]] = {
    Structure.VERTEBRAL_BODY: (229, 56, 59),
    Structure.INTERVERTEBRAL_DISC: (64, 192, 87),
}
"""Bodies red, discs green, as the dataset's authors draw them."""

TITLES: Final[dict[Structure, str]] = {
    Structure.VERTEBRAL_BODY: "vertebral bodies",
    Structure.INTERVERTEBRAL_DISC: "intervertebral discs",
}

WINDOW_PERCENT: Final = (1.0, 99.0)
"""Percentiles shown as black and white."""

GAMMA: Final = 0.7
"""Exponent of the grey scale: fluid is so bright in T2 that bones would be nearly black on a straight one."""


def fraction(structure: Structure) -> tuple[float, float, float]:
    """Returns a structure's colour with parts between 0 and 1."""
    red, green, blue = COLOURS[structure]
    return red / 255, green / 255, blue / 255


def grey(picture: NDArray[np.generic]) -> NDArray[np.float64]:
    """Returns intensities between 0 and 1 by the picture's own percentiles; a flat picture is black."""
    values = picture.astype(np.float64)
    low, high = np.percentile(values, WINDOW_PERCENT)
    if high <= low:
        return np.zeros_like(values)
    shown: NDArray[np.float64] = np.clip((values - low) / (high - low), 0, 1) ** GAMMA
    return shown


def new_figure(width_inch: float, height_inch: float) -> Figure:
    """Returns a figure drawn by Agg: no window, no display, no global state between threads."""
    figure = Figure(figsize=(width_inch, height_inch), facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def png_bytes(figure: Figure, *, dpi: int) -> bytes:
    """Returns a figure as PNG without a date or a version, so that equal figures are equal files."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=dpi, metadata={"Software": None})
    return stream.getvalue()
