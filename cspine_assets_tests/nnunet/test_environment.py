import os
import platform
import subprocess
import sys

import pytest

from cspine_assets.nnunet.environment import KEPT_MEMORY, NnunetFolders, child_environment

PR_SET_THP_DISABLE = 41
TWENTY_LARGE_ARRAYS = f"""
import ctypes, resource
ctypes.CDLL(None).prctl({PR_SET_THP_DISABLE}, 1, 0, 0, 0)  # huge pages would be too few to count
for _ in range(20):
    bytearray(2**26)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


def test_the_callers_nnunet_variables_do_not_reach_a_child_nor_change(tmp_path, monkeypatch):
    monkeypatch.setenv("nnUNet_extTrainer", "/somewhere")
    monkeypatch.setenv("nnUNet_raw", "/elsewhere")
    made = child_environment(NnunetFolders.under(tmp_path), workers=3, augmentation_workers=0)
    assert "nnUNet_extTrainer" not in made
    assert made["nnUNet_raw"] == str(tmp_path / "raw")
    assert (made["nnUNet_def_n_proc"], made["nnUNet_n_proc_DA"], made["OMP_NUM_THREADS"]) == ("3", "0", "1")
    assert os.environ["nnUNet_raw"] == "/elsewhere"  # noqa: SIM112 - nnU-Net's own spelling


def test_nnunets_own_choice_of_augmentation_workers_is_no_variable(tmp_path):
    made = child_environment(NnunetFolders.under(tmp_path), workers=1, augmentation_workers=None)
    assert "nnUNet_n_proc_DA" not in made
    assert "nnUNet_compile" not in made


def test_whether_to_compile_is_said_in_nnunets_words(tmp_path):
    made = child_environment(NnunetFolders.under(tmp_path), workers=1, augmentation_workers=None, compile_network=False)
    assert made["nnUNet_compile"] == "false"


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the variables are glibc's")
def test_memory_that_is_kept_is_not_asked_of_the_system_again():
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    by_default, kept = (
        int(subprocess.check_output([sys.executable, "-c", TWENTY_LARGE_ARRAYS], env=plain | variables))
        for variables in ({}, KEPT_MEMORY)
    )
    pages = 2**26 // os.sysconf("SC_PAGESIZE")
    assert by_default > 18 * pages
    assert kept < 4 * pages
