"""One series on the command line: the study's row, findings without values, one line when it cannot be."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import pytest

from cspine_assets.cli.app import main
from cspine_assets.domain.tables.base import column_names
from cspine_assets.domain.tables.imaging import Volumes
from cspine_assets_tests.domain.imaging.dicom_series import SIZE, SLICES, encode, make_instances, write_series

REAL = os.environ.get("CSPINE_REAL_DATA")


@pytest.fixture
def convert(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Calls the command and returns its status and what it said on stdout and stderr."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("CSPINE_DEBUG", raising=False)

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["cspine", "convert", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return call


@pytest.fixture
def named_series(tmp_path: Path) -> Path:
    instances = make_instances()
    for instance in instances:
        instance.PatientName = "Doe^Jane"
        instance.PatientBirthDate = "19700101"
    return write_series(tmp_path / "series.zip", instances)


def test_a_series_gives_its_volume_the_study_s_row_and_findings_without_values(convert, named_series, tmp_path):
    status, said, _ = convert(named_series, "--out", tmp_path / "out")
    assert status == 0
    assert nib.load(tmp_path / "out" / "series.nii.gz").shape == (SIZE, SIZE, SLICES)
    shown = {line.split()[0]: line.split()[1:] for line in said.splitlines() if line.split()}
    assert set(column_names(Volumes)) <= set(shown)
    assert shown["status"] == ["ok"]
    assert shown["size_2"] == [str(SLICES)]
    assert shown["path"] == ["series.nii.gz"]
    assert "(0010,0010)" in said
    assert "PatientBirthDate" in said
    assert "Doe" not in said
    assert "1970" not in said


def test_the_same_as_json(convert, named_series, tmp_path):
    status, said, _ = convert(named_series, "--out", tmp_path / "out", "--json")
    answer = json.loads(said)
    assert status == 0
    assert answer["volume"]["origin"] == "dicom"
    assert {"PatientName", "PatientBirthDate"} <= {finding["keyword"] for finding in answer["header_findings"]}
    assert "Doe" not in said


def test_a_folder_and_a_nifti_are_taken_too(convert, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    for number, instance in enumerate(make_instances()):
        (folder / f"IM{number}").write_bytes(encode(instance))
    assert convert(folder, "--out", tmp_path / "a")[0] == 0
    status, said, _ = convert(tmp_path / "a" / "folder.nii.gz", "--out", tmp_path / "b", "--json")
    assert status == 0
    assert json.loads(said)["volume"]["origin"] == "shipped_nifti"
    assert (tmp_path / "a" / "folder.nii.gz").read_bytes() == (tmp_path / "b" / "folder.nii.gz").read_bytes()


def test_a_series_that_lacks_a_slice_is_one_line_and_no_file(convert, tmp_path):
    instances = make_instances(SLICES + 1)
    series = write_series(tmp_path / "series.zip", instances[:2] + instances[3:])
    status, said, error = convert(series, "--out", tmp_path / "out")
    assert status == 1
    assert said == ""
    assert len(error.strip().splitlines()) == 1
    assert error.startswith("cspine: series: expected even gaps between slices, found 3.300 to 6.600 mm")
    assert not (tmp_path / "out").exists()


def test_nothing_at_the_place_is_one_line(convert, tmp_path):
    status, _, error = convert(tmp_path / "no.zip", "--out", tmp_path / "out")
    assert status == 1
    assert "no.zip: expected a DICOM series" in error


def test_a_scan_is_never_written_over_itself(convert, named_series, tmp_path):
    convert(named_series, "--out", tmp_path)
    before = (tmp_path / "series.nii.gz").read_bytes()
    status, _, error = convert(tmp_path / "series.nii.gz", "--out", tmp_path)
    assert status == 1
    assert "another place" in error
    assert (tmp_path / "series.nii.gz").read_bytes() == before


def test_dagster_is_not_loaded(named_series, tmp_path):
    script = (
        "import sys; from cspine_assets.cli.app import app\n"
        f"app(['convert', {str(named_series)!r}, '--out', {str(tmp_path / 'out')!r}], standalone_mode=False)\n"
        "print([name for name in ('dagster', 'torch', 'nnunetv2', 'duckdb') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.skipif(not REAL, reason="CSPINE_REAL_DATA names no folder with real series")
def test_the_real_series(convert, tmp_path):
    status, said, _ = convert(Path(REAL) / "dicom_siemens_sagittal_gre", "--out", tmp_path)
    assert status == 0
    assert "PatientBirthDate" in said
    status, _, error = convert(Path(REAL) / "dicom_siemens_axial_epi", "--out", tmp_path)
    assert status == 1
    assert "found mosaics" in error
