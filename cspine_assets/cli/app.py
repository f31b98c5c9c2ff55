"""The `cspine` command: its list of commands, and how an error reaches a person.

Add a command here with one line; what it does stands in a file of its own. Heavy imports wait inside the commands,
so that `cspine --help` answers at once.
"""

from __future__ import annotations

import io
import os
import sys
from typing import Annotated

import typer

from cspine_assets.cli import (
    compare,
    convert,
    demo,
    dev,
    devices,
    doctor,
    download,
    levels,
    materialize,
    model,
    phantom,
    predict,
    prediction,
    publications,
    score,
    sql,
    training,
    up,
)
from cspine_assets.domain.errors import CSpineError

DEBUG_VARIABLE = "CSPINE_DEBUG"

INTERRUPTED = 130
"""Status that Typer gives a command which Ctrl-C ended, and that every shell knows."""

app = typer.Typer(
    help="The CSpineSeg cervical-spine MRI study as a platform: from a MIDRC download to SQL and the Dagster page.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


def _say_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"cspine-assets {version('cspine-assets')}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Take the options that belong to no command."""


# the help lists them so: what a person wants, and under it the commands
_STUDY, _LOOK, _SINGLE, _MODELS = "Make the study", "Look at it", "Scans and masks of your own", "Models"
app.command(rich_help_panel=_STUDY)(demo.demo)
app.command(rich_help_panel=_STUDY)(doctor.doctor)
app.command(rich_help_panel=_STUDY)(download.download)
app.command(rich_help_panel=_STUDY)(levels.levels)
app.command(rich_help_panel=_STUDY)(materialize.materialize)
app.command(rich_help_panel=_STUDY)(phantom.phantom)
app.command(rich_help_panel=_LOOK)(dev.dev)
app.command(rich_help_panel=_LOOK)(up.up)
app.command(rich_help_panel=_LOOK)(sql.sql)
app.command(rich_help_panel=_LOOK)(publications.publications)
app.command(rich_help_panel=_SINGLE)(convert.convert)
app.command(rich_help_panel=_SINGLE)(predict.predict)
app.command(rich_help_panel=_SINGLE)(score.score)
app.command(rich_help_panel=_SINGLE)(compare.compare)
app.command(rich_help_panel=_MODELS)(training.training)
app.command(rich_help_panel=_MODELS)(devices.devices)
app.command(rich_help_panel=_MODELS)(prediction.prediction)
app.add_typer(model.model, name="model", rich_help_panel=_MODELS)


def main() -> None:
    """Runs a command; an error that a person can act on is one message on stderr and status 1."""
    _replace_what_cannot_be_written()
    try:
        app(_with_comments(sys.argv[1:]))
    except CSpineError as error:
        if os.environ.get(DEBUG_VARIABLE):
            raise
        _say(str(error))
        sys.exit(1)
    except SystemExit as ended:
        if ended.code == INTERRUPTED:
            _say("interrupted. Nothing is left half-written, and what had been finished stands.")
        raise
    except Exception as error:
        if os.environ.get(DEBUG_VARIABLE):
            raise
        if (reason := full_disk(error)) is None:
            if not is_damaged_store(error):
                raise
            _say(
                "expected Dagster's databases of this home, a part of them is damaged. Tables and models are not in "
                "them. `cspine doctor` names the damaged files and the way back."
            )
            sys.exit(1)
        _say(
            f"expected room on the disk, got '{reason}'. Free some, or choose another disk with --home; what was "
            "finished stands, and the same command goes on from there."
        )
        sys.exit(1)


def _replace_what_cannot_be_written() -> None:
    """Lets a terminal of another encoding than UTF-8 show the rest of a text that holds what it does not know."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _with_comments(arguments: list[str]) -> list[str]:
    """Returns arguments in which SQL that begins with a comment is not taken for an option."""
    return [f"\n{said}" if said.startswith("-- ") else said for said in arguments]


def full_disk(error: BaseException | None) -> str | None:
    """Returns in which words an error says that a disk is full, or None where it is about something else.

    A library may have wrapped it, so whatever it was raised from or during is looked at too. SQLite, in which Dagster
    keeps its runs, calls it an input or output error where not even its journal can be written.
    """
    import errno
    import sqlite3

    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return str(error)
        if isinstance(error, sqlite3.OperationalError) and ("full" in str(error) or "disk I/O" in str(error)):
            return str(error)
        error = error.__cause__ or error.__context__
    return None


def is_damaged_store(error: BaseException | None) -> bool:
    """Returns whether an error says that a database of Dagster's is damaged, whatever it was wrapped into."""
    import sqlite3

    while error is not None:
        if isinstance(error, sqlite3.DatabaseError) and ("malformed" in str(error) or "not a database" in str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


def _say(message: str) -> None:
    from rich.console import Console
    from rich.markup import escape

    Console(stderr=True).print(f"[bold red]cspine:[/] {escape(message)}", soft_wrap=True, highlight=False)


if __name__ == "__main__":
    main()
