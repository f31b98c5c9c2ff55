"""The usable cores are told on every system, and a container's quota counts."""

import os
from pathlib import Path

import pytest

from cspine_assets.domain import machine
from cspine_assets.domain.machine import usable_cores


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine of eight cores without control groups; returns the folder in which a test makes them."""
    monkeypatch.setattr(os, "process_cpu_count", lambda: 8, raising=False)
    monkeypatch.setattr(machine, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(machine, "OWN_CGROUPS", tmp_path / "own")
    return tmp_path / "cgroup"


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text + "\n")


def test_this_process_has_at_least_one_core():
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)


def test_affinity_is_obeyed_by_older_pythons(groups: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delattr(os, "process_cpu_count")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5}, raising=False)
    assert usable_cores() == 2


def test_a_system_without_affinity_gives_all_its_cores(groups: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delattr(os, "process_cpu_count")
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert usable_cores() == 6


def test_a_system_that_does_not_know_its_cores_has_one(groups: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "process_cpu_count", lambda: None)
    assert usable_cores() == 1


@pytest.mark.parametrize(("cpu_max", "cores"), [("250000 100000", 3), ("5000 100000", 1), ("max 100000", 8)])
def test_a_container_s_quota_counts(groups: Path, cpu_max: str, cores: int):
    machine.OWN_CGROUPS.write_text("0::/\n")
    write(groups, cpu__max=cpu_max)
    assert usable_cores() == cores


def test_the_quota_of_a_group_above_counts_too(groups: Path):
    machine.OWN_CGROUPS.write_text("0::/job/step\n")
    write(groups / "job" / "step", cpu__max="max 100000")
    write(groups / "job", cpu__max="400000 100000")
    assert usable_cores() == 4


@pytest.mark.parametrize(("quota", "cores"), [("150000", 2), ("-1", 8)])
def test_a_quota_of_version_1_counts_where_the_container_shows_its_group_as_the_topmost(
    groups: Path, quota: str, cores: int
):
    machine.OWN_CGROUPS.write_text("4:cpu,cpuacct:/docker/4f2a\n3:memory:/docker/4f2a\n")
    write(groups / "cpu,cpuacct", cpu__cfs_quota_us=quota, cpu__cfs_period_us="100000")
    assert usable_cores() == cores


@pytest.mark.parametrize("cpu_max", ["", "many 100000", "100000 0"])
def test_a_quota_that_cannot_be_understood_is_none(groups: Path, cpu_max: str):
    machine.OWN_CGROUPS.write_text("0::/\n")
    write(groups, cpu__max=cpu_max)
    assert usable_cores() == 8
