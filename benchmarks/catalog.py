"""The list of all benchmarks, in the order in which they run, and the sizes that each of them has.

Add a benchmark here and as a module of the same name with ``run(size, folder)``. A module that is not in this list is
never run as a benchmark; what is measured does not belong here.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Final

from benchmarks.results import Results


class Size(StrEnum):
    """How much work a benchmark does.

    The smallest size takes seconds and shows that a benchmark runs; its numbers mean nothing. Targets hold from the
    usual size on.
    """

    SMALLEST = "smallest"
    USUAL = "usual"
    LARGE = "large"


Run = Callable[[Size, Path], Results]
"""Measures at one size; files go into an empty folder, which the caller removes."""


@dataclass(frozen=True)
class Benchmark:
    """One benchmark.

    Attributes:
        name: Name of the module in this package.
        question: What it measures.
        seconds: Usual wall time by size, on two quiet cores without a GPU.
    """

    name: str
    question: str
    seconds: Mapping[Size, int]

    def load(self) -> Run:
        """Import the module and return its entry point.

        Raises:
            LookupError: The module is missing or has no function ``run``.
        """
        module = f"benchmarks.{self.name}"
        if importlib.util.find_spec(module) is None:
            raise LookupError(f"expected the module {module}, which benchmarks/catalog.py lists; there is none")
        run: Run | None = getattr(importlib.import_module(module), "run", None)
        if run is None:
            raise LookupError(f"{module}: expected a function run(size, folder), which every listed benchmark has")
        return run


def _benchmark(name: str, question: str, smallest: int, usual: int, large: int) -> Benchmark:
    seconds = {Size.SMALLEST: smallest, Size.USUAL: usual, Size.LARGE: large}
    return Benchmark(name, question, MappingProxyType(seconds))


BENCHMARKS: Final = (
    _benchmark("conversion", "DICOM series to NIfTI volumes", 10, 135, 300),
    _benchmark("ingest", "The tables of a cohort", 10, 120, 200),
    _benchmark("orchestration", "What a patient costs beside the work itself", 20, 180, 900),
    _benchmark("scoring", "Dice and surface distances of two folders of masks", 15, 180, 500),
    _benchmark("levels", "Names of spinal levels in adversarial scenarios", 5, 90, 450),
    _benchmark("level_names", "Names of spinal levels on masks as experts draw them", 10, 30, 90),
    _benchmark("statistics", "Bootstrap intervals, rank tests and summaries", 10, 120, 400),
    _benchmark("warehouse", "Publishing and querying the database", 15, 180, 500),
    _benchmark("prediction", "2d, 3d_fullres and their ensemble on a CPU", 30, 420, 800),
    _benchmark("gpu_training", "Several trainings at once on one device", 30, 120, 1_800),
)


def chosen(names: Sequence[str]) -> tuple[Benchmark, ...]:
    """Return the benchmarks with these names in the order of the list, all of them where no name is given.

    Raises:
        LookupError: No benchmark has one of the names.
    """
    known = [benchmark.name for benchmark in BENCHMARKS]
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise LookupError(f"expected names of benchmarks ({', '.join(known)}), got {', '.join(unknown)}")
    return tuple(benchmark for benchmark in BENCHMARKS if not names or benchmark.name in names)
