"""The `cspine` command, a thin file per command.

Importing it ends the process where the project cannot run: one sentence instead of the traceback of a missing module.
"""

from cspine_assets.cli.systems import require_supported

require_supported()
