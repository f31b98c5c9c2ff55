"""Runs every benchmark, or those named on the command line.

Add a benchmark as a module beside this one with a function ``main``. What all share stands in ``runner``.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys

import benchmarks


def main() -> None:
    """Runs the modules of this package that have a ``main``."""
    wanted = set(sys.argv[1:])
    for found in pkgutil.iter_modules(benchmarks.__path__):
        if found.name == "__main__" or (wanted and found.name not in wanted):
            continue
        run = getattr(importlib.import_module(f"benchmarks.{found.name}"), "main", None)
        if run is not None:
            print(f"\n# {found.name}")
            run()


if __name__ == "__main__":
    main()
