"""Pictures: their size, colours, and where structures lie in them."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from cspine_assets.domain.anatomy import Structure
from cspine_assets.domain.errors import GeometryError
from cspine_assets.domain.report.curves import TrainingCurve, curve_png
from cspine_assets.domain.report.overlay import (
    compared_figure,
    most_telling_slice,
    overlay_figure,
    write_overlay_figure,
)
from cspine_assets.domain.report.style import COLOURS, grey
from cspine_assets.domain.report.thumbnail import LIMIT_BYTES, mid_sagittal_png
from cspine_assets.domain.volume import Geometry, Volume

SHAPE = (5, 60, 80)
AFFINE = np.array([[4.0, 0, 0, 0], [0, -1.0, 0, 0], [0, 0, -2.0, 0], [0, 0, 0, 1]])
"""Slices first; the second axis runs from front to back, the third, with 2 mm, from head to feet."""

GEOMETRY = Geometry(SHAPE, AFFINE)


def example(noise=0.0):
    """Returns a scan and its mask: one body above one disc, left of the middle."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[1:4, 10:26, 30:40] = 1
    mask[1:4, 10:26, 42:46] = 2
    rng = np.random.default_rng(0)
    scan = (100 + 40 * mask + noise * rng.normal(0, 30, SHAPE)).astype(np.float32)
    return Volume(scan, GEOMETRY), Volume(mask, GEOMETRY)


def pixels(content):
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)


def places(picture, structure):
    return np.argwhere(np.all(picture == COLOURS[structure], axis=2))


def test_a_thumbnail_has_as_many_pixels_per_mm_in_both_directions():
    volume, _ = example()
    height, width, _ = pixels(mid_sagittal_png(volume)).shape
    assert height / width == pytest.approx(80 * 2.0 / 60, abs=0.02)


def test_a_thumbnail_outlines_bodies_above_discs_on_the_front_side():
    picture = pixels(mid_sagittal_png(*example()))
    body = places(picture, Structure.VERTEBRAL_BODY)
    disc = places(picture, Structure.INTERVERTEBRAL_DISC)
    assert len(body)
    assert body[:, 0].max() < disc[:, 0].max()
    assert body[:, 1].mean() < picture.shape[1] / 2


def test_a_thumbnail_outline_is_a_rim_and_not_an_area():
    picture = pixels(mid_sagittal_png(*example()))
    body = places(picture, Structure.VERTEBRAL_BODY)
    centre = body.mean(axis=0).round().astype(int)
    assert tuple(picture[tuple(centre)]) != COLOURS[Structure.VERTEBRAL_BODY]


def test_a_noisy_thumbnail_stays_below_its_limit():
    rng = np.random.default_rng(1)
    geometry = Geometry((3, 448, 448), np.diag([4.0, 0.5, 0.5, 1]))
    noise = Volume(rng.normal(0, 1, geometry.shape).astype(np.float32), geometry)
    assert len(mid_sagittal_png(noise)) < LIMIT_BYTES


def test_a_flat_scan_is_black_and_does_not_fail():
    assert not grey(np.full((4, 4), 7)).any()


def test_without_a_label_in_the_middle_the_fullest_slice_is_shown():
    _, mask = example()
    assert most_telling_slice(mask) == 2
    array = mask.array.copy()
    array[1:3] = 0
    assert most_telling_slice(Volume(array, GEOMETRY)) == 3
    assert most_telling_slice(Volume(np.zeros_like(array), GEOMETRY)) == 2


def test_an_overlay_has_three_panels_in_equal_millimetres():
    volume, mask = example()
    axes = overlay_figure(volume, mask, title="an exam", footnote="synthetic phantom").axes
    assert [panel.get_title() for panel in axes] == ["T2-weighted", "segmentation", "detail"]
    assert {panel.get_aspect() for panel in axes} == {1.0}


def test_reference_and_prediction_are_drawn_over_one_part_of_the_scan():
    volume, reference = example()
    wider = np.zeros(SHAPE, np.uint8)
    wider[1:4, 10:50, 30:40] = 1
    scan, left, right = compared_figure(volume, reference, Volume(wider, GEOMETRY), title="an exam").axes
    assert [axes.get_title() for axes in (scan, left, right)] == ["T2-weighted", "reference", "prediction"]
    assert scan.images[0].get_extent() == left.images[0].get_extent() == right.images[0].get_extent()
    assert not scan.collections
    # the second axis runs from front to back in steps of 1 mm: 16 mm in the reference, 40 in the prediction
    widths = [np.ptp(axes.collections[0].get_paths()[0].vertices[:, 0]) for axes in (left, right)]
    assert widths == [pytest.approx(16), pytest.approx(40)]


def test_a_prediction_on_another_grid_is_not_drawn():
    volume, reference = example()
    moved = AFFINE.copy()
    moved[0, 3] = 50
    with pytest.raises(GeometryError):
        compared_figure(volume, reference, Volume(reference.array, Geometry(SHAPE, moved)))


def test_an_overlay_without_any_label_is_drawn():
    volume, mask = example()
    overlay_figure(volume, Volume(np.zeros_like(mask.array), GEOMETRY))


def test_an_overlay_is_written_as_a_picture_and_nothing_else_is_left(tmp_path):
    write_overlay_figure(tmp_path / "figure.png", *example(), dpi=50)
    assert [path.name for path in tmp_path.iterdir()] == ["figure.png"]
    assert Image.open(tmp_path / "figure.png").width > 200


def test_a_mask_of_another_grid_is_refused():
    volume, mask = example()
    moved = AFFINE.copy()
    moved[0, 3] = 5
    with pytest.raises(GeometryError, match="origin differs"):
        overlay_figure(volume, Volume(mask.array, Geometry(SHAPE, moved)))


@pytest.mark.parametrize("epochs", [0, 1, 20])
def test_a_training_curve_is_drawn_from_its_first_epoch_on(epochs):
    values = [0.3 + 0.02 * n for n in range(epochs)]
    dice = {Structure.VERTEBRAL_BODY: values}
    picture = pixels(curve_png(TrainingCurve(range(epochs), values, values, dice), title="2d, fold 0"))
    plot = picture[: int(picture.shape[0] * 0.75)]
    # lines are drawn with soft edges: near the colour is enough, and nothing else in the plot is red
    reddish = np.abs(plot - COLOURS[Structure.VERTEBRAL_BODY]).max(axis=2) < 40
    assert reddish.any() == (epochs > 0)
