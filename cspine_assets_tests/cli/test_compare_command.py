"""`cspine compare` as a person calls it: a process of its own, no platform in it."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cspine_assets.cli.app import main


def cspine(*arguments: object, after: str = ""):
    code = f"import sys\nfrom cspine_assets.cli.app import main\ntry:\n    main()\nfinally:\n    {after or 'pass'}"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "200"})


def write_scores(path: Path, dice: list[float], start: int = 0) -> Path:
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["case_id", "structure", "dice_volumetric"])
        writer.writerows([f"case_{start + number}", "vertebral_body", value] for number, value in enumerate(dice))
    return path


@pytest.fixture
def files(tmp_path: Path):
    higher = [0.9 + 0.001 * number for number in range(12)]
    return (
        write_scores(tmp_path / "a.csv", [value - 0.02 - 0.001 * place for place, value in enumerate(higher)]),
        write_scores(tmp_path / "b.csv", higher, start=1),
    )


def test_two_files_are_compared_and_all_tests_written_without_the_platform(files, tmp_path: Path):
    never = ["dagster", "torch", "nnunetv2", "pydicom", "duckdb", "pandera"]
    after = f"print('loaded', [name for name in {never} if name in sys.modules])"
    done = cspine("compare", *files, "--metric", "dice_volumetric", "--out", tmp_path / "tests.json", after=after)
    assert done.returncode == 0, done.stderr
    assert "loaded []" in done.stdout
    assert "case(s) only in a, not compared: case_0" in done.stdout
    assert "case(s) only in b, not compared: case_12" in done.stdout
    record = json.loads((tmp_path / "tests.json").read_text())
    paired = record["structures"][0]["tests"][0]
    assert (paired["protocol"], paired["n"], paired["effect_size"]) == ("paired", 11, -1.0)
    assert paired["ci_high"] < 0
    # both protocols on the screen, the paired one first
    lines = done.stdout.splitlines()
    assert lines[1].startswith("vertebral_body, 11 case(s): median ")
    assert lines[2].startswith("  paired  a - b -0.0") and lines[2].endswith("effect -1.00")
    assert lines[3].startswith("  paper   a - b -0.0")


@pytest.mark.parametrize(
    ("metric", "out", "message"),
    [
        ("dice", "tests.json", "a.csv: expected the columns case_id and dice, got case_id, structure, dice_volumetric"),
        ("dice_volumetric", "tests.txt", "expected a name ending in .json"),
    ],
)
def test_a_wrong_call_is_one_message_and_nothing_written(
    files, tmp_path: Path, monkeypatch, capsys, metric, out, message
):
    monkeypatch.setattr(
        sys, "argv", ["cspine", "compare", *map(str, files), "--metric", metric, "--out", str(tmp_path / out)]
    )
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().err
    assert ended.value.code == 1
    assert message in said
    assert len(said.strip().splitlines()) == 1
    assert not (tmp_path / out).exists()


def test_the_tests_do_not_take_the_place_of_the_scores(tmp_path: Path, monkeypatch, capsys):
    scores = tmp_path / "a.json"
    scores.write_text('[{"case_id": "a", "dice": 0.9}]')
    arguments = [str(scores), str(scores), "--metric", "dice", "--out", str(scores)]
    monkeypatch.setattr(sys, "argv", ["cspine", "compare", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert "expected another file than those compared" in capsys.readouterr().err
    assert scores.read_text() == '[{"case_id": "a", "dice": 0.9}]'
