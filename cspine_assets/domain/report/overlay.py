"""Figures of one exam, all in millimetres: a sagittal T2 with its mask and a detail, or with two masks to compare.

Add a figure of one exam here. Small pictures for a page stand in ``thumbnail``, drawings of tables in ``curves``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from numpy.typing import NDArray

from cspine_assets.domain.anatomy import LABELS, Structure
from cspine_assets.domain.errors import GeometryError
from cspine_assets.domain.files import written_aside
from cspine_assets.domain.report.style import TITLES, fraction, grey, new_figure, png_bytes
from cspine_assets.domain.volume import Volume, middle_slice, sagittal_pixel_mm, sagittal_slice

ZOOM_MM: Final = 62.0
"""Side of the detail: two to three cervical bodies with their discs."""

MARGIN_MM: Final = 38.0
"""Border kept around the mask: canal, arches and the front of the neck show where one is."""

PANEL_INCH: Final = 3.9
"""Height of the panels."""

_GAP_INCH: Final = 0.12

FILL: Final = 0.30
"""Opacity of a structure's area: the scan stays visible below it."""


@dataclass(frozen=True)
class _View:
    """One sagittal slice: what every panel shows a part of."""

    scan: NDArray[np.float64]
    mask: NDArray[np.uint8]
    height_mm: float
    width_mm: float

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Left, right, bottom and top in mm from the upper left corner."""
        rows, columns = self.scan.shape
        return 0.0, columns * self.width_mm, rows * self.height_mm, 0.0


def write_overlay_figure(
    path: Path,
    volume: Volume,
    mask: Volume,
    *,
    title: str | None = None,
    footnote: str | None = None,
    slice_index: int | None = None,
    dpi: int = 150,
) -> None:
    """Writes ``overlay_figure`` as PNG, whole or not at all.

    Raises:
        GeometryError: Mask and scan lie on different grids.
    """
    content = png_bytes(overlay_figure(volume, mask, title=title, footnote=footnote, slice_index=slice_index), dpi=dpi)
    with written_aside(path) as aside:
        aside.write_bytes(content)


def overlay_figure(
    volume: Volume,
    mask: Volume,
    *,
    title: str | None = None,
    footnote: str | None = None,
    slice_index: int | None = None,
) -> Figure:
    """Returns three panels of one sagittal slice: the scan, the mask over it, and a detail of that.

    Args:
        volume: Scan in any orientation.
        mask: Labels on the same grid.
        title: A line above, such as the exam.
        footnote: A line below, such as that the exam is synthetic.
        slice_index: Slice to show; by default the middle one, or where that has no label the one with most.

    Raises:
        GeometryError: Mask and scan lie on different grids.
    """
    view = _view(volume, mask, slice_index)
    _, width, height, _ = view.extent
    slice_inch = PANEL_INCH * min(width / height, 1.4)
    total_inch = 2 * slice_inch + PANEL_INCH + 4 * _GAP_INCH
    figure = new_figure(total_inch, PANEL_INCH + 0.95)
    left, middle, right = _panels(figure, (slice_inch, slice_inch, PANEL_INCH))
    box = _zoom_box(view)
    for axes, name in ((left, "T2-weighted"), (middle, "segmentation"), (right, "detail")):
        _draw_scan(axes, view)
        axes.set_title(name, fontsize=9, pad=4)
    _draw_mask(middle, view, line_width=0.9)
    _draw_mask(right, view, line_width=1.6)
    middle.add_patch(Rectangle(box[:2], ZOOM_MM, ZOOM_MM, fill=False, edgecolor="white", linewidth=0.9, linestyle="--"))
    right.set_xlim(box[0], box[0] + ZOOM_MM)
    right.set_ylim(box[1] + ZOOM_MM, box[1])
    _draw_scale(left, view.extent, 20)
    _draw_scale(right, (box[0], box[0] + ZOOM_MM, box[1] + ZOOM_MM, box[1]), 10)
    _write_around(figure, title, footnote)
    return figure


def compared_figure(
    volume: Volume,
    reference: Volume,
    prediction: Volume,
    *,
    title: str | None = None,
    footnote: str | None = None,
) -> Figure:
    """Returns three panels of one sagittal slice: the scan, the reference over it, the prediction over it.

    Args:
        volume: Scan in any orientation.
        reference: Labels on the same grid; they choose the slice, the middle one or where that has no label the one
            with most, and the part of it that is shown.
        prediction: Labels on the same grid.
        title: A line above, such as the exam.
        footnote: A line below, such as that the exam is synthetic.

    Raises:
        GeometryError: A mask and the scan lie on different grids.
    """
    index = most_telling_slice(reference)
    view, predicted = _view(volume, reference, index), _view(volume, prediction, index, around=reference)
    _, width, height, _ = view.extent
    slice_inch = PANEL_INCH * min(width / height, 1.4)
    figure = new_figure(3 * slice_inch + 4 * _GAP_INCH, PANEL_INCH + 0.95)
    panels = _panels(figure, (slice_inch,) * 3)
    for axes, name in zip(panels, ("T2-weighted", "reference", "prediction"), strict=True):
        _draw_scan(axes, view)
        axes.set_title(name, fontsize=9, pad=4)
    _draw_mask(panels[1], view, line_width=0.9)
    _draw_mask(panels[2], predicted, line_width=0.9)
    _draw_scale(panels[0], view.extent, 20)
    _write_around(figure, title, footnote)
    return figure


def _panels(figure: Figure, widths_inch: tuple[float, ...]) -> list[Axes]:
    """Returns axes of one height side by side."""
    total_width, total_height = figure.get_size_inches()
    panels, at = [], _GAP_INCH
    for width in widths_inch:
        place = (at / total_width, 0.38 / total_height, width / total_width, PANEL_INCH / total_height)
        panels.append(figure.add_axes(place))
        at += width + _GAP_INCH
    return panels


def _view(volume: Volume, mask: Volume, slice_index: int | None, *, around: Volume | None = None) -> _View:
    """Returns the slice to show, upright; the part of it around another mask's labels where one is given."""
    difference = volume.geometry.difference(mask.geometry)
    if difference is not None:
        raise GeometryError(f"expected scan and mask on one grid, but {difference} (scan first).")
    index = most_telling_slice(mask) if slice_index is None else slice_index
    height_mm, width_mm = sagittal_pixel_mm(volume.geometry)
    labels = sagittal_slice(mask, index).astype(np.uint8)
    shown = labels if around is None else sagittal_slice(around, index).astype(np.uint8)
    window = window_around(shown, (height_mm, width_mm), MARGIN_MM)
    return _View(grey(sagittal_slice(volume, index)[window]), labels[window], height_mm, width_mm)


