"""The page of a home on this machine: its workspace file, the lock that says it stands, and what its processes see.

Add here what `dev` and `up` share. How processes are started and ended stands in ``supervise`` and ``supervisor``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from cspine_assets.defs.instance import open_instance
from cspine_assets.domain.files import write_text
from cspine_assets.domain.home import HOME_VARIABLE, Home, ensure_writable, home_root

WORKSPACE = """\
load_from:
  - python_module:
      module_name: cspine_assets.definitions
      location_name: cspine_assets
"""


@dataclass(frozen=True)
class HomePage:
    """A home that is ready to be served.

    Attributes:
        home: The home.
        workspace: What Dagster loads.
    """

    home: Home
    workspace: Path

    @property
    def lock_file(self) -> Path:
        """Held while the page stands."""
        return self.home.dagster / ".dev.lock"

    @property
    def environment(self) -> dict[str, str]:
        """Whole environment of its processes."""
        return {**os.environ, "DAGSTER_HOME": str(self.home.dagster), HOME_VARIABLE: str(self.home.root)}


def prepare_page(given: Path | None) -> HomePage:
    """Writes what the page of a home needs before it is served; what stands of it stays.

    Args:
        given: The home as a person named it, or None.

    Raises:
        HomeError: The home cannot be written to.
    """
    home = Home(home_root(given))
    ensure_writable(home.root)
    open_instance(home).dispose()
    workspace = home.dagster / "workspace.yaml"
    write_text(workspace, WORKSPACE)
    return HomePage(home, workspace)
