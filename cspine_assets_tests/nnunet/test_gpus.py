"""Each machine gives the right places for trainings, or a sentence with the way out."""

import platform

import pytest

from cspine_assets.nnunet.devices import training_slots
from cspine_assets.nnunet.gpus import report_gpus
from cspine_assets.nnunet.torch_devices import ask_torch
from cspine_assets_tests.nnunet.machines import FIRST, SECOND, SLICES

TOO_OLD = (
    "The NVIDIA driver on your system is too old (found version 12020). Please update your GPU driver by downloading "
    "and installing a new version."
)


def on_the_cpu():
    return {slot.device for slot in training_slots()} == {"cpu"}


def test_the_torch_of_this_machine_answers_for_itself(machine):
    from importlib.metadata import version

    answer = ask_torch()
    assert answer.version.partition("+")[0] == version("torch").partition("+")[0]
    assert bool(answer.devices) or not answer.error


def test_two_gpus_are_used_each_by_its_own_number(machine):
    machine.nvidia(FIRST, SECOND)
    machine.torch(FIRST, SECOND)
    slots = training_slots(slots_per_device=1)
    assert [slot.name for slot in slots] == ["cuda:0", "cuda:1"]
    assert [slot.env for slot in slots] == [{"CUDA_VISIBLE_DEVICES": "0"}, {"CUDA_VISIBLE_DEVICES": "1"}]
    assert [slot.identity for slot in slots] == [FIRST, SECOND]
    report = report_gpus()
    assert not report.is_unused
    assert "NVIDIA A100-SXM4-80GB, NVIDIA A100-SXM4-80GB; torch 2.13.0 (CUDA 13.0)" in report.sentence


def test_without_a_gpu_there_is_nothing_to_mend(machine):
    machine.torch(cuda=None, version="2.13.0+cpu")
    report = report_gpus()
    assert on_the_cpu()
    assert (report.problem, report.is_unused) == ("No GPU was found.", False)


def test_a_gpu_beside_a_cpu_build_says_which_torch_to_install(machine):
    machine.nvidia(FIRST, driver="550.54.15")
    machine.torch(cuda=None, version="2.13.0+cpu")
    report = report_gpus()
    assert on_the_cpu()
    assert report.is_unused
    assert "NVIDIA A100-SXM4-80GB cannot be used: torch 2.13.0+cpu (CPU build) is not made for it." in report.sentence
    assert "Install a torch for CUDA 12 or older" in report.sentence


def test_a_driver_that_is_too_old_says_what_to_update(machine):
    machine.nvidia(FIRST, driver="535.183.01")
    machine.torch(FIRST, error=TOO_OLD)
    report = report_gpus()
    assert on_the_cpu()
    assert report.is_unused
    assert "the NVIDIA driver 535.183.01 is too old for torch 2.13.0 (CUDA 13.0)" in report.sentence
    assert "Update the driver to 580 or newer, or install a torch for CUDA 12" in report.sentence


def test_a_driver_that_does_not_work_is_named(machine):
    fault = "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver."
    machine.nvidia(fault=fault)
    machine.torch(error="Found no NVIDIA driver on your system.")
    assert on_the_cpu()
    assert fault in report_gpus().sentence
    assert report_gpus().is_unused


