import os

from cspine_assets.nnunet.environment import NnunetFolders, child_environment


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
