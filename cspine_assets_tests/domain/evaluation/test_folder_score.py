"""Two folders scored: which files belong together, what becomes of a bad case, and files of every ending."""

from __future__ import annotations

import csv
import json
import math
import signal
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from cspine_assets.domain.anatomy import LABELS, Structure
from cspine_assets.domain.errors import CSpineError
from cspine_assets.domain.evaluation.folder_score import Choice, Metrics, score_cases
from cspine_assets.domain.evaluation.mask_folders import match_folders
from cspine_assets.domain.evaluation.mask_score import score_masks
from cspine_assets.domain.evaluation.score_file import level_rows, structure_rows, summary_lines, write_rows

AFFINE = np.diag([4.0, 0.5, 0.5, 1.0])
ALL = Choice(LABELS, Metrics.ALL, with_levels=True)


def mask(shift=0):
    array = np.zeros((5, 12, 30), np.uint8)
    for n in range(3):
        array[1:4, 3 + shift : 9, 10 * n + 1 : 10 * n + 6] = 1
        array[1:4, 3 + shift : 9, 10 * n + 7 : 10 * n + 9] = 2
    return array


def save(folder: Path, name: str, array=None, affine=AFFINE):
    folder.mkdir(exist_ok=True)
    nib.save(nib.Nifti1Image(mask() if array is None else array, affine), folder / name)


@pytest.fixture
def folders(tmp_path: Path):
    """Seven references, and predictions of which each has something else."""
    true, judged = tmp_path / "reference", tmp_path / "prediction"
    for name in ("good_SEG", "late_SEG", "lost_SEG", "empty_SEG", "moved_SEG", "broken_SEG", "plain"):
        save(true, f"{name}.nii.gz")
    save(judged, "good.nii.gz")
    save(judged, "late.nii.gz", mask(1))
    save(judged, "empty.nii.gz", np.zeros_like(mask()))
    save(judged, "moved.nii.gz", affine=AFFINE + 2 * np.eye(4)[0][:, None] * np.eye(4)[3])
    (judged / "broken.nii.gz").write_bytes(b"no gzip")
    save(judged, "plain.nii")
    save(judged, "stranger.nii.gz")
    (judged / "dataset.json").write_text("{}")
    return true, judged


def frame_of(scores, metrics=Metrics.ALL):
    rows = structure_rows(scores, metrics)
    return pd.DataFrame(rows.values, columns=rows.columns).set_index(["case_id", "structure"])


def test_files_are_matched_by_their_name_without_ending_and_mark(folders):
    matched = match_folders(*folders)
    assert [case.case_id for case in matched.cases] == ["broken", "empty", "good", "late", "lost", "moved", "plain"]
    assert {case.case_id: case.prediction.name for case in matched.cases if case.prediction}["plain"] == "plain.nii"
    assert [case.case_id for case in matched.cases if case.prediction is None] == ["lost"]
    assert matched.without_reference == ["stranger.nii.gz"]


@pytest.mark.parametrize(("moved", "folder"), [("good.nii.gz", "prediction"), ("good_SEG.nii.gz", "reference")])
def test_masks_in_folders_inside_are_told_where_a_file_is_missing(folders, moved, folder):
    place = folders[0].parent / folder
    (place / "fold_0" / "masks").mkdir(parents=True)
    (place / moved).rename(place / "fold_0" / "masks" / moved)
    (told,) = match_folders(*folders).passed_over
    assert f"1 mask(s) lie in folders inside {place}, such as fold_0/masks/{moved}" in told


def test_masks_in_folders_inside_are_no_news_where_nothing_is_missing(folders):
    for folder in folders:
        save(folder / "older", "good.nii.gz")
    for name in ("lost_SEG.nii.gz", "late_SEG.nii.gz"):
        (folders[0] / name).unlink()
    for name in ("late.nii.gz", "stranger.nii.gz"):
        (folders[1] / name).unlink()
    assert match_folders(*folders).passed_over == []


@pytest.mark.parametrize("stranger", [False, True], ids=["none at the top", "a stranger at the top"])
def test_a_folder_whose_masks_all_lie_deeper_is_refused_with_where_they_are(folders, stranger):
    results = folders[1].parent / "results"
    results.mkdir()
    folders[1].rename(results / "ensemble")
    if stranger:
        save(results, "atlas.nii.gz")
    with pytest.raises(CSpineError, match=r"7 mask\(s\) lie in folders inside .*results, such as ensemble/broken\.nii"):
        match_folders(folders[0], results)


