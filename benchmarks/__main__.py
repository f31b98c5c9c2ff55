"""Runs every benchmark, or those named on the command line; numbers there are sizes for those that take them.

Add a benchmark as a module beside this one with a function ``main``. What all share stands in ``runner``.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys

import benchmarks


def main() -> None:
    """Runs the modules of this package that have a ``main``."""
    wanted = {argument for argument in sys.argv[1:] if not argument.isdecimal()}
    sizes = [int(argument) for argument in sys.argv[1:] if argument.isdecimal()]
    for found in pkgutil.iter_modules(benchmarks.__path__):
        if found.name == "__main__" or (wanted and found.name not in wanted):
            continue
        run = getattr(importlib.import_module(f"benchmarks.{found.name}"), "main", None)
        if run is not None:
            print(f"\n# {found.name}")
            run(*sizes)


if __name__ == "__main__":
    main()
