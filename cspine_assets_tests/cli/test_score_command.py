"""`cspine score` as a person calls it: a process of its own, no platform in it."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import nibabel as nib
import numpy as np
import psutil
import pytest
from packaging.version import Version

from cspine_assets_tests.processes import command_of, within

AFFINE = np.diag([4.0, 0.5, 0.5, 1.0])


def save(folder: Path, name: str, *, shift=0, labels=(1, 2), affine=AFFINE):
    folder.mkdir(exist_ok=True)
    array = np.zeros((5, 12, 30), np.uint8)
    for n in range(3):
        array[1:4, 3 + shift : 9, 10 * n + 1 : 10 * n + 6] = labels[0]
        array[1:4, 3 + shift : 9, 10 * n + 7 : 10 * n + 9] = labels[1]
    nib.save(nib.Nifti1Image(array, affine), folder / name)


def cspine(*arguments: object, before: str = ""):
    code = f"import sys; {before}\nfrom cspine_assets.cli.app import main\nmain()"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "400"})


def read(path: Path):
    with path.open() as stream:
        return {(row["case_id"], row["structure"]): row for row in csv.DictReader(stream)}


@pytest.fixture
def folders(tmp_path: Path):
    true, judged = tmp_path / "true", tmp_path / "judged"
    for name in ("a_SEG.nii.gz", "b_SEG.nii.gz"):
        save(true, name)
    save(judged, "a.nii.gz", shift=1)
    save(judged, "c.nii.gz")
    return true, judged


def test_two_folders_are_scored_with_rows_for_what_is_missing(folders, tmp_path: Path):
    true, judged = folders
    out, levels = tmp_path / "scores.csv", tmp_path / "levels.csv"
    done = cspine("score", "--reference", true, "--prediction", judged, "--out", out, "--levels", levels)
    assert done.returncode == 0, done.stderr
    rows = read(out)
    assert float(rows["a", "vertebral_body"]["dice_volumetric"]) == pytest.approx(10 / 11)
    assert rows["b", "vertebral_body"]["status"] == "missed"
    assert rows["b", "vertebral_body"]["hd95_mm"] == "inf"
    assert "1 prediction(s) without a reference, left out: c.nii.gz" in done.stderr
    assert "dice_slice_mean" in done.stdout
    with levels.open() as stream:
        assert {row["case_id"] for row in csv.DictReader(stream)} == {"a", "b"}


def test_labels_are_given_as_in_the_readme(folders, tmp_path: Path):
    for folder, name in ((tmp_path / "x", "a.nii.gz"), (tmp_path / "y", "a.nii.gz")):
        save(folder, name, labels=(49, 100))
    ours = ["--reference", tmp_path / "x", "--prediction", tmp_path / "y", "--metrics", "dice"]
    both = ["--labels", "vertebral_body=49", "intervertebral_disc=100"]
    done = cspine("score", *ours, *both, "--out", tmp_path / "both.csv")
    assert done.returncode == 0, done.stderr
    assert [row["dice_volumetric"] for row in read(tmp_path / "both.csv").values()] == ["1.0", "1.0"]
    done = cspine("score", *ours, "--labels", "intervertebral_disc=100", "--out", tmp_path / "one.csv")
    assert list(read(tmp_path / "one.csv")) == [("a", "intervertebral_disc")]


def test_a_number_that_is_in_no_mask_is_named(folders, tmp_path: Path):
    true, judged = folders
    labels = ["--labels", "vertebral_body=1", "intervertebral_disc=7"]
    places = ["--reference", true, "--prediction", judged, "--out", tmp_path / "scores.csv"]
    done = cspine("score", *places, "--metrics", "dice", *labels)
    assert done.returncode == 0
    assert "intervertebral_disc: no mask has a voxel of label 7" in done.stderr
    assert "vertebral_body: no mask" not in done.stderr


@pytest.mark.parametrize(
    ("out", "levels", "message"),
    [
        ("scores.csv", "scores.csv", "expected another file than --out"),
        ("folder.csv", None, "folder.csv: expected a file to write, this is a folder"),
        ("scores.csv", "taken/levels.csv", "taken: expected a folder that can be written to"),
    ],
)
def test_places_that_cannot_take_the_scores_are_refused_before_the_work(
    folders, tmp_path: Path, out: str, levels: str | None, message: str
):
    true, judged = folders
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "taken").write_text("no folder")
    extra = ["--levels", tmp_path / levels] if levels else []
    done = cspine("score", "--reference", true, "--prediction", judged, "--out", tmp_path / out, *extra)
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.csv", "judged", "taken", "true"]


@pytest.mark.parametrize("wrong", ["disc=2", "vertebral_body", "vertebral_body=0", "vertebral_body=300"])
def test_wrong_labels_are_refused_with_what_is_expected(folders, tmp_path: Path, wrong):
    true, judged = folders
    done = cspine("score", "--reference", true, "--prediction", judged, "--labels", wrong, "--out", tmp_path / "o.csv")
    assert done.returncode == 1
    assert "expected vertebral_body=NUMBER or intervertebral_disc=NUMBER" in done.stderr
    assert not (tmp_path / "o.csv").exists()


def test_a_case_on_another_grid_ends_with_status_1_after_the_others_are_scored(folders, tmp_path: Path):
    true, judged = folders
    save(judged, "b.nii.gz", affine=np.diag([4.0, 0.5, 0.6, 1.0]))
    done = cspine("score", "--reference", true, "--prediction", judged, "--out", tmp_path / "scores.csv")
    assert done.returncode == 1
    assert "1 of 2 case(s) could not be scored" in done.stderr
    assert "spacing differs by 0.1 mm" in done.stderr
    rows = read(tmp_path / "scores.csv")
    assert (rows["a", "vertebral_body"]["status"], rows["b", "vertebral_body"]["status"]) == ("ok", "failed")


def test_equal_reasons_are_said_once_with_all_their_cases(folders, tmp_path: Path):
    true, judged = folders
    for name in ("a.nii.gz", "b.nii.gz"):
        save(judged, name, affine=np.diag([4.0, 0.5, 0.6, 1.0]))
    done = cspine("score", "--reference", true, "--prediction", judged, "--out", tmp_path / "scores.csv")
    assert "2 of 2 case(s) could not be scored" in done.stderr
    reasons = done.stderr.split("scored:")[1].strip().splitlines()
    assert len(reasons) == len(set(reasons))


def test_masks_in_sub_folders_are_told(folders, tmp_path: Path):
    true, judged = folders
    save(judged / "later", "b.nii.gz")
    done = cspine("score", "--reference", true, "--prediction", judged, "--out", tmp_path / "scores.csv")
    assert done.returncode == 0
    assert "1 mask(s) lie in folders inside" in done.stderr
    assert "such as later/b.nii.gz" in done.stderr


SLOW_SERVER = """
import pathlib, sys, time
while "forkserver" in " ".join(sys.orig_argv) and not pathlib.Path(__file__).with_name("interrupted").exists():
    time.sleep(0.05)