def test_every_case_has_its_rows_and_a_bad_one_its_reason(folders):
    frame = frame_of(score_cases(match_folders(*folders).cases, ALL, jobs=1))
    assert len(frame) == 14
    status = frame["status"].xs("vertebral_body", level="structure").to_dict()
    assert status == {
        "broken": "failed",
        "empty": "missed",
        "good": "ok",
        "late": "ok",
        "lost": "missed",
        "moved": "failed",
        "plain": "ok",
    }
    reasons = frame["reason"].xs("intervertebral_disc", level="structure")
    assert "origin differs by 2 mm" in reasons["moved"]
    assert "broken.nii.gz" in reasons["broken"]
    assert reasons["lost"] == "there is no prediction"
    assert frame.loc["moved"].drop(columns=["status", "reason"]).isna().all(axis=None)
    assert frame.loc[("good", "vertebral_body"), "dice_volumetric"] == 1.0
    assert frame.loc[("lost", "vertebral_body"), ["dice_volumetric", "hd95_mm", "nsd_2mm"]].tolist() == [0, math.inf, 0]


def test_a_case_that_nobody_foresaw_costs_itself_alone(folders, monkeypatch: pytest.MonkeyPatch):
    def scored(reference: Path, prediction: Path | None, **how):
        if reference.name == "good_SEG.nii.gz":
            raise ZeroDivisionError("Doe^Jane")
        return score_masks(reference, prediction, **how)

    monkeypatch.setattr("cspine_assets.domain.evaluation.folder_score.score_masks", scored)
    frame = frame_of(score_cases(match_folders(*folders).cases, ALL, jobs=1))
    assert set(frame.loc["good", "status"]) == {"failed"}
    assert frame.loc["good", "reason"].str.contains("good: unexpected ZeroDivisionError in").all()
    assert not frame.loc["good", "reason"].str.contains("Doe").any()
    assert set(frame.loc["late", "status"]) == {"ok"}


def test_rows_are_those_of_the_masks_themselves(folders):
    cases = {case.case_id: case for case in match_folders(*folders).cases}
    [score] = score_cases([cases["late"]], ALL, jobs=1)
    measured = score_masks(cases["late"].reference, cases["late"].prediction)
    assert [row.overlap for row in score.structures] == list(measured.overlap.values())
    assert [row.surface for row in score.structures] == list(measured.surfaces.values())
    assert score.levels == measured.levels
    assert score.structures[0].overlap.dice_volumetric == 2 * 5 / (5 + 6)


def test_levels_of_a_failed_case_are_listed_with_its_reason(folders):
    scores = score_cases(match_folders(*folders).cases, ALL, jobs=1)
    rows = level_rows(scores)
    frame = pd.DataFrame(rows.values, columns=rows.columns)
    assert len(set(frame.groupby("case_id").size())) == 1
    failed = frame[frame["case_id"] == "moved"]
    assert (failed["status"] == "excluded").all()
    assert failed["reason"].str.contains("origin differs").all()
    key = ["structure", "level", "view", "protocol"]
    good = frame[frame["case_id"] == "good"]
    assert sorted(map(tuple, failed[key].to_numpy())) == sorted(map(tuple, good[key].to_numpy()))


def test_several_processes_give_the_same_in_the_same_order(folders):
    cases = match_folders(*folders).cases
    assert score_cases(cases, ALL, jobs=2) == score_cases(cases, ALL, jobs=1)


class Deadly(dict):
    """Labels over which every process dies that receives them, as by the out-of-memory killer."""

    def __reduce__(self):
        return signal.raise_signal, (signal.SIGKILL,)


def test_cases_whose_processes_are_killed_have_failed_with_what_to_do(folders):
    cases = match_folders(*folders).cases
    scores = score_cases(cases, Choice(Deadly(LABELS), Metrics.DICE, with_levels=False), jobs=2)
    assert [score.case_id for score in scores] == [case.case_id for case in cases]
    rows = [row for score in scores for row in score.structures]
    assert {row.status for row in rows} == {"failed"}
    assert all("Call again with fewer --jobs" in row.reason for row in rows)


