"""`cspine sql`: a question to the published database, read only and within limits."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cspine_assets.cli.options import HomeOption

if TYPE_CHECKING:
    import pyarrow as pa

    from cspine_assets.domain.warehouse.read import Limits


class AnswerFormat(StrEnum):
    """How an answer is given."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"


def sql(
    statement: Annotated[
        str | None, typer.Argument(help="One SQL statement, such as: from evaluation.test_summary", show_default=False)
    ] = None,
    *,
    home: HomeOption = None,
    file: Annotated[
        Path | None,
        typer.Option(help="A file with the statement; with several, where the answers are printed as tables."),
    ] = None,
    shell: Annotated[bool, typer.Option("--shell", help="Ask one question after the other.")] = False,
    answer_format: Annotated[
        AnswerFormat | None, typer.Option("--format", help="Default: by the ending of --out, else a table.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the answer to this file.")] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds until a statement is stopped.")] = 60,
    memory: Annotated[int, typer.Option(min=100, help="Megabytes that a statement may use.")] = 1000,
    publication: Annotated[
        str | None, typer.Option(help="Ask an earlier publication instead; `cspine publications` lists them.")
    ] = None,
) -> None:
    """Ask the published database; SQL reaches no other file, no network and no setting."""
    from cspine_assets.cli.bounds import bounded_process, hard_stop
    from cspine_assets.cli.shell import run_shell
    from cspine_assets.domain.errors import CSpineError
    from cspine_assets.domain.home import Home, home_root
    from cspine_assets.domain.warehouse.publications import publication_file
    from cspine_assets.domain.warehouse.read import Limits, ask, connect_read_only, statements_of

    if (statement is not None) + (file is not None) + shell != 1:
        raise CSpineError("expected one of a statement, --file FILE and --shell.")
    limits = Limits(seconds=timeout, memory_mb=memory)
    database = publication_file(Home(home_root(home)).database, publication)
    wanted = _format(answer_format, out)
    asked = _read(file) if file else _as_utf8(statement or "")
    if wanted is not AnswerFormat.TABLE and not shell:
        _write(database, asked, limits, wanted, out)
        return
    with connect_read_only(database, limits) as connection, bounded_process(limits.memory_mb):
        if shell:
            run_shell(connection, database, limits)
            return
        several = statements_of(connection, asked) if file and not out else [asked]
        for one in several:
            with hard_stop(limits.seconds):
                answer = ask(connection, one, limits, readable=True)
            give(answer, out)


def give(answer: pa.Table, out: Path | None = None) -> None:
    """Prints an answer as a table, or writes the table to a file, whole or not at all."""
    import io

    from rich.console import Console

    from cspine_assets.cli.answers import print_answer
    from cspine_assets.domain.files import written_aside
    from cspine_assets.domain.warehouse.read import to_frame

    text = io.StringIO()
    print_answer(Console(file=text if out else None), to_frame(answer))
    if out is not None:
        with written_aside(out) as aside:
            aside.write_text(text.getvalue(), encoding="utf-8")


def _write(database: Path, asked: str, limits: Limits, wanted: AnswerFormat, out: Path | None) -> None:
    """Writes an answer to a file, whole or not at all, or to the output."""
    import shutil
    import sys
    import tempfile

    from cspine_assets.cli.bounds import bounded_process, hard_stop
    from cspine_assets.domain.files import written_aside
    from cspine_assets.domain.warehouse.read import connect_read_only
    from cspine_assets.domain.warehouse.written import write_answer

    with (
        tempfile.TemporaryDirectory(prefix="cspine-sql-") as folder,
        written_aside(out or Path(folder, "out")) as aside,
    ):
        with (
            connect_read_only(database, limits, answer_file=aside) as connection,
            bounded_process(limits.memory_mb),
            hard_stop(limits.seconds),
        ):
            write_answer(connection, asked, aside, wanted.value, limits)
        if out is None:
            with aside.open(encoding="utf-8", newline="") as text:
                shutil.copyfileobj(text, sys.stdout)


def _as_utf8(statement: str) -> str:
    """Returns a statement whose bytes Python took for those of a plainer encoding, as it does under LC_ALL=POSIX."""
    return statement.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _format(given: AnswerFormat | None, out: Path | None) -> AnswerFormat:
    """Returns the format asked for, or the one that the file's ending says."""
    from cspine_assets.domain.errors import CSpineError

    endings = {".csv": AnswerFormat.CSV, ".json": AnswerFormat.JSON, ".parquet": AnswerFormat.PARQUET}
    found = given or (endings.get(out.suffix, AnswerFormat.TABLE) if out else AnswerFormat.TABLE)
    if found is AnswerFormat.PARQUET and out is None:
        raise CSpineError("expected a file for a Parquet answer: say --out FILE.")
    return found


def _read(file: Path) -> str:
    from cspine_assets.domain.errors import CSpineError

    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CSpineError(f"{file}: expected a text file with SQL, it cannot be read ({error}).") from error
