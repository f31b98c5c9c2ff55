import os
import subprocess
import sys
import threading

import pytest

from cspine_assets.domain.errors import ModelError
from cspine_assets.nnunet import devices
from cspine_assets.nnunet.devices import Slot, leased_slot, slot_states, training_slots
from cspine_assets_tests.nnunet.machines import FIRST, SECOND

TWO = tuple(Slot(number=number, device="cpu", env={}) for number in range(2))


def test_every_lease_is_another_slot(tmp_path):
    with leased_slot(tmp_path, TWO) as first, leased_slot(tmp_path, TWO) as second:
        assert {first.number, second.number} == {0, 1}


def test_a_slot_can_be_leased_again_after_its_training(tmp_path):
    with leased_slot(tmp_path, TWO[:1]):
        pass
    with leased_slot(tmp_path, TWO[:1], timeout_s=0) as slot:
        assert slot.number == 0


def test_without_a_free_slot_the_lease_times_out(tmp_path):
    with (
        leased_slot(tmp_path, TWO[:1]),
        pytest.raises(ModelError, match="no free training slot"),
        leased_slot(tmp_path, TWO[:1], timeout_s=0),
    ):
        pass


def test_a_waiting_thread_gets_the_slot_that_becomes_free(tmp_path):
    got = []

    def wait():
        with leased_slot(tmp_path, TWO[:1], timeout_s=600) as slot:
            got.append(slot.number)

    with leased_slot(tmp_path, TWO[:1]):
        waiting = threading.Thread(target=wait)
        waiting.start()
    waiting.join()
    assert got == [0]


def test_the_cpu_has_one_slot_per_core_two_at_most(machine, monkeypatch):
    machine.torch(cuda=None)
    monkeypatch.setattr(devices, "_cores", lambda: 8)
    assert [slot.device for slot in training_slots()] == ["cpu", "cpu"]
    monkeypatch.setattr(devices, "_cores", lambda: 1)
    assert len(training_slots()) == 1


@pytest.fixture
def two_gpus_of_80_gb(machine, monkeypatch):
    machine.nvidia(FIRST, SECOND)
    machine.torch(FIRST, SECOND, memory_mb=81_559)
    monkeypatch.setattr(devices, "_cores", lambda: 64)


def test_a_large_gpu_has_as_many_places_as_its_memory_feeds(two_gpus_of_80_gb):
    slots = training_slots(asked_mb=24_000)
    assert [slot.name for slot in slots] == ["cuda:0", "cuda:1"] * 3  # spread first, then share
    assert [slot.share for slot in slots] == [0, 0, 1, 1, 2, 2]
    assert len({slot.place for slot in slots}) == 6


def test_cores_bound_the_places_on_a_gpu(two_gpus_of_80_gb, monkeypatch):
    monkeypatch.setattr(devices, "_cores", lambda: 8)
    assert len(training_slots(asked_mb=11_000)) == 4
    monkeypatch.setattr(devices, "_cores", lambda: 1)
    assert len(training_slots(asked_mb=11_000)) == 2


def test_a_persons_word_on_places_stands_above_memory(two_gpus_of_80_gb):
    assert len(training_slots(asked_mb=11_000, slots_per_device=1)) == 2
    assert [slot.name for slot in training_slots(devices=("cuda:1",), slots_per_device=2)] == ["cuda:1"] * 2


def test_a_gpu_is_leased_once_whatever_each_caller_calls_it(two_gpus_of_80_gb, monkeypatch, tmp_path):
    monkeypatch.setattr(devices.tempfile, "gettempdir", lambda: str(tmp_path))
    (_, second) = training_slots(slots_per_device=1)
    with leased_slot(tmp_path / "one home", [second]):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", SECOND)
        (same,) = training_slots(slots_per_device=1)
        assert same.name != second.name
        with pytest.raises(ModelError, match="no free"), leased_slot(tmp_path / "other home", [same], timeout_s=0):
            pass


@pytest.mark.parametrize("name", ["cuda", "gpu:0", "cpu:", "mps:1"])
def test_a_device_that_cannot_be_is_named(name):
    with pytest.raises(ModelError, match="expected a device like cuda:0"):
        training_slots(devices=(name,))


def test_states_say_who_holds_what(tmp_path):
    slots = training_slots(devices=("cpu:0", "cpu:1"))
    with leased_slot(tmp_path, slots, what="training of 2d fold 3"):
        held, free = slot_states(tmp_path, slots)
        assert (held.holder.pid, held.holder.what, held.holder.device) == (
            os.getpid(),
            "training of 2d fold 3",
            "cpu:0",
        )
        assert free.holder is None
    assert [state.holder for state in slot_states(tmp_path, slots)] == [None, None]


LAUNCH = """
import sys, time
from pathlib import Path
from cspine_assets.nnunet.devices import leased_slot, training_slots
folder, per_device = Path(sys.argv[1]), int(sys.argv[2])
slots = training_slots(devices=("cpu:0", "cpu:1"), slots_per_device=per_device)
with leased_slot(folder, slots) as slot:
    began = time.time()
    (folder / f"held-{time.time_ns()}").touch()
    while len(list(folder.glob("held-*"))) < len(slots):  # nobody goes before every place has been taken
        time.sleep(0.02)
    print(slot.name, began, time.time())
"""


@pytest.mark.parametrize("per_device", [1, 2])
def test_ten_launches_never_put_more_trainings_on_a_device_than_it_has_places(tmp_path, per_device):
    launched = [
        subprocess.Popen(
            [sys.executable, "-c", LAUNCH, str(tmp_path), str(per_device)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(10)
    ]
    answers = [process.communicate()[0].split() for process in launched]
    assert all(process.returncode == 0 for process in launched)
    worked = [(name, float(began), float(ended)) for name, began, ended in answers]
    assert {name for name, _, _ in worked} == {"cpu:0", "cpu:1"}
    for name, began, _ in worked:
        at_once = [other for other in worked if other[0] == name and other[1] <= began < other[2]]
        assert len(at_once) <= per_device, at_once


def test_a_dead_holder_leaves_its_place_free(tmp_path):
    slots = training_slots(devices=("cpu:0",))
    script = LAUNCH.replace("began = time.time()", "print('in', flush=True); time.sleep(600)")
    holder = subprocess.Popen([sys.executable, "-c", script, str(tmp_path), "1"], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "in\n"
    holder.kill()
    holder.wait()
    with leased_slot(tmp_path, training_slots(devices=("cpu:0",)), timeout_s=0) as slot:
        assert slot.name == "cpu:0"
    assert slot_states(tmp_path, slots)[0].holder is None
