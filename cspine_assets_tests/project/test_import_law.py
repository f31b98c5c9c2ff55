"""The import law of setup.cfg holds, and a breach of each of its rules is found."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

BREACHES = {
    "Floors": ("cspine_assets/domain/anatomy.py", "import cspine_assets.defs.partitions"),
    "Wings": ("cspine_assets/domain/cohort/exams.py", "import cspine_assets.domain.evaluation.overlap"),
    "The domain knows neither": ("cspine_assets/domain/anatomy.py", "import dagster"),
    "torch and nnU-Net": ("cspine_assets/defs/partitions.py", "import torch"),
    "The nnunet package knows no Dagster": ("cspine_assets/nnunet/devices.py", "import dagster"),
    "duckdb": ("cspine_assets/domain/volume.py", "import duckdb"),
    "pydicom": ("cspine_assets/domain/volume.py", "import pydicom"),
    "nibabel": ("cspine_assets/domain/lake.py", "import nibabel"),
    "Asset modules": ("cspine_assets/defs/prediction.py", "import cspine_assets.defs.nnunet"),
}


def lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, env={"PYTHONPATH": str(root)})


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "cspine_assets", tmp_path / "cspine_assets", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "setup.cfg", tmp_path)
    return tmp_path


def test_the_law_holds_as_it_stands(copy: Path):
    result = lint_imports(copy)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("contract", BREACHES)
def test_a_breach_is_found(copy: Path, contract: str):
    module, line = BREACHES[contract]
    path = copy / module
    path.write_text(path.read_text() + f"\n{line}\n")
    result = lint_imports(copy)
    assert result.returncode == 1
    broken = [row for row in result.stdout.splitlines() if row.endswith("BROKEN")]
    assert any(row.startswith(contract) for row in broken), result.stdout


def test_every_contract_has_a_breach_here():
    names = [
        row.removeprefix("name = ") for row in (ROOT / "setup.cfg").read_text().splitlines() if row.startswith("name")
    ]
    assert len(names) == len(BREACHES)
    assert all(any(name.startswith(contract) for contract in BREACHES) for name in names)