def window_around(labels: NDArray[np.uint8], pixel_mm: tuple[float, float], margin_mm: float) -> tuple[slice, slice]:
    """Returns the part of a slice that holds its labels and a border; all of it where there is no label."""
    if not labels.any():
        return slice(None), slice(None)
    rows, columns = (
        slice(max(int(at.min() - margin_mm / step), 0), min(int(at.max() + margin_mm / step) + 1, size))
        for at, step, size in zip(np.nonzero(labels), pixel_mm, labels.shape, strict=True)
    )
    return rows, columns


def most_telling_slice(mask: Volume) -> int:
    """Returns the middle slice, or where that has no label the slice with most labelled voxels."""
    middle = middle_slice(mask.geometry)
    rest = tuple(axis for axis in range(3) if axis != mask.geometry.slice_axis)
    labelled = np.count_nonzero(mask.array, axis=rest)
    return middle if labelled[middle] or not labelled.any() else int(labelled.argmax())


def _zoom_box(view: _View) -> tuple[float, float]:
    """Returns left and top in mm of the detail: around the discs' middle, or the picture's, inside the picture."""
    rows, columns = np.nonzero(view.mask == LABELS[Structure.INTERVERTEBRAL_DISC])
    if not len(rows):
        rows, columns = (np.array([size / 2]) for size in view.scan.shape)
    # the extremes' middle, not the mean: the lower discs are larger, and the detail would drift down
    centre_x = (columns.min() + columns.max() + 1) / 2 * view.width_mm
    centre_y = (rows.min() + rows.max() + 1) / 2 * view.height_mm
    _, right, bottom, _ = view.extent
    return (
        float(np.clip(centre_x - ZOOM_MM / 2, 0, max(right - ZOOM_MM, 0))),
        float(np.clip(centre_y - ZOOM_MM / 2, 0, max(bottom - ZOOM_MM, 0))),
    )


def _draw_scan(axes: Axes, view: _View) -> None:
    """Draws the slice with square millimetres on black."""
    axes.imshow(view.scan, cmap="gray", vmin=0, vmax=1, extent=view.extent, interpolation="lanczos", aspect="equal")
    axes.set_facecolor("black")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def _draw_mask(axes: Axes, view: _View, *, line_width: float) -> None:
    """Draws area and outline of each structure; contours run between pixel centres, as the scan's do."""
    rows, columns = view.mask.shape
    x = (np.arange(columns) + 0.5) * view.width_mm
    y = (np.arange(rows) + 0.5) * view.height_mm
    for structure, label in LABELS.items():
        inside = (view.mask == label).astype(np.float64)
        if not inside.any():
            continue
        colour = fraction(structure)
        axes.contourf(x, y, inside, levels=[0.5, 2], colors=[colour], alpha=FILL)
        axes.contour(x, y, inside, levels=[0.5], colors=[colour], linewidths=line_width)


def _draw_scale(axes: Axes, extent: tuple[float, float, float, float], length_mm: float) -> None:
    """Draws a bar of known length into the lower left corner."""
    left, right, bottom, top = extent
    x, y = left + 0.05 * (right - left), bottom - 0.05 * (bottom - top)
    axes.plot([x, x + length_mm], [y, y], color="white", linewidth=2, solid_capstyle="butt")
    axes.text(x, y - 0.02 * (bottom - top), f"{length_mm:g} mm", color="white", fontsize=7, ha="left", va="bottom")


def _write_around(figure: Figure, title: str | None, footnote: str | None) -> None:
    """Writes title, legend and footnote."""
    if title:
        figure.text(0.012, 0.965, title, fontsize=10, ha="left", va="center")
    patches = [Patch(facecolor=(*fraction(one), FILL), edgecolor=fraction(one), label=TITLES[one]) for one in LABELS]
    figure.legend(handles=patches, loc="lower right", ncols=2, fontsize=8, frameon=False, bbox_to_anchor=(0.995, 0.0))
    if footnote:
        figure.text(0.012, 0.035, footnote, fontsize=8, color="0.35", ha="left", va="center")