def test_rocm_is_shown_its_gpus_by_its_own_variable(machine, monkeypatch):
    machine.amd()
    machine.torch("GPU-9a", "GPU-9b", cuda=None, hip="6.4")
    assert [slot.device for slot in training_slots(slots_per_device=1)] == ["cuda", "cuda"]
    monkeypatch.setenv("HIP_VISIBLE_DEVICES", "1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    (slot,) = training_slots(slots_per_device=1)
    assert (slot.env, slot.identity) == ({"HIP_VISIBLE_DEVICES": "1"}, "GPU-9b")
    assert "ROCm 6.4" in report_gpus().sentence


def test_an_amd_gpu_beside_a_cuda_torch_wants_rocm(machine):
    machine.amd()
    machine.torch(error="Found no NVIDIA driver on your system.")
    assert on_the_cpu()
    assert "AMD Instinct MI210 cannot be used" in report_gpus().sentence
    assert "Install a torch for ROCm" in report_gpus().sentence


def test_an_apple_gpu_is_one_place(machine, monkeypatch):
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    machine.torch(cuda=None, mps=True)
    (slot,) = training_slots()
    assert (slot.device, slot.name) == ("mps", "mps:0")
    assert slot.env == {"PYTORCH_ENABLE_MPS_FALLBACK": "1"}
    assert training_slots(devices=("mps",)) == (slot,)


@pytest.mark.parametrize("named", [None, SLICES, SLICES[1:]], ids=["none named", "two named", "one named"])
def test_every_slice_of_a_gpu_is_a_device_though_cuda_shows_one(machine, monkeypatch, named):
    machine.nvidia(FIRST, slices=SLICES)
    machine.torch(*SLICES, memory_mb=40_000)
    if named:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", ",".join(named))
    slots = training_slots(slots_per_device=1)
    assert [slot.env["CUDA_VISIBLE_DEVICES"] for slot in slots] == list(named or SLICES)
    assert len({slot.identity for slot in slots}) == len(slots)
    assert report_gpus().problem == ""


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_gpus_hidden_on_purpose_are_no_fault(machine, monkeypatch, hidden):
    machine.nvidia(FIRST)
    machine.torch(FIRST)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    report = report_gpus()
    assert on_the_cpu()
    assert not report.is_unused
    assert "hides all GPUs. Unset it" in report.sentence


@pytest.mark.parametrize("named", ["1", SECOND, SECOND[:8]], ids=["number", "UUID", "start of a UUID"])
def test_a_child_sees_the_gpu_that_the_caller_named(machine, monkeypatch, named):
    machine.nvidia(FIRST, SECOND)
    machine.torch(FIRST, SECOND)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    (slot,) = training_slots(slots_per_device=1)
    assert (slot.env, slot.identity) == ({"CUDA_VISIBLE_DEVICES": named}, SECOND)
    assert report_gpus().problem == ""


def test_the_callers_order_of_gpus_is_kept(machine, monkeypatch):
    machine.nvidia(FIRST, SECOND)
    machine.torch(FIRST, SECOND)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")
    slots = training_slots(slots_per_device=1)
    assert [(slot.name, slot.identity) for slot in slots] == [("cuda:1", SECOND), ("cuda:0", FIRST)]


@pytest.mark.parametrize(("named", "used"), [("7", []), ("0,7,1", ["cuda:0"]), ("GPU-ffff", []), (SLICES[0], [])])
def test_a_name_of_nothing_is_told_with_what_is_there(machine, monkeypatch, named, used):
    machine.nvidia(FIRST, SECOND)
    machine.torch(FIRST, SECOND)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    report = report_gpus()
    wrong = "7" if "7" in named.split(",") else named
    assert [gpu.name for gpu in report.gpus] == used
    assert report.is_unused
    assert f"CUDA_VISIBLE_DEVICES names {wrong}, and torch finds no such GPU" in report.problem
    assert FIRST in report.problem
    assert SECOND in report.problem


def test_a_gpu_without_kernels_in_this_build_is_not_used(machine):
    machine.nvidia(FIRST)
    machine.torch(FIRST, fault="CUDA error: no kernel image is available for execution on the device")
    assert on_the_cpu()
    assert "no kernel image" in report_gpus().problem
    assert "built for this GPU" in report_gpus().remedy


def test_a_full_gpu_is_a_gpu_all_the_same(machine):
    machine.nvidia(FIRST)
    machine.torch(FIRST, fault="CUDA out of memory. Tried to allocate 2.00 MiB.")
    assert [slot.name for slot in training_slots(slots_per_device=1)] == ["cuda:0"]


def test_a_torch_that_cannot_be_loaded_says_why(machine):
    machine.torch(FIRST)
    (machine.folder / "site" / "torch" / "__init__.py").write_text("raise ImportError('libcudart.so.13: missing')")
    assert on_the_cpu()
    assert "libcudart.so.13: missing" in report_gpus().sentence
    assert report_gpus().is_unused


def test_torch_is_asked_again_only_when_the_machine_changes(machine, monkeypatch):
    from cspine_assets.nnunet import torch_devices

    machine.nvidia(FIRST, SECOND)
    machine.torch(FIRST, SECOND)
    training_slots()
    assert machine.times_asked == 1
    torch_devices._asked.clear()  # as in another process
    training_slots()
    assert machine.times_asked == 1
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    training_slots()
    assert machine.times_asked == 2
    machine.nvidia(FIRST)  # another driver's file
    training_slots()
    assert machine.times_asked == 3
    torch_devices._asked.clear()
    (machine.folder / "cache" / "cspine-assets" / "torch.json").write_text("no JSON")
    training_slots()
    assert machine.times_asked == 4


def test_a_place_on_the_cpu_asks_nobody(machine):
    machine.torch(FIRST)
    training_slots(devices=("cpu:0",))
    assert machine.times_asked == 0
