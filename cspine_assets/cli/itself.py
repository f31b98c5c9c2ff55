"""How this very command can be called again, for what is printed to be copied.

Add here what the command line has to know about itself. What a command does stands in its own file.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path


def callable_name() -> str:
    """Returns what to type for this installation: ``cspine`` where the shell finds it so, else its path.

    A path below the current folder is relative: ``.venv/bin/cspine`` after `make setup`.
    """
    own = Path(sys.executable).parent / "cspine"
    found = shutil.which("cspine")
    if found is not None and Path(found).absolute() == own.absolute():
        return "cspine"
    here = Path.cwd()
    return shlex.quote(os.fspath(own.relative_to(here) if own.is_relative_to(here) else own))