@pytest.mark.parametrize(
    ("metrics", "there", "absent"),
    [(Metrics.DICE, "iou", "hd95_mm"), (Metrics.SURFACE, "hd95_mm", "iou"), (Metrics.ALL, "nsd_1mm", "nothing")],
)
def test_columns_are_those_of_what_was_measured(folders, metrics, there, absent):
    cases = match_folders(*folders).cases
    rows = structure_rows(score_cases(cases, Choice(LABELS, metrics, with_levels=False), jobs=1), metrics)
    assert there in rows.columns
    assert absent not in rows.columns
    assert {"case_id", "structure", "status", "diagonal_mm", "reason"} <= set(rows.columns)


def test_one_structure_alone_has_rows_of_its_own(folders):
    choice = Choice({Structure.INTERVERTEBRAL_DISC: 2}, Metrics.DICE, with_levels=True)
    scores = score_cases(match_folders(*folders).cases, choice, jobs=1)
    assert {row.structure for score in scores for row in score.structures} == {Structure.INTERVERTEBRAL_DISC}
    assert {level.structure for score in scores for level in score.levels} == {Structure.INTERVERTEBRAL_DISC}


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".json"])
def test_every_ending_holds_the_same_numbers_to_the_last_bit(folders, tmp_path: Path, ending):
    rows = structure_rows(score_cases(match_folders(*folders).cases, ALL, jobs=1), Metrics.ALL)
    path = tmp_path / f"scores{ending}"
    write_rows(path, rows)
    read = {
        ".csv": lambda: pd.read_csv(path, float_precision="round_trip"),
        ".parquet": lambda: pd.read_parquet(path),
        ".json": lambda: pd.DataFrame(json.loads(path.read_text())),
    }[ending]()
    assert tuple(read.columns) == rows.columns
    expected = pd.DataFrame(rows.values, columns=rows.columns)
    for name in rows.columns:
        if name in rows.numbers:
            assert np.array_equal(read[name].astype(float), expected[name].astype(float), equal_nan=True)
        else:
            assert read[name].fillna("").tolist() == expected[name].fillna("").tolist()
    assert np.isinf(read["hd95_mm"]).sum() == 4


def test_a_table_without_rows_keeps_its_columns(tmp_path: Path):
    rows = level_rows([])
    for ending in (".csv", ".parquet", ".json"):
        write_rows(tmp_path / f"levels{ending}", rows)
    assert pd.read_parquet(tmp_path / "levels.parquet").columns.tolist() == list(rows.columns)
    with (tmp_path / "levels.csv").open() as stream:
        assert list(csv.reader(stream)) == [list(rows.columns)]
    assert json.loads((tmp_path / "levels.json").read_text()) == []


def test_an_unknown_ending_is_refused_and_nothing_written(tmp_path: Path):
    with pytest.raises(CSpineError, match=r"\.csv, \.parquet, \.json"):
        write_rows(tmp_path / "scores.xlsx", level_rows([]))
    assert list(tmp_path.iterdir()) == []


def test_the_summary_counts_every_case_and_takes_the_diagonal_for_what_is_infinite(folders):
    scores = score_cases(match_folders(*folders).cases, ALL, jobs=1)
    lines = [line.split() for line in summary_lines(scores, Metrics.ALL)]
    assert lines[0] == ["structure", "metric", "n", "used", "missed", "spurious", "failed", "mean", "sd", "median"]
    hd95 = next(line for line in lines if line[:2] == ["vertebral_body", "hd95_mm"])
    values = frame_of(scores)["hd95_mm"].xs("vertebral_body", level="structure").dropna()
    diagonal = math.hypot(20, 6, 15)
    assert hd95[2:7] == ["7", "5", "2", "0", "2"]
    assert float(hd95[7]) == pytest.approx(values.replace(math.inf, diagonal).mean(), abs=1e-4)


def test_folders_that_cannot_be_compared_are_refused_by_name(folders, tmp_path: Path):
    true, judged = folders
    with pytest.raises(CSpineError, match=r"nowhere.*there is none"):
        match_folders(true, tmp_path / "nowhere")
    (tmp_path / "bare").mkdir()
    with pytest.raises(CSpineError, match=r"bare.*expected masks"):
        match_folders(tmp_path / "bare", judged)
    save(tmp_path / "other", "x.nii.gz")
    with pytest.raises(CSpineError, match=r"not one name is in both.*'broken'.*'x'"):
        match_folders(true, tmp_path / "other")
    save(true, "good.nii.gz")
    with pytest.raises(CSpineError, match=r"good\.nii\.gz and good_SEG\.nii\.gz|good_SEG\.nii\.gz and good\.nii\.gz"):
        match_folders(true, judged)
