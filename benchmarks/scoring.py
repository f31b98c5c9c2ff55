"""Scoring two folders of masks: whole processes against the published way, on the same synthetic exams.

Change a target only with its reason. Exams have 448 x 448 x 15 voxels, predictions the mistakes of a model. The base of
every ratio is the published way as it runs where nobody set anything: NumPy, nibabel, the C library's own choices.
"""

from __future__ import annotations

import csv
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from benchmarks.runner import ProcessCost, run_process
from cspine_assets.domain.phantom.degradation import model_mask
from cspine_assets.domain.phantom.grid import VoxelGrid
from cspine_assets.domain.phantom.masks import mask_solids
from cspine_assets.domain.phantom.plan import plan_cohort
from cspine_assets.domain.phantom.scene import draw_scene, exam_generator
from cspine_assets.domain.phantom.settings import CohortSettings

EXAMS = 200
SURFACE_EXAMS = 20
"""Exams that MedPy measures; its time is taken times ten, for all of them would take four minutes."""
RELEASE_EXAMS = 481
MEMORY_MB = 500
REPEATS = 3

AS_SHIPPED = {"PYTHONDONTWRITEBYTECODE": ""}
"""Python keeps what it compiled, as it does unless a container's recipe says otherwise; both ways profit."""

GIVEN_BACK = {**AS_SHIPPED, "MALLOC_TRIM_THRESHOLD_": "65536"}
"""What Dask starts its workers with. Once any such threshold is set, glibc no longer raises it to the size of what is
asked for (mallopt(3)): the published way's 50 MB an exam go back to the system, which clears each page of them anew."""


@dataclass(frozen=True)
class Folders:
    """Where the masks lie."""

    reference: Path
    prediction: Path

    @classmethod
    def under(cls, root: Path) -> Folders:
        """Makes both folders."""
        folders = cls(root / "reference", root / "prediction")
        for folder in (folders.reference, folders.prediction):
            folder.mkdir(parents=True)
        return folders


def write_exams(folders: Folders, exams: int) -> None:
    """Writes synthetic references and predictions of 448 x 448 x 15 voxels, the slices last as dcm2niix leaves them."""
    settings = CohortSettings(patients=exams + 20, seed=3, matrix=448, slices_min=15, slices_max=15, tables_only=True)
    plans = [exam for exam in plan_cohort(settings).exams if not exam.acquisition.is_3d][:exams]
    for exam in plans:
        scene = draw_scene(settings, exam)
        affine = scene.grid.affine[:, [2, 1, 0, 3]]
        grid = VoxelGrid(affine, scene.grid.shape[::-1])
        mask = mask_solids(scene.spine.solids, grid)
        found = model_mask(exam_generator(settings, exam, purpose=7), scene.spine, grid)
        for folder, array in ((folders.reference, mask), (folders.prediction, found)):
            nib.save(nib.Nifti1Image(array, affine), folder / f"case_{exam.index:03d}.nii.gz")


def repeat_exams(folders: Folders, source: Folders, exams: int) -> None:
    """Links the exams of other folders again and again, under new names."""
    paths = sorted(source.reference.iterdir())
    for index in range(exams):
        name = paths[index % len(paths)].name
        (folders.reference / f"{index:03d}_{name}").symlink_to(source.reference / name)
        (folders.prediction / f"{index:03d}_{name}").symlink_to(source.prediction / name)


def published(what: str, folders: Folders, exams: int, out: Path, **environment: str) -> ProcessCost:
    """Runs the published way."""
    command = [sys.executable, "-m", "benchmarks.published_scoring", what]
    return run_process(*command, folders.reference, folders.prediction, exams, out, environment=environment)


def ours(folders: Folders, out: Path, *options: object, **environment: str) -> ProcessCost:
    """Runs `cspine score`."""
    command = [Path(sys.executable).with_name("cspine"), "score"]
    where = ["--reference", folders.reference, "--prediction", folders.prediction, "--out", out]
    return run_process(*command, *where, *options, environment=environment)


