"""Names of levels on a second generator that shares no line with the phantoms: ellipses along an arc, in NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from cspine_assets.domain.anatomy import LABELS, Structure
from cspine_assets.domain.evaluation.level_score import Protocol
from cspine_assets.domain.evaluation.level_trial import KnownLevels, Verdict, judge
from cspine_assets.domain.volume import Geometry

SHAPE = (11, 110, 190)
"""Slices, from back to front, from feet to head."""

NONE = -1


def spine(seed, *, bodies=range(7), dens=0.0, cut_above_c2=None):
    """Returns a mask, its levels and its grid.

    Args:
        seed: Of the patient.
        bodies: Indices of the bodies that are drawn, 0 is C2.
        dens: Height of the dens, in heights of a body.
        cut_above_c2: Where the field of view ends above C2's top, in mm; None for far above.
    """
    rng = np.random.default_rng([77, seed])
    spacing = np.array([rng.uniform(3, 4.2), rng.uniform(0.7, 0.95), rng.uniform(0.7, 0.95)])
    geometry = Geometry(SHAPE, np.diag([*spacing, 1.0]))
    x, y, z = (places * step for places, step in zip(np.indices(SHAPE), spacing, strict=True))
    height, gap = rng.uniform(10.5, 15), rng.uniform(2.5, 6)
    bend, middle = rng.uniform(-0.002, 0.004), z.max() / 2
    centre_x, centre_y = x.max() / 2 + rng.normal(0, 1), y.max() / 2
    forwards = y - centre_y - bend * (z - middle) ** 2
    mask, levels = np.zeros(SHAPE, np.uint8), np.full(SHAPE, NONE, np.int8)

    def put(low, high, depth, width, structure, level):
        inside = (z >= low) & (z < high) & ((forwards / depth) ** 2 + ((x - centre_x) / width) ** 2 < 1)
        mask[inside & (mask == 0)] = LABELS[structure]
        levels[inside & (levels == NONE)] = level

    top, top_of_c2 = z.max() - 34 - dens * height, 0.0
    for n in range(9):
        own = height * (rng.uniform(0.95, 1.5) if n == 0 else rng.normal(1 + 0.03 * n, 0.05))
        if n in bodies:
            put(top - own, top, 8 + 0.3 * n, 9 + 0.5 * n, Structure.VERTEBRAL_BODY, n)
        if n == 0:
            top_of_c2 = top
        if n in bodies and n + 1 in bodies:
            put(top - own - gap, top - own, 8, 9, Structure.INTERVERTEBRAL_DISC, n + 1)
        top -= own + gap
    if dens and 0 in bodies:
        put(top_of_c2, top_of_c2 + dens * height, 5, 4.8, Structure.VERTEBRAL_BODY, 0)
    if cut_above_c2 is not None:
        rows = int((top_of_c2 + cut_above_c2) / spacing[2])
        mask, levels = mask[:, :, :rows], levels[:, :, :rows]
        geometry = Geometry(mask.shape, geometry.affine)
    return mask, levels, geometry


def verdicts(mask, levels, geometry):
    """Returns the verdicts of our rule on a mask whose prediction lacks the front of every piece."""
    prediction, predicted = mask.copy(), levels.copy()
    front = int(np.flatnonzero(mask.any(axis=(0, 2)))[-1]) - 1
    prediction[:, front:], predicted[:, front:] = 0, NONE
    found = judge(KnownLevels(mask, prediction, levels, predicted, geometry))
    return [one for one in found if one.protocol is Protocol.ANATOMICAL]


@pytest.mark.parametrize(
    ("bodies", "dens"), [(range(7), 0.0), (range(7), 1.1), (range(8), 0.0), (range(7), 0.5)], ids=str
)
def test_where_the_field_of_view_decides_all_names_are_sure_and_right(bodies, dens):
    sure = []
    for seed in range(6):
        found = verdicts(*spine(seed, bodies=bodies, dens=dens))
        assert Verdict.SILENTLY_WRONG not in {one.verdict for one in found}
        sure.append(all(one.verdict is Verdict.RIGHT and not one.is_unsure for one in found))
    assert sum(sure) >= 5


@pytest.mark.parametrize("above_mm", [-4.0, -1.0])
def test_a_field_of_view_that_ends_near_c3_is_never_silent(above_mm):
    for seed in range(6):
        found = verdicts(*spine(seed, bodies=range(1, 7), cut_above_c2=above_mm))
        assert {one.verdict for one in found} <= {Verdict.FLAGGED, Verdict.RIGHT}
        assert all(one.is_unsure for one in found)
