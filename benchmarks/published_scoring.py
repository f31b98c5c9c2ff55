"""Scores as they are usually made, in a process of its own: what `cspine score` is held against.

Written anew from the description of the published study and from MedPy's own documentation. Nothing here is to be made
faster: it has to cost what it costs people.
"""

from __future__ import annotations

import json
import sys
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


def dice(reference: nib.Nifti1Image, prediction: nib.Nifti1Image) -> list[float]:
    """Returns the Dice of both labels."""
    true, found = reference.get_fdata(), prediction.get_fdata()
    return [slice_mean_dice(true, found, label) for label in LABELS]


def surfaces(reference: nib.Nifti1Image, prediction: nib.Nifti1Image) -> list[float]:
    """Returns MedPy's HD95 and ASSD of both labels on the whole volume."""
    from medpy.metric.binary import assd, hd95  # noqa: PLC0415 - the Dice is not to pay for it

    true, found = reference.get_fdata(), prediction.get_fdata()
    spacing = reference.header.get_zooms()
    return [
        measure(found == label, true == label, voxelspacing=spacing) for label in LABELS for measure in (hd95, assd)
    ]


def score(what: str, references: Path, predictions: Path, exams: int, out: Path) -> None:
    """Scores the first exams of two folders and writes a list of values per exam."""
    measure = {"dice": dice, "surfaces": surfaces}[what]
    paths = sorted(references.iterdir())[:exams]
    scores = {path.name: measure(nib.load(path), nib.load(predictions / path.name)) for path in paths}
    out.write_text(json.dumps(scores), encoding="utf-8")


if __name__ == "__main__":
    score(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]), Path(sys.argv[5]))
