"""One body or disc, drawn by its equations: size and plates are known before a voxel is."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from cspine_assets.domain.anatomy import Structure
from cspine_assets.domain.evaluation.shape import Shape, Unmeasured, measure_shape
from cspine_assets.domain.evaluation.voxels import pieces_of
from cspine_assets.domain.volume import Geometry

HEIGHT, DEPTH, WIDTH = 14.0, 17.0, 20.0
SIDE_MM = 36.0
OFF = 9.0
"""The line of a spine is that many degrees off a body's own axis."""


def grid(spacing_mm: tuple[float, float, float]) -> Geometry:
    """Returns a cube around the origin: right, front, up."""
    shape = tuple(int(SIDE_MM / step) for step in spacing_mm)
    affine = np.diag([*spacing_mm, 1.0])
    affine[:3, 3] = -np.array(spacing_mm) * (np.array(shape) - 1) / 2 + 0.1
    return Geometry(shape, affine)


def forwards(degrees: float) -> np.ndarray:
    """Returns the unit vector that is tilted from up to the front."""
    return np.array([0.0, np.sin(np.deg2rad(degrees)), np.cos(np.deg2rad(degrees))])


def body(
    geometry: Geometry, tilt: float, *, wedge: float = 0.0, roll: float = 0.0, height: float = HEIGHT, is_round: bool
) -> np.ndarray:
    """Returns a body whose upper plate is tilted by half the wedge less, whose lower by half the wedge more."""
    places = np.moveaxis(np.indices(geometry.shape), 0, -1) @ geometry.affine[:3, :3].T + geometry.affine[:3, 3]
    angle = np.deg2rad(roll)
    places = places @ np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    up, half = forwards(tilt), height / 2
    right, front = places[..., 0] / (WIDTH / 2), places @ forwards(tilt + 90) / (DEPTH / 2)
    is_within = right**2 + front**2 <= 1 if is_round else (np.abs(right) <= 1) & (np.abs(front) <= 1)
    above = (places + half * up) @ forwards(tilt + wedge / 2) >= 0
    return is_within & above & ((places - half * up) @ forwards(tilt - wedge / 2) <= 0)


def measured(mask: np.ndarray, geometry: Geometry, tilt: float) -> Shape:
    (piece,) = pieces_of(mask, {Structure.VERTEBRAL_BODY: True}, geometry)[Structure.VERTEBRAL_BODY]
    shape = measure_shape(piece, mask, geometry, forwards(tilt - OFF), has_upper_plate=True)
    assert isinstance(shape, Shape)
    return shape


def tilt_of(normal: np.ndarray) -> float:
    return float(np.degrees(np.arctan2(normal[1], normal[2])))


@pytest.mark.parametrize("spacing_mm", [(3.3, 0.5, 0.5), (4.0, 0.6, 0.6), (1.0, 1.0, 1.0)])
@pytest.mark.parametrize("tilt", [-32, -18, 11, 24, 39])
@pytest.mark.parametrize("is_round", [False, True])
def test_a_wedge_is_measured_whatever_its_section_and_tilt(spacing_mm, tilt, is_round):
    geometry = grid(spacing_mm)
    shape = measured(body(geometry, tilt, wedge=6, is_round=is_round), geometry, tilt)
    assert shape.height_mm == pytest.approx(HEIGHT, abs=spacing_mm[2] / 2)
    # a slice beside the middle of a round body is less deep
    assert shape.depth_mm == pytest.approx(DEPTH, abs=spacing_mm[2] / 2 + 0.3)
    assert tilt_of(shape.upper_normal) == pytest.approx(tilt - 3, abs=2.5 * spacing_mm[2])
    assert tilt_of(shape.lower_normal) == pytest.approx(tilt + 3, abs=2.5 * spacing_mm[2])


@pytest.mark.parametrize("tilt", [20, 30, 40])
@pytest.mark.parametrize("roll", [-8, 8])
def test_a_thin_disc_that_lies_across_the_slices_is_as_deep_as_it_is(tilt, roll):
    geometry = grid((4.0, 0.6, 0.6))
    shape = measured(body(geometry, tilt, roll=roll, height=5, is_round=False), geometry, tilt)
    assert shape.depth_mm == pytest.approx(DEPTH, abs=0.6)
    assert shape.height_mm == pytest.approx(5, abs=0.3)


