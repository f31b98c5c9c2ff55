"""Scoring two folders of masks: whole processes against the published way, on the same synthetic exams.

Change a target only with its reason. Exams have 448 x 448 x 15 voxels, predictions the mistakes of a model. The base of
every ratio is the published way as it runs where nobody set anything: NumPy, nibabel, the C library's own choices.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Final

import nibabel as nib

from benchmarks.catalog import Size
from benchmarks.results import Column, Results, Row, Table, comparison, comparison_table
from benchmarks.runner import ProcessCost, least_in_turns, run_process
from cspine_assets.domain.phantom.degradation import model_mask
from cspine_assets.domain.phantom.grid import VoxelGrid
from cspine_assets.domain.phantom.masks import mask_solids
from cspine_assets.domain.phantom.plan import plan_cohort
from cspine_assets.domain.phantom.scene import draw_scene, exam_generator
from cspine_assets.domain.phantom.settings import CohortSettings

LEAST_SHARE_OF_LIMIT = 0.5
"""Dice must reach this share of the ratio that starting Python, loading NumPy and inflating reach in the same run:
nothing in Python can cost less than that limit, on any machine."""

SURFACE_TARGET = 40
MEMORY_MB = 500


DICE_TARGET = (
    f"The target of the Dice is {LEAST_SHARE_OF_LIMIT:.0%} of the ratio that starting Python, loading NumPy and "
    "inflating alone reached in this run."
)


@dataclass(frozen=True)
class Work:
    """How much is done.

    Attributes:
        exams: Whose Dice is measured.
        surface_exams: Of them, those whose surfaces are measured; MedPy needs a second for each.
        release_exams: Of which memory is measured, the same ones again and again; the release has 481.
        repeats: Turns of the Dice.
        matrix: Rows and columns of a slice.
    """

    exams: int
    surface_exams: int
    release_exams: int
    repeats: int
    matrix: int = 448


WORK: Final[Mapping[Size, Work]] = MappingProxyType(
    {
        Size.SMALLEST: Work(exams=2, surface_exams=1, release_exams=3, repeats=1, matrix=96),
        Size.USUAL: Work(exams=200, surface_exams=20, release_exams=481, repeats=3),
        Size.LARGE: Work(exams=400, surface_exams=100, release_exams=1_255, repeats=5),
    }
)

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


def write_exams(folders: Folders, exams: int, matrix: int) -> None:
    """Writes synthetic references and predictions of 15 slices, the slices last as dcm2niix leaves them."""
    settings = CohortSettings(
        patients=exams + 20, seed=3, matrix=matrix, slices_min=15, slices_max=15, tables_only=True
    )
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


def run(size: Size, folder: Path) -> Results:
    """Write the exams, and measure processor time and memory of whole processes."""
    work = WORK[size]
    folders, release = Folders.under(folder / "exams"), Folders.under(folder / "release")
    write_exams(folders, work.exams, work.matrix)
    repeat_exams(release, folders, work.release_exams)
    rows = [
        *_dice("slice-mean Dice against nibabel and loops", folders, folder, work, AS_SHIPPED, has_target=True),
        *_dice("the same where memory is given back, as Dask sets it", folders, folder, work, GIVEN_BACK),
    ]
    notes = ["The Dice of both ways is equal to the last bit.", DICE_TARGET]
    if find_spec("medpy"):
        rows.append(_surfaces(folders, folder, work))
        notes.append(f"MedPy measured {work.surface_exams} exams; its time is scaled up to {work.exams}.")
    else:
        notes.append("Surfaces are left out: MedPy is not installed (`pip install medpy`).")
    title = f"{work.exams} exams of {work.matrix} x {work.matrix} x 15"
    return Results((comparison_table(title, "CPU s", rows), _memory(release, folder, work)), tuple(notes))


def _dice(
    what: str, folders: Folders, root: Path, work: Work, environment: Mapping[str, str], *, has_target: bool = False
) -> list[Row]:
    """Return ours beside the published way, and below it the limit from the same turns."""
    theirs_json, ours_csv = root / "dice.json", root / "dice.csv"
    theirs_s, ours_s, limit_s = least_in_turns(
        work.repeats,
        lambda: published("dice", folders, work.exams, theirs_json, **environment).cpu_seconds,
        lambda: ours(folders, ours_csv, "--metrics", "dice", **environment).cpu_seconds,
        lambda: floor(folders, **environment).cpu_seconds,
    )
    check_equal(theirs_json, ours_csv)
    target = LEAST_SHARE_OF_LIMIT * theirs_s / limit_s if has_target else None
    return [
        comparison(what, theirs_s, ours_s, target),
        comparison("limit: start, NumPy and inflating alone", theirs_s, limit_s),
    ]


def _surfaces(folders: Folders, root: Path, work: Work) -> Row:
    medpy = published("surfaces", folders, work.surface_exams, root / "surfaces.json")
    mine = ours(folders, root / "surfaces.csv", "--metrics", "surface", "--jobs", 1)
    medpy_s = medpy.cpu_seconds * work.exams / work.surface_exams
    return comparison("surfaces against MedPy on whole volumes", medpy_s, mine.cpu_seconds, SURFACE_TARGET)


def _memory(release: Folders, root: Path, work: Work) -> Table:
    levels = ("--levels", root / "levels.csv")
    ways: dict[str, tuple[object, ...]] = {
        "Dice": ("--metrics", "dice"),
        "everything in one process": (*levels, "--jobs", 1),
        "everything in two processes": (*levels, "--jobs", 2),
    }
    costs = {what: ours(release, root / "memory.csv", *options) for what, options in ways.items()}
    rows = [
        Row(what, (cost.peak_mb, MEMORY_MB, cost.seconds), cost.peak_mb <= MEMORY_MB) for what, cost in costs.items()
    ]
    columns = (Column("peak MB", 0), Column("budget, MB", 0), Column("wall s"))
    return Table(f"Memory of all processes together, {work.release_exams} exams", columns, rows)
