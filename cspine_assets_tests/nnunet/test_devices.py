import threading

import pytest

from cspine_assets.domain.errors import ModelError
from cspine_assets.nnunet import devices
from cspine_assets.nnunet.devices import Slot, leased_slot, training_slots

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
        with leased_slot(tmp_path, TWO[:1], timeout_s=20) as slot:
            got.append(slot.number)

    with leased_slot(tmp_path, TWO[:1]):
        waiting = threading.Thread(target=wait)
        waiting.start()
    waiting.join()
    assert got == [0]


def test_a_torch_for_the_cpu_has_one_slot_per_core_two_at_most(monkeypatch):
    monkeypatch.setattr(devices, "version", lambda _: "2.13.0+cpu")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setattr(devices.os, "sched_getaffinity", lambda _: set(range(8)))
    assert [slot.device for slot in training_slots()] == ["cpu", "cpu"]
    monkeypatch.setattr(devices.os, "sched_getaffinity", lambda _: {0})
    assert len(training_slots()) == 1


def test_each_visible_gpu_is_a_slot_that_shows_itself_alone(monkeypatch):
    monkeypatch.setattr(devices, "version", lambda _: "2.13.0")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, MIG-5f")
    assert [slot.env for slot in training_slots()] == [
        {"CUDA_VISIBLE_DEVICES": "2"},
        {"CUDA_VISIBLE_DEVICES": "MIG-5f"},
    ]