def floor(folders: Folders, **environment: str) -> ProcessCost:
    """Inflates the same masks and does nothing with them."""
    command = [sys.executable, "-m", "benchmarks.scoring_floor"]
    one_thread = {"OPENBLAS_NUM_THREADS": "1", **environment}
    return run_process(*command, folders.reference, folders.prediction, environment=one_thread)


def say(what: str, theirs_s: float, ours_s: float, target: float | None = None) -> None:
    """Prints one comparison; without a target it is there to be read beside another."""
    ratio = theirs_s / ours_s
    verdict = "  UNDER TARGET" if target and ratio < target else ""
    print(f"{what:<52}{theirs_s:>10.2f}{ours_s:>10.2f}{ratio:>8.1f}{target or '':>8}{verdict}")


def check_equal(published_scores: Path, our_scores: Path) -> None:
    """Stops the benchmark where both ways do not agree to the last bit."""
    theirs = json.loads(published_scores.read_text(encoding="utf-8"))
    with our_scores.open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    mine: dict[str, list[float]] = {}
    for row in rows:
        mine.setdefault(f"{row['case_id']}.nii.gz", []).append(float(row["dice_slice_mean"]))
    if mine != theirs:
        raise RuntimeError("expected the published Dice and ours to be the same to the last bit, they are not.")


def main() -> None:
    """Writes the exams, and prints processor time and memory of whole processes."""
    with tempfile.TemporaryDirectory(prefix="cspine-bench-") as name:
        root = Path(name)
        folders, release = Folders.under(root / "exams"), Folders.under(root / "release")
        write_exams(folders, EXAMS)
        repeat_exams(release, folders, RELEASE_EXAMS)
        print(
            f"{f'processor seconds, whole processes, {EXAMS} exams':<52}{'theirs':>10}{'ours':>10}{'ratio':>8}{'of':>8}"
        )
        for what, environment, target in (
            ("slice-mean Dice against nibabel and loops", AS_SHIPPED, 40),
            ("  the same where memory is given back (Dask's way)", GIVEN_BACK, None),
        ):
            # in turns, so that a busy minute of the machine meets all
            turns = [
                (
                    published("dice", folders, EXAMS, root / "d.json", **environment).cpu_seconds,
                    ours(folders, root / "d.csv", "--metrics", "dice", **environment).cpu_seconds,
                    floor(folders, **environment).cpu_seconds,
                )
                for _ in range(REPEATS)
            ]
            check_equal(root / "d.json", root / "d.csv")
            theirs_s, ours_s, floor_s = map(min, zip(*turns, strict=True))
            say(what, theirs_s, ours_s, target)
            say("    start, NumPy and inflating alone: the limit", theirs_s, floor_s)
        medpy = published("surfaces", folders, SURFACE_EXAMS, root / "s.json").cpu_seconds * EXAMS / SURFACE_EXAMS
        alone = ("--metrics", "surface", "--jobs", 1)
        say("surfaces against MedPy on whole volumes", medpy, ours(folders, root / "s.csv", *alone).cpu_seconds, 40)
        print(
            f"\n{f'memory of all processes together, {RELEASE_EXAMS} exams':<52}{'peak MB':>10}{'of':>8}{'wall s':>8}"
        )
        for what, options in {
            "Dice": ("--metrics", "dice"),
            "everything in one process": ("--levels", root / "l.csv", "--jobs", 1),
            "everything in two processes": ("--levels", root / "l.csv", "--jobs", 2),
        }.items():
            cost = ours(release, root / "m.csv", *options)
            over = "  OVER" if cost.peak_mb > MEMORY_MB else ""
            print(f"{what:<52}{cost.peak_mb:>10.0f}{MEMORY_MB:>8}{cost.seconds:>8.2f}{over}")
        distances = np.array([value for row in json.loads((root / "s.json").read_text()).values() for value in row])
        print(f"MedPy measured {distances.size} distances on {SURFACE_EXAMS} exams, times {EXAMS // SURFACE_EXAMS}.")


if __name__ == "__main__":
    main()