SPURS = {
    "a lip in front": lambda right, front, up: (abs(right) < 7) & (front > 6) & (front < 12) & (up < -3) & (up > -7),
    "a lip behind": lambda right, front, up: (abs(right) < 7) & (front < -6) & (front > -11) & (up < -4) & (up > -8.5),
    "a thin beak": lambda right, front, up: (abs(right) < 8) & (front > 6) & (front < 16) & (up < -5) & (up > -7),
    "a hook downwards": lambda right, front, up: (abs(right) < 7) & (abs(front - 9) < 2) & (up < -4) & (up > -8.5),
    "a bump of a dozen voxels": lambda right, front, up: (abs(right) < 3) & (abs(front) < 1) & (up < -6) & (up > -8.5),
}


@pytest.mark.parametrize("spur", SPURS)
@pytest.mark.parametrize("tilt", [-18, 4, 11, 24])
def test_a_spur_tilts_no_plate(spur, tilt):
    geometry = grid((4.0, 0.6, 0.6))
    clean = body(geometry, tilt, is_round=True)
    places = np.moveaxis(np.indices(geometry.shape), 0, -1) @ geometry.affine[:3, :3].T + geometry.affine[:3, 3]
    right, front, up = places[..., 0], places @ forwards(tilt + 90), places @ forwards(tilt)
    expected = measured(clean, geometry, tilt)
    shape = measured(clean | SPURS[spur](right, front, up), geometry, tilt)
    assert tilt_of(shape.upper_normal) == pytest.approx(tilt_of(expected.upper_normal), abs=1)
    assert tilt_of(shape.lower_normal) == pytest.approx(tilt_of(expected.lower_normal), abs=2.5)
    assert shape.height_mm == pytest.approx(expected.height_mm, abs=0.6)
    assert shape.depth_mm == pytest.approx(expected.depth_mm, abs=0.6)


def test_order_and_direction_of_the_axes_change_nothing():
    geometry = grid((4.0, 0.8, 0.6))
    mask = body(geometry, 23, wedge=5, is_round=True)
    expected = measured(mask, geometry, 23)
    for order in permutations(range(3)):
        for flipped in range(3):
            affine = geometry.affine.copy()
            affine[:3, :3] = geometry.affine[:3, list(order)]
            turned = np.flip(np.transpose(mask, order), flipped)
            affine[:3, 3] += affine[:3, flipped] * (turned.shape[flipped] - 1)
            affine[:3, flipped] *= -1
            shape = measured(turned, Geometry(turned.shape, affine), 23)
            assert shape.height_mm == pytest.approx(expected.height_mm, abs=1e-9)
            assert shape.depth_mm == pytest.approx(expected.depth_mm, abs=1e-9)
            np.testing.assert_allclose(shape.lower_normal, expected.lower_normal, atol=1e-9)


@pytest.mark.parametrize("tilt", [0, 25])
def test_what_was_cut_out_of_a_merged_piece_has_no_end_there(tilt):
    geometry = grid((4.0, 0.8, 0.8))
    mask = body(geometry, tilt, height=24, is_round=True)
    (piece,) = pieces_of(mask, {Structure.VERTEBRAL_BODY: True}, geometry)[Structure.VERTEBRAL_BODY]
    below = piece.part(piece.points_mm @ forwards(tilt) < 1)
    assert measure_shape(below, mask, geometry, forwards(tilt - OFF), has_upper_plate=True) is Unmeasured.CUT
    # a bridge at the front leaves the middle of the plate to itself
    front = piece.points_mm @ forwards(tilt + 90) > DEPTH / 4
    gap = piece.part((np.abs(piece.points_mm @ forwards(tilt) - 3) < 2) & ~front)
    mask[tuple(gap.indices.T)] = False
    assert isinstance(measure_shape(below, mask, geometry, forwards(tilt - OFF), has_upper_plate=True), Shape)


def test_what_fills_the_volume_has_ends_of_its_own():
    geometry = grid((4.0, 1.0, 1.0))
    mask = np.ones(geometry.shape, bool)
    assert measured(mask, geometry, OFF).height_mm == pytest.approx(SIDE_MM)


def test_a_crumb_has_no_shape():
    geometry = grid((4.0, 1.0, 1.0))
    mask = np.zeros(geometry.shape, bool)
    mask[4, 10:12, 10] = True
    (piece,) = pieces_of(mask, {Structure.VERTEBRAL_BODY: True}, geometry)[Structure.VERTEBRAL_BODY]
    assert measure_shape(piece, mask, geometry, forwards(0), has_upper_plate=True) is Unmeasured.TOO_SMALL
