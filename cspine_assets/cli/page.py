"""The page of a home on this machine: the programs that serve it, and what its processes see.

Add here what `dev` and `up` share. How processes are kept running stands in ``supervisor``, which code server the
programs share in ``code_server``, who may use the page in ``guard``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from cspine_assets.cli.code_server import CodeServer, code_server
from cspine_assets.cli.guard import served_addresses
from cspine_assets.cli.page_lock import hold, require_free_port
from cspine_assets.cli.page_token import ensure_token
from cspine_assets.cli.supervisor import Program, keep_alive, rotating_log
from cspine_assets.domain.errors import HomeError
from cspine_assets.domain.home import HOME_VARIABLE, Home, ensure_writable, home_root

CODE_SERVER = "code_server"
"""Name of the program; runs are its children."""


@dataclass(frozen=True)
class HomePage:
    """A home that is ready to be served.

    Attributes:
        home: The home.
        code: What webserver and daemon ask for the assets.
    """

    home: Home
    code: CodeServer

    @property
    def lock_file(self) -> Path:
        """Held while the page stands."""
        return self.home.dagster / ".dev.lock"

    @property
    def token_file(self) -> Path:
        """Holds the token that the page asks for."""
        return token_file(self.home)

    @property
    def environment(self) -> dict[str, str]:
        """Whole environment of its processes."""
        return {**os.environ, "DAGSTER_HOME": str(self.home.dagster), HOME_VARIABLE: str(self.home.root)}


def token_file(home: Home) -> Path:
    """Returns where the token of a home's page is kept."""
    return home.dagster / ".page_token"


@contextmanager
def prepared_page(given: Path | None) -> Iterator[HomePage]:
    """Gives the page of a home, ready to be served while the block runs.

    Args:
        given: The home as a person named it, or None.

    Raises:
        HomeError: The home cannot be written to.
    """
    home = Home(home_root(given))
    ensure_writable(home.root)
    home.dagster.mkdir(exist_ok=True)
    with code_server() as code:
        yield HomePage(home, code)


def programs(
    page: HomePage, port: int, *, allow_hosts: Sequence[str], with_token: bool, read_only: bool
) -> list[Program]:
    """Returns what has to run for a page: the code server, and the guarded webserver and the daemon that ask it."""
    serve = [sys.executable, "-m", "cspine_assets.cli.webserver", "--port", str(port)]
    serve += ["--workspace", str(page.code.workspace)]
    serve += ["--token-file", str(page.token_file)] if with_token else []
    serve += [word for name in allow_hosts for word in ("--allow-host", name)]
    serve += ["--read-only"] if read_only else []
    daemon = [sys.executable, "-m", "dagster._daemon", "run", "--workspace", str(page.code.workspace)]
    return [
        Program(CODE_SERVER, page.code.command),
        Program("webserver", serve, ready=page.code.answers),
        # a daemon without a code server gives up the runs that it was about to start again
        Program("daemon", daemon, ready=page.code.answers, needs=CODE_SERVER),
    ]


def serve_page(
    given: Path | None,
    port: int,
    *,
    allow_hosts: Sequence[str],
    with_token: bool,
    read_only: bool = False,
    echo: bool = False,
) -> None:
    """Serves the page of a home until this process is asked to end.

    Args:
        given: The home as a person named it, or None.
        port: Port on 127.0.0.1.
        allow_hosts: Names besides those of this machine under which the page may be asked for.
        with_token: Whether a person needs the token in the printed address.
        read_only: Whether the page refuses every change.
        echo: Whether what the programs say is printed too, not logged alone.

    Raises:
        HomeError: The home cannot be written to, its page is running already, or the port is taken.
        CSpineError: A name is none.
    """
    served_addresses(port, allow_hosts)
    with prepared_page(given) as page:
        hold(page.lock_file).release()  # whose page stands already is told that, not that its port is taken
        require_free_port(port)
        token = ensure_token(page.token_file) if with_token else None
        say = _saying(page.home.logs / "up.log", token)
        keep_alive(
            programs(page, port, allow_hosts=allow_hosts, with_token=with_token, read_only=read_only),
            page.environment,
            logs=page.home.logs,
            lock_file=page.lock_file,
            before_start=lambda name: _make_ready(page, say) if name == CODE_SERVER else None,
            say=say,
            greeting=_greeting(page.home, port, token),
            echo=echo,
        )


def _greeting(home: Home, port: int, token: str | None) -> str:
    """Returns what is said first; the address in it opens the page."""
    address = f"http://127.0.0.1:{port}" + (f"/?token={token}" if token else "")
    open_to_all = "" if token else " Without a token, every user of this machine can use it."
    return f"The page of {home.root} opens at {address} in a few seconds; logs are in {home.logs}.{open_to_all}"


def _saying(log_file: Path, token: str | None) -> Callable[[str], None]:
    """Returns what prints a sentence and logs it, without the token, since others may be given the log."""
    console, log = Console(), rotating_log(log_file)

    def say(what: str) -> None:
        log.info(what.replace(token, "...") if token else what)
        console.print(what, highlight=False, soft_wrap=True, markup=False)

    return say


def _make_ready(page: HomePage, say: Callable[[str], None]) -> None:
    """Has a process of its own do what needs Dagster: the supervisor runs for weeks, and is 100 MB smaller without it.

    Raises:
        HomeError: The home's stores cannot be opened.
    """
    command = [sys.executable, "-m", "cspine_assets.cli.before_page"]
    done = subprocess.run(command, env=page.environment, capture_output=True, text=True, check=False)
    for line in done.stdout.splitlines():
        say(line)
    if done.returncode:
        raise HomeError(done.stderr.strip() or f"{page.home.root}: its stores could not be opened.")
