"""The code server of a page: one process that has imported the assets, for webserver and daemon alike.

Without it, each of the two starts a server of its own, and the daemon starts another every minute to see whether the
code has changed. Runs are children of the code server. How it is kept running stands in ``supervisor``.
"""

from __future__ import annotations

import socket
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cspine_assets.domain.files import folder_aside

LOCATION = "cspine_assets"
"""Name of the code location, the same as in ``workspace.yaml`` for Dagster's own commands: runs are known by it."""

LONGEST_ADDRESS_BYTES = 100
"""A socket's path may take 103 bytes on macOS and 107 on Linux."""

_WORKSPACE = """\
load_from:
  - grpc_server:
      socket: {socket}
      location_name: {location}
"""


@dataclass(frozen=True)
class CodeServer:
    """Where a code server is asked.

    A socket and no port: two servers may listen on one port at once, and clients would see the code change all the
    time. Others on this machine cannot reach it.

    Attributes:
        folder: Holds its files, for its owner alone.
    """

    folder: Path

    @property
    def socket(self) -> Path:
        """What it listens on."""
        return self.folder / "code"

    @property
    def workspace(self) -> Path:
        """What tells Dagster's programs to ask it."""
        return self.folder / "workspace.yaml"

    @property
    def command(self) -> Sequence[str]:
        """Starts it."""
        start = [sys.executable, "-m", "dagster", "code-server", "start", "--module-name", "cspine_assets.definitions"]
        return [*start, "--location-name", LOCATION, "--socket", str(self.socket), "--log-level", "warning"]

    def answers(self) -> bool:
        """Whether it listens."""
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(str(self.socket))
            except OSError:
                return False
        return True


@contextmanager
def code_server() -> Iterator[CodeServer]:
    """Gives the place of a code server that may run while the block does; nothing is left of it afterwards.

    It is in the folder for temporary files, as a home's path may be too long for a socket.
    """
    usual = Path(tempfile.gettempdir())
    short = len(bytes(usual)) + len("/.aside-00-cspine-page/code") <= LONGEST_ADDRESS_BYTES
    with folder_aside((usual if short else Path("/tmp")) / "cspine-page") as folder:  # noqa: S108 - the owner's alone
        server = CodeServer(folder)
        server.workspace.write_text(_WORKSPACE.format(socket=server.socket, location=LOCATION), encoding="utf-8")
        yield server
