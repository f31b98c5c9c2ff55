"""Scores as they are usually made, in a process of its own: what `cspine score` is held against.

Written anew from the description of the published study and from MedPy's own documentation. Nothing here is to be made
faster or slower: it has to cost what it costs people. The study's notebook loads more libraries than its Dice needs;
they are left out.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

LABELS = (1, 2)


def slice_mean_dice(reference: np.ndarray, prediction: np.ndarray, label: int) -> float:
    """Returns the published Dice: each slice recoded as zeros and ones, summed up, 1 where both are empty."""
    added = 0.0
    for index in range(reference.shape[-1]):
        true = np.where(reference[:, :, index] == label, 1, 0)
        found = np.where(prediction[:, :, index] == label, 1, 0)
        voxels = np.sum(true) + np.sum(found)
        added += 2.0 * np.sum(found[true == 1]) / voxels if voxels > 0 else 1
    return float(added / reference.shape[-1])


def dice(pairs: Sequence[tuple[Path, Path]]) -> list[list[float]]:
    """Returns the Dice of both labels, pair by pair.

    In the published order: nothing of an image is kept but its voxels, and those of a pair are let go when the next
    one is there. It matters: kept images would cost half as much again, in memory that is cleared anew.
    """
    scores = []
    for reference, prediction in pairs:
        true = nib.load(reference).get_fdata()
        found = nib.load(prediction).get_fdata()
        scores.append([slice_mean_dice(true, found, label) for label in LABELS])
    return scores


def surfaces(pairs: Sequence[tuple[Path, Path]]) -> list[list[float]]:
    """Returns MedPy's HD95 and ASSD of both labels on the whole volume, pair by pair."""
    from medpy.metric.binary import assd, hd95  # noqa: PLC0415 - the Dice is not to pay for it

    scores = []
    for reference, prediction in pairs:
        image = nib.load(reference)
        true, found, spacing = image.get_fdata(), nib.load(prediction).get_fdata(), image.header.get_zooms()
        scores.append(
            [
                measure(found == label, true == label, voxelspacing=spacing)
                for label in LABELS
                for measure in (hd95, assd)
            ]
        )
    return scores


def score(what: str, references: Path, predictions: Path, exams: int, out: Path) -> None:
    """Scores the first exams of two folders and writes a list of values per exam."""
    measure = {"dice": dice, "surfaces": surfaces}[what]
    paths = sorted(references.iterdir())[:exams]
    scores = measure([(path, predictions / path.name) for path in paths])
    named = dict(zip((path.name for path in paths), scores, strict=True))
    out.write_text(json.dumps(named), encoding="utf-8")


if __name__ == "__main__":
    score(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]), Path(sys.argv[5]))
