"""Measures of boxes whose sizes and angles are known, on anisotropic grids and turned against them."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import cc3d
import nibabel as nib
import numpy as np
import pytest

from cspine_assets.domain.anatomy import DISC_LEVELS, LABELS, VERTEBRAE, Structure
from cspine_assets.domain.evaluation.flags import Flag, Severity
from cspine_assets.domain.evaluation.level_score import Protocol, View
from cspine_assets.domain.evaluation.levels import measure_levels
from cspine_assets.domain.evaluation.morphometry import COBB_LEVEL, Measure, Measured, measure_morphometry
from cspine_assets.domain.evaluation.score import Part, ScoredCase, ScoredPair, score_pairs
from cspine_assets.domain.volume import Geometry

MEASURED = (Part.MORPHOMETRY,)

HEIGHT, DEPTH, WIDTH, DISC = 14.0, 17.0, 20.0, 6.0
SPACING = (0.8, 0.8, 4.0)
"""In the slice, in the slice, between slices."""

HEIGHT_TOLERANCE_MM = SPACING[0]
"""Each of two faces may lie half a voxel off where it runs along the grid."""


def turn(degrees: float) -> np.ndarray:
    """Returns the rotation in the sagittal plane that leans a body backwards, x, y (front), z (up)."""
    angle = np.deg2rad(degrees)
    return np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])


def spine(*, lean: float = 0.0, lordosis: float = 0.0, height: float = HEIGHT) -> np.ndarray:
    """Returns a mask of seven bodies and six discs on a chain that bends evenly from C2 to C7."""
    mask = np.zeros(GRID.shape, np.uint8)
    places = np.moveaxis(np.indices(GRID.shape), 0, -1) @ GRID.affine[:3, :3].T + GRID.affine[:3, 3]
    centre = np.array([0.0, 0.0, 0.0])
    tilts = lean + lordosis * (5 - np.arange(7)) / 5
    centres = [centre]
    for upper, lower in pairwise(tilts):
        step = (turn(upper) @ [0, 0, height / 2]) + (turn((upper + lower) / 2) @ [0, 0, DISC])
        centres.append(centres[-1] - step - turn(lower) @ [0, 0, height / 2])
    shift = np.mean(centres, axis=0)
    for index, (tilt, middle) in enumerate(zip(tilts, centres, strict=True)):
        if index < 6:
            between, half = (tilt + tilts[index + 1]) / 2, turn(tilt) @ [0, 0, height / 2]
            disc = middle - half - turn(between) @ [0, 0, DISC / 2]
            put(mask, places, disc - shift, between, DISC, Structure.INTERVERTEBRAL_DISC)
        put(mask, places, middle - shift, tilt, height, Structure.VERTEBRAL_BODY)
    own = (places - (centres[0] - shift)) @ turn(tilts[0])
    dens = (np.abs(own[..., :2]) < 4.5).all(-1) & (own[..., 2] > 0) & (own[..., 2] < height / 2 + 17)
    mask[dens] = LABELS[Structure.VERTEBRAL_BODY]
    return mask


def put(mask: np.ndarray, places: np.ndarray, centre: np.ndarray, tilt: float, height: float, structure: Structure):
    own = np.abs((places - centre) @ turn(tilt))
    inside = (own < np.array([WIDTH, DEPTH, height]) / 2).all(-1)
    mask[inside & (mask == 0)] = LABELS[structure]


def between(disc: str, mask: np.ndarray) -> np.ndarray:
    """Returns the voxels of one disc: they are counted from above."""
    found, count = cc3d.connected_components(mask == LABELS[Structure.INTERVERTEBRAL_DISC], return_N=True)
    # the second axis runs upwards
    order = sorted(range(1, count + 1), key=lambda n: -np.argwhere(found == n)[:, 1].mean())
    return found == order[DISC_LEVELS.index(disc)]


GRID = Geometry(
    (125, 238, 7),
    np.array([[0, 0, 4.0, -12.0], [-0.8, 0, 0, 50.0], [0, 0.8, 0, -92.0], [0, 0, 0, 1]]),
)


def by_place(reference: np.ndarray, prediction: np.ndarray) -> dict[tuple[str, Measure], object]:
    return {(row.level, row.measure): row for row in measure_morphometry(reference, prediction, GRID)}


@pytest.mark.parametrize(("lean", "lordosis"), [(0, 0), (7, 20), (-20, 10), (25, 0), (10, -15)])
def test_sizes_and_angles_of_boxes_are_measured(lean, lordosis):
    mask = spine(lean=lean, lordosis=lordosis)
    rows = by_place(mask, mask)
    for level in ("C3", "C4", "C5", "C6", "C7", "T1"):
        assert rows[level, Measure.HEIGHT].reference == pytest.approx(HEIGHT, abs=HEIGHT_TOLERANCE_MM)
        assert rows[level, Measure.DEPTH].reference == pytest.approx(DEPTH, abs=HEIGHT_TOLERANCE_MM)
    for level in ("C2/C3", "C4/C5", "C7/T1"):
        assert rows[level, Measure.HEIGHT].reference == pytest.approx(DISC, abs=HEIGHT_TOLERANCE_MM)
        assert rows[level, Measure.DISC_HEIGHT_INDEX].reference == pytest.approx(DISC / HEIGHT, abs=0.08)
    # one step of a voxel over the 14 mm that are fitted is 3.2 degrees
    assert rows[COBB_LEVEL, Measure.COBB].reference == pytest.approx(lordosis, abs=3.2)
    assert {row.severity for row in rows.values()} == {Severity.NONE}


def test_the_difference_is_prediction_minus_reference():
    rows = by_place(spine(lean=12), np.where(spine(lean=12) == 2, 0, spine(lean=12)).astype(np.uint8))
    assert rows["C4", Measure.VOLUME].difference == 0
    disc = rows["C4/C5", Measure.HEIGHT]
    assert (disc.status, disc.difference) == (Measured.REFERENCE_ONLY, None)
    assert disc.reason == "prediction: it is not there"


def test_c2_has_no_height_and_says_why():
    mask = spine(lean=12)
    row = by_place(mask, mask)["C2", Measure.HEIGHT]
    assert row.status is Measured.NEITHER
    assert "dens" in row.reason


def test_what_is_cut_off_is_not_measured():
    mask = spine(lean=5)
    mask[:, : int(np.flatnonzero((mask == 1).any(axis=(0, 2)))[0]) + 6] = 0
    geometry_end = mask[:, int(np.flatnonzero((mask == 1).any(axis=(0, 2)))[0]) :]
    cut = Geometry(geometry_end.shape, GRID.affine)
    rows = {(row.level, row.measure): row for row in measure_morphometry(geometry_end, geometry_end, cut)}
    assert "end of the volume" in rows["T1", Measure.HEIGHT].reason


def measured_beyond(axis: int, voxels: int) -> dict[tuple[str, Measure], object]:
    """Returns the measures where the volume begins some voxels within the bones along an axis."""
    mask = spine(lean=20)
    bones = np.flatnonzero((mask == LABELS[Structure.VERTEBRAL_BODY]).any(axis=tuple({0, 1, 2} - {axis})))
    mask = np.moveaxis(np.moveaxis(mask, axis, 0)[bones[0] + voxels :], 0, axis)
    return {(row.level, row.measure): row for row in measure_morphometry(mask, mask, Geometry(mask.shape, GRID.affine))}


def test_a_body_that_the_front_of_the_volume_cuts_is_not_measured():
    rows = measured_beyond(axis=0, voxels=4)
    for measure in (Measure.HEIGHT, Measure.DEPTH, Measure.VOLUME):
        assert rows["T1", measure].reason.startswith("reference: it reaches the end of the volume")
        assert rows["T1", measure].reference is None
    assert rows["C3", Measure.DEPTH].status is Measured.OK
    assert rows["C7/T1", Measure.DISC_HEIGHT_INDEX].reference is None


def test_bodies_that_go_on_beyond_the_first_slice_are_not_measured():
    rows = measured_beyond(axis=2, voxels=1)
    assert {row.status for row in rows.values()} == {Measured.NEITHER}
    assert rows[COBB_LEVEL, Measure.COBB].reason.startswith("reference: C2: it reaches the end of the volume, C7: it")


def test_a_prediction_that_merges_two_bodies_has_no_ends_between_them():
    mask = spine(lean=12)
    merged = mask.copy()
    merged[between("C4/C5", mask)] = LABELS[Structure.VERTEBRAL_BODY]
    rows = by_place(mask, merged)
    for level in ("C4", "C5"):
        for measure in (Measure.HEIGHT, Measure.DEPTH, Measure.VOLUME):
            assert rows[level, measure].status is Measured.REFERENCE_ONLY
            assert "merged" in rows[level, measure].reason
    assert rows["C3/C4", Measure.DISC_HEIGHT_INDEX].reason.startswith("prediction: C4: it is merged")
    assert Flag.PREDICTION_MERGED in rows["C3/C4", Measure.DISC_HEIGHT_INDEX].flags
    assert rows["C3", Measure.HEIGHT].status is Measured.OK
    merged[between("C7/T1", mask)] = LABELS[Structure.VERTEBRAL_BODY]
    assert by_place(mask, merged)[COBB_LEVEL, Measure.COBB].reason.startswith("prediction: C7: it is merged")


def test_an_index_bears_the_doubts_of_the_bodies_that_it_is_computed_from():
    mask = spine(lean=12)
    fused = mask.copy()
    fused[between("C4/C5", mask)] = LABELS[Structure.VERTEBRAL_BODY]
    rows = by_place(fused, fused)
    assert rows["C3/C4", Measure.HEIGHT].severity is Severity.NONE
    assert rows["C3/C4", Measure.DISC_HEIGHT_INDEX].severity is Severity.NAME_UNSURE
    assert rows["C2/C3", Measure.DISC_HEIGHT_INDEX].severity is Severity.NONE


@pytest.mark.parametrize("level", ["C2", "C7"])
def test_the_cobb_angle_bears_the_findings_of_both_bodies_that_it_lies_between(level):
    mask = spine(lean=12)
    reference = by_place(mask, mask)
    assert Flag.PREDICTION_IN_PIECES not in reference[COBB_LEVEL, Measure.COBB].flags
    bodies, count = cc3d.connected_components(mask == LABELS[Structure.VERTEBRAL_BODY], return_N=True)
    order = sorted(range(1, count + 1), key=lambda n: -np.argwhere(bodies == n)[:, 1].mean())
    body = np.argwhere(bodies == order[VERTEBRAE.index(level)])
    prediction = mask.copy()
    # a gap from the front to the back leaves two halves side by side
    middle = body[body[:, 2] == np.median(body[:, 2])]
    prediction[tuple(middle.T)] = 0
    rows = by_place(mask, prediction)
    assert Flag.PREDICTION_IN_PIECES in rows[level, Measure.VOLUME].flags
    assert Flag.PREDICTION_IN_PIECES in rows[COBB_LEVEL, Measure.COBB].flags


def test_a_level_that_hinges_on_doubtful_voxels_is_unsure_here_as_for_its_dice():
    mask = spine(lean=12)
    disc = between("C4/C5", mask)
    above = np.argwhere(disc) - [0, 12, 0]
    prediction = mask.copy()
    # a third of a disc lies where the body should be
    stray = above[above[:, 0] < np.percentile(above[:, 0], 33)]
    prediction[tuple(stray.T)] = LABELS[Structure.INTERVERTEBRAL_DISC]
    scored = {
        (level.level, level.severity)
        for level in measure_levels(mask, prediction, GRID)
        if level.view is View.VOLUME and level.protocol is Protocol.ANATOMICAL
    }
    found = {
        (row.level, row.severity)
        for row in measure_morphometry(mask, prediction, GRID)
        if row.measure is Measure.VOLUME
    }
    assert found == scored
    assert Severity.NAME_UNSURE in {severity for _, severity in found}


def test_a_reference_without_bodies_has_a_reason_for_every_row():
    empty = np.zeros(GRID.shape, np.uint8)
    rows = measure_morphometry(empty, spine(), GRID)
    assert len(rows) == 46
    assert all(row.reason for row in rows)


def test_files_are_measured_into_valid_rows(tmp_path):
    path, mask = tmp_path / "mask.nii.gz", spine(lean=12)
    nib.save(nib.Nifti1Image(mask, GRID.affine), path)
    case = ScoredCase("E", "P", "test", None, "2d", "demo", "s", "expert", "m")
    rows = score_pairs(
        [ScoredPair(path, path, case), ScoredPair(path, None, replace(case, predictor="none"))], parts=MEASURED
    )
    frame = rows.morphometry
    assert len(frame) == 2 * 46
    assert frame.query("predictor == '2d' and measure == 'volume_mm3'")["difference"].eq(0).all()
    assert set(frame.query("predictor == 'none'")["status"]) == {"reference_only", "neither"}
    assert rows.exams.empty
    assert rows.levels.empty


def test_a_piece_too_small_for_plates_still_has_a_volume():
    mask = spine(lean=12)
    disc = np.argwhere(mask == LABELS[Structure.INTERVERTEBRAL_DISC])
    thin = mask.copy()
    # of every disc only the outermost slice is predicted
    thin[tuple(disc[disc[:, 2] > disc[:, 2].min()].T)] = 0
    rows = by_place(mask, thin)
    volume = rows["C4/C5", Measure.VOLUME]
    assert volume.status is Measured.OK
    assert 0 < volume.prediction < volume.reference
    crumb = np.zeros_like(mask)
    crumb[tuple(disc[len(disc) // 2])] = LABELS[Structure.INTERVERTEBRAL_DISC]
    touched = [row for row in by_place(mask, crumb).values() if row.prediction is not None]
    assert [(row.measure, round(row.prediction, 3)) for row in touched] == [(Measure.VOLUME, 2.56)]


def test_a_reference_is_named_once_for_its_predictors_and_anew_for_the_next_exam(tmp_path):
    masks = {"a": spine(lean=12), "b": spine(lean=12, lordosis=25)}
    for name, mask in masks.items():
        nib.save(nib.Nifti1Image(mask, GRID.affine), tmp_path / f"{name}.nii.gz")
    case = ScoredCase("a", "P", "test", None, "2d", "demo", "s", "expert", "m")
    cases = [case, replace(case, predictor="3d"), replace(case, exam_id="b")]
    paths = [tmp_path / f"{one.exam_id}.nii.gz" for one in cases]
    frame = score_pairs([ScoredPair(p, p, c) for p, c in zip(paths, cases, strict=True)], parts=MEASURED).morphometry
    cobb = frame.query("measure == 'cobb_deg'")["value_reference"].tolist()
    assert cobb[0] == cobb[1]
    assert cobb[2] == pytest.approx(cobb[0] + 25, abs=6.4)
