"""What this process may use of the machine, on every system that the project runs on.

Add here what several floors ask of the machine and systems answer differently. Children of nnU-Net and commands load
this module early: the standard library alone, and nothing that exists on one system only.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

CGROUPS: Final = Path("/sys/fs/cgroup")
"""Where Linux shows the limits of containers and batch jobs; other systems have no such folder."""

OWN_CGROUPS: Final = Path("/proc/self/cgroup")
"""Names the groups of this process, a line each: ``0::/path`` (version 2) or ``4:cpu,cpuacct:/path`` (version 1)."""


def usable_cores() -> int:
    """Return how many processes can compute at once here, 1 or more.

    The smaller of two limits: the cores that the system lets this process run on, and the share of their time that a
    container or batch system grants, rounded up. Where a system tells neither (macOS), all its cores.
    """
    cores = _cores_to_run_on()
    return max(1, min([cores, *(math.ceil(quota) for quota in _quotas())]))


def _cores_to_run_on() -> int:
    if hasattr(os, "process_cpu_count"):  # Python 3.13; obeys PYTHON_CPU_COUNT as well
        return os.process_cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quotas() -> Iterator[float]:
    """Yield the CPU quota of each control group that holds this process, in cores; nothing where there is none."""
    for folder in _cgroup_folders():
        yield from _quota(folder)


def _cgroup_folders() -> Iterator[Path]:
    """Yield the folders of the own groups and of all above them; a container sees its own as the topmost."""
    try:
        lines = OWN_CGROUPS.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" or "cpu" in controllers.split(","):
            top = CGROUPS / controllers
            own = top / path.lstrip("/")
            yield from (folder for folder in (own, *own.parents) if folder.is_relative_to(top))


def _quota(folder: Path) -> Iterator[float]:
    try:
        if (unified := folder / "cpu.max").exists():
            quota, period = unified.read_text(encoding="ascii").split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text(encoding="ascii")
            period = (folder / "cpu.cfs_period_us").read_text(encoding="ascii")
        if quota != "max" and int(quota) > 0:  # "max" in version 2 and -1 in version 1: no limit
            yield int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):  # no such group here, or not in a form that we know
        return
