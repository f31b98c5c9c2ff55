"""Series are unpacked into memory where there is room, which changes nothing but the time; nothing stays there."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from cspine_assets.domain import housekeeping
from cspine_assets.domain.errors import ConversionError
from cspine_assets.domain.housekeeping import sweep_scratch
from cspine_assets.domain.imaging import opening, scratch
from cspine_assets.domain.imaging.conversion import ConversionTask, convert_together
from cspine_assets.domain.imaging.opening import open_series
from cspine_assets.domain.imaging.refusal import Cause
from cspine_assets.domain.imaging.rows import volume_row
from cspine_assets.domain.imaging.scratch import memory_folder, scratch_folder
from cspine_assets.domain.imaging.series import SeriesGeometry
from cspine_assets.domain.imaging.sources import SeriesRequest
from cspine_assets_tests.domain.imaging.dicom_series import PATIENT, SLICES, UID, make_instances, write_series


@pytest.fixture
def memory(monkeypatch, tmp_path):
    """A folder in place of the machine's memory, with room."""
    folder = tmp_path / "memory"
    folder.mkdir()
    monkeypatch.setattr(scratch, "MEMORY", folder)
    monkeypatch.setattr(scratch, "MEMORY_FREE_BYTES", 0)
    return folder


def make_request(tmp_path, number=0, count=SLICES) -> SeriesRequest:
    instances = make_instances(count, uid=f"{UID}{number}", seed=number)
    series = write_series(tmp_path / f"{number}.zip", instances)
    return SeriesRequest(f"exam-{number}", PATIENT, f"{UID}{number}", SLICES, series=series)


def test_series_lie_in_memory_while_they_are_converted_and_come_to_the_same(memory, monkeypatch, tmp_path):
    requests = [make_request(tmp_path, 0), make_request(tmp_path, 1, count=4), make_request(tmp_path, 2)]
    tasks = [ConversionTask(request, tmp_path / f"{request.exam_id}.nii.gz") for request in requests]
    seen = []

    def opened(request, source, folder, *, memory):
        series = open_series(request, source, folder, memory=memory)
        seen.append((folder.readlink() == memory, len(list(memory.iterdir()))))
        return series

    monkeypatch.setattr("cspine_assets.domain.imaging.conversion.open_series", opened)
    inside = convert_together(tasks, tmp_path / "scratch")
    assert seen == [(True, SLICES), (True, 4), (True, SLICES)]
    monkeypatch.undo()
    monkeypatch.setattr(scratch, "MEMORY", tmp_path / "none")
    outside = convert_together(tasks, tmp_path / "scratch")
    assert [volume_row(outcome, tmp_path) for outcome in outside] == [volume_row(one, tmp_path) for one in inside]
    assert [outcome.findings for outcome in outside] == [outcome.findings for outcome in inside]
    assert list(memory.iterdir()) == list((tmp_path / "scratch").iterdir()) == []


def test_a_series_too_large_for_memory_is_unpacked_on_the_disk(memory, monkeypatch, tmp_path):
    monkeypatch.setattr(opening, "MEMORY_SERIES_BYTES", 100)
    request = make_request(tmp_path)
    series = open_series(request, request.series, tmp_path / "series", memory=memory / "series")
    assert isinstance(series.verdict, SeriesGeometry)
    assert not series.folder.is_symlink()
    assert list(memory.iterdir()) == []


def test_a_damaged_archive_is_refused_as_on_the_disk(memory, tmp_path):
    request = make_request(tmp_path)
    request.series.write_bytes(request.series.read_bytes()[:-100])
    reasons = []
    for name, place in (("a", None), ("b", memory / "b")):
        with pytest.raises(ConversionError) as refused:
            open_series(request, request.series, tmp_path / name, memory=place)
        reasons.append(str(refused.value))
    assert reasons[0] == reasons[1]
    assert list(memory.iterdir()) == []


def test_memory_is_left_alone_where_there_is_none_or_too_little(memory, monkeypatch, tmp_path):
    with memory_folder() as folder:
        assert folder is not None
    monkeypatch.setattr(scratch, "MEMORY_FREE_BYTES", 1 << 60)
    with memory_folder() as folder:
        assert folder is None
    monkeypatch.setattr(scratch, "MEMORY_FREE_BYTES", 1000)
    # what files may take of the memory is half of it, however much of it programs have taken
    monkeypatch.setattr(scratch.psutil, "virtual_memory", lambda: SimpleNamespace(available=999))
    with memory_folder() as folder:
        assert folder is None
    monkeypatch.undo()
    monkeypatch.setattr(scratch, "MEMORY_FREE_BYTES", 0)
    monkeypatch.setattr(scratch, "MEMORY", tmp_path / "none")
    with memory_folder() as folder:
        assert folder is None


KILLED = """
import os, signal, sys
from pathlib import Path
from cspine_assets.domain.imaging import scratch
scratch.MEMORY, scratch.MEMORY_FREE_BYTES = Path(sys.argv[2]), 0
with scratch.scratch_folder(Path(sys.argv[1])) as folder, scratch.memory_folder() as memory:
    for place in (folder, memory):
        (place / "header").write_text("as it came")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_scratch_of_killed_processes_is_removed_and_that_of_running_ones_stays(memory, monkeypatch, tmp_path):
    monkeypatch.setattr(housekeeping, "MEMORY", memory)
    place = tmp_path / "scratch"
    with scratch_folder(place) as mine, memory_folder() as in_memory:
        subprocess.run([sys.executable, "-c", KILLED, str(place), str(memory)], check=False, timeout=60)
        left = [path for folder in (place, memory) for path in folder.iterdir() if "-1-" in path.name]
        assert len(left) == 4  # a folder and its lock in each
        assert set(left) <= set(sweep_scratch(place))
        assert not any(path.exists() for path in left)
        assert mine.stat().st_mode & 0o777 == 0o700
        assert in_memory is not None
        assert in_memory.exists()
    assert list(place.iterdir()) == list(memory.iterdir()) == []


def test_a_full_disk_is_no_damaged_archive(monkeypatch, tmp_path):
    request = make_request(tmp_path)

    def full(_path, _content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(scratch, "MEMORY", tmp_path / "none")
    monkeypatch.setattr(Path, "write_bytes", full)
    (outcome,) = convert_together([ConversionTask(request, tmp_path / "a.nii.gz")], tmp_path / "scratch")
    assert outcome.cause is Cause.UNEXPECTED
    assert "No space left on device" in outcome.reason
    assert "fetch" not in outcome.reason.lower()
