"""Random and adversarial pairs of masks."""

from __future__ import annotations

import numpy as np


def random_pair(seed, *, highest=3):
    """Blobs, noise, empty slices, empty masks, foreign labels, odd sizes, either memory order.

    Args:
        seed: Starts the draws.
        highest: Largest value in the reference; 1 and 2 are labels, all above is foreign.
    """
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(1, 24, 3))
    density = rng.choice([0.0, 0.01, 0.2, 0.9])
    reference = (rng.integers(0, highest + 1, shape) * (rng.random(shape) < density)).astype(np.uint8)
    changed = rng.random(shape) < rng.choice([0.0, 0.05, 0.5, 1.0])
    prediction = np.where(changed, rng.integers(0, 3, shape), reference).astype(np.uint8)
    for mask in (reference, prediction):
        for axis in range(3):
            empty = rng.random(shape[axis]) < 0.2
            mask[tuple(empty if axis == a else slice(None) for a in range(3))] = 0
    if seed % 7 == 0:
        prediction[:] = 0
    if seed % 11 == 0:
        reference[:] = 0
    if seed % 2:
        reference = np.asfortranarray(reference)
    if seed % 3:
        prediction = np.asfortranarray(prediction)
    return reference, prediction
