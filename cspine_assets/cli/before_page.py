"""What is done to a home before its code server starts, run as a module: no process of an earlier one is left then.

The page runs it as a process of its own, so that its supervisor need not load Dagster.
"""

from __future__ import annotations

import sys

from cspine_assets.defs.dead_runs import close_orphaned_runs
from cspine_assets.defs.instance import open_instance
from cspine_assets.domain.errors import CSpineError
from cspine_assets.domain.home import Home, home_root
from cspine_assets.domain.housekeeping import LOG_DAYS, tidy


def main() -> None:
    """Opens or makes the instance, marks runs as failed that ended with their code server, and removes leftovers.

    The home is that of the environment; each sentence for the person is a line of the output.
    """
    home = Home(home_root())
    with open_instance(home) as instance:
        for run_id in close_orphaned_runs(instance):
            print(f"run {run_id} had ended with its code server and is marked as failed")  # noqa: T201
    if gone := tidy(home):
        print(f"removed {len(gone)} leftovers: of killed writers, and step output older than {LOG_DAYS} days")  # noqa: T201


if __name__ == "__main__":
    try:
        main()
    except CSpineError as error:
        sys.exit(str(error))
