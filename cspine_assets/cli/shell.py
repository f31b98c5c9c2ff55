"""`cspine sql --shell`: one question after the other, over one publication.

Add a dot command here. How a question is asked and an answer printed is the same as for a single one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from cspine_assets.cli.bounds import hard_stop
from cspine_assets.cli.sql import give
from cspine_assets.domain.errors import CSpineError
from cspine_assets.domain.warehouse.read import Connection, Limits, ask

TABLES = (
    "SELECT schema_name || '.' || table_name AS name, estimated_size AS row_count, comment FROM duckdb_tables() "
    "WHERE database_name = 'cspine' UNION ALL "
    "SELECT view_name, NULL, comment FROM duckdb_views() WHERE database_name = 'cspine' AND NOT internal ORDER BY name"
)
HELP = """\
A statement ends with a semicolon. The session keeps the publication it began with.
  .tables         tables and views, and what they hold
  .columns NAME   columns of a table or view, and what they say
  .help           this
  .quit           the end; so is Ctrl-D"""


def run_shell(connection: Connection, database: Path, limits: Limits) -> None:
    """Asks and answers until the input ends; an error ends the question, not the session."""
    interactive = sys.stdin.isatty()
    if interactive:
        import readline  # noqa: F401 - gives input() its line editing

        print(f"{database}, read only. .help helps, .quit ends.")  # noqa: T201
    errors = Console(stderr=True)
    for statement in _statements(interactive):
        try:
            with hard_stop(limits.seconds):
                answer = ask(connection, statement, limits, readable=True)
            give(answer)
        except CSpineError as error:
            errors.print(f"[bold red]cspine:[/] {escape(str(error))}", soft_wrap=True, highlight=False)


def _statements(interactive: bool) -> Iterator[str]:
    """Yields statements as they are typed; dot commands are turned into statements or answered here."""
    pending: list[str] = []
    while True:
        prompt = ("cspine> " if not pending else "   ...> ") if interactive else ""
        try:
            line = input(prompt)
        except EOFError:
            break
        except KeyboardInterrupt:  # forget the line, as every shell does
            pending.clear()
            print()  # noqa: T201
            continue
        word, _, rest = line.strip().partition(" ")
        if not pending and word == ".quit":
            return
        if not pending and word.startswith("."):
            yield from _dot(word, rest.strip())
            continue
        pending.append(line)
        if line.rstrip().endswith(";"):
            yield "\n".join(pending)
            pending.clear()
    if any(line.strip() for line in pending):
        yield "\n".join(pending)


def _dot(word: str, rest: str) -> Iterator[str]:
    if word == ".tables":
        yield TABLES
    elif word == ".columns":
        schema, _, name = rest.rpartition(".")
        quoted = [part.replace("'", "''") for part in (schema or "main", name)]
        yield (
            "SELECT column_name, data_type, comment FROM duckdb_columns() WHERE database_name = 'cspine' "  # noqa: S608
            f"AND schema_name = '{quoted[0]}' AND table_name = '{quoted[1]}' ORDER BY column_index"
        )
    else:
        print(HELP)  # noqa: T201