"""


def test_an_interrupt_is_one_message_and_leaves_no_process_and_no_file(folders, tmp_path: Path):
    true, judged = folders
    (judged / "c.nii.gz").unlink()
    # a shell starts what runs in its background deaf to interrupts, these tests among it
    hears = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{hears}; from cspine_assets.cli.app import main; main()"
    places = ["--reference", str(true), "--prediction", str(judged), "--out", str(tmp_path / "out" / "scores.csv")]
    command = [sys.executable, "-c", code, "score", *places, "--jobs", "2"]
    # the server of fresh processes is still loading its libraries when the interrupt comes, however fast the machine is
    (tmp_path / "slow").mkdir()
    (tmp_path / "slow" / "sitecustomize.py").write_text(SLOW_SERVER)
    path = os.pathsep.join([str(tmp_path / "slow"), *filter(None, [os.environ.get("PYTHONPATH")])])
    score = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, start_new_session=True, env={**os.environ, "PYTHONPATH": path}
    )
    server = psutil.Process(score.pid)
    while score.poll() is None and "forkserver" not in command_of(server):
        server = next(reversed(psutil.Process(score.pid).children()), server)
        time.sleep(0.01)
    os.killpg(score.pid, signal.SIGINT)  # as a terminal does, to everyone in it
    (tmp_path / "slow" / "interrupted").touch()
    _, said = score.communicate(timeout=600)
    assert score.returncode == 130
    assert said == "cspine: interrupted. Nothing is left half-written, and what had been finished stands.\n"
    with suppress(psutil.NoSuchProcess):
        # dead, and nobody takes note, as in a container without an init
        assert within(60, lambda: server.status() == psutil.STATUS_ZOMBIE)
    assert list((tmp_path / "out").iterdir()) == []


def test_no_platform_and_for_dice_no_heavy_library_is_loaded(folders, tmp_path: Path):
    true, judged = folders
    never = ["dagster", "torch", "nnunetv2", "pydicom", "duckdb", "pandera"]
    # pydantic and masked arrays alone would make it start half as long again
    dice = [*never, "pandas", "scipy", "nibabel", "pyarrow", "numpy.ma"]
    if Version(version("typer")) < Version("0.29"):  # newer ones read arguments by pydantic; the pins hold an older one
        dice.append("pydantic")
    for metrics, banned in (("dice", dice), ("all", never)):
        before = "; ".join(f"sys.modules[{name!r}] = None" for name in banned)
        done = cspine(
            *("score", "--reference", true, "--prediction", judged, "--metrics", metrics),
            *("--out", tmp_path / "o.csv"),
            before=before,
        )
        assert done.returncode == 0, done.stderr


def test_the_real_mask_against_itself_is_1_everywhere(tmp_path: Path):
    root = os.environ.get("CSPINE_REAL_DATA")
    if not root:
        pytest.skip("CSPINE_REAL_DATA does not name the folder of real test data")
    crop = Path(root) / "t2w_spine_crop" / "sub-mri_seg-subreg_label-6_msk.nii.gz"
    for folder in ("true", "judged"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "crop.nii.gz").symlink_to(crop)
    done = cspine(
        *("score", "--reference", tmp_path / "true", "--prediction", tmp_path / "judged"),
        *("--labels", "vertebral_body=49", "intervertebral_disc=100", "--out", tmp_path / "scores.csv"),
    )
    assert done.returncode == 0, done.stderr
    for row in read(tmp_path / "scores.csv").values():
        ones = ("dice_volumetric", "dice_slice_mean", "iou", "nsd_1mm", "nsd_2mm")
        assert {row[name] for name in ones} == {"1.0"}
        assert (row["hd95_mm"], row["assd_mm"]) == ("0.0", "0.0")
