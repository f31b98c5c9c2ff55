"""Answers written to a file by DuckDB itself: CSV, JSON and Parquet, row by row and in bounded memory.

Add a format here. Every type of DuckDB is written as DuckDB writes it; the one thing changed is JSON's missing word for
infinity. Asking stands in ``read``.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Final

import duckdb

from cspine_assets.domain.warehouse.read import Connection, Limits, ask, only_statement, refusals
from cspine_assets.domain.warehouse.statements import text

COPY_OPTIONS: Final = {
    "csv": "FORMAT csv, HEADER true",
    "json": "FORMAT json, ARRAY true",
    "parquet": "FORMAT parquet",
}

_NOT_IN_JSON: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|-?(?:Infinity|NaN)')
_AS_JSON: Final = {b"Infinity": b"1e999", b"-Infinity": b"-1e999"}


def write_answer(connection: Connection, statement: str, path: Path, answer_format: str, limits: Limits) -> None:
    """Writes the answer to exactly one statement that reads.

    Infinity is ``inf`` in CSV, a number in Parquet, and 1e999 in JSON, which every reader takes for infinity; NaN is
    ``nan``, a number, and null. Of two columns of one name the second is called ``name_1``.

    Args:
        connection: One that may write this file, see ``connect_read_only``.
        statement: The question.
        path: The file; nothing of it can be relied upon after an error.
        answer_format: A key of ``COPY_OPTIONS``.
        limits: Of the statement.

    Raises:
        StatementRefusedError: As ``read.ask``, or a type of the answer cannot be written in this format.
    """
    asked = only_statement(connection, statement)
    target = f"TO {text(str(path))} ({COPY_OPTIONS[answer_format]})"
    with refusals(connection, limits):
        if asked.type is duckdb.StatementType.SELECT:
            try:
                connection.execute(f"COPY (\n{asked.query.strip().rstrip(';')}\n) {target}")
            except duckdb.ParserException:  # a comment behind the semicolon
                connection.execute(f"COPY (FROM query({text(asked.query)})) {target}")
        else:
            connection.register("explained", ask(connection, statement, limits))
            connection.execute(f"COPY (FROM explained) {target}")
    if answer_format == "json":
        _say_infinity(path)


def _say_infinity(path: Path) -> None:
    """Replaces the words Infinity and NaN, which are no JSON, in a file of one row a line."""
    aside = path.with_name(f"{path.name}.said")
    with path.open("rb") as source, aside.open("wb") as target:
        for line in source:
            if b"Infinity" in line or b"NaN" in line:
                line = _NOT_IN_JSON.sub(_in_json, line)  # noqa: PLW2901
            target.write(line)
    shutil.move(aside, path)


def _in_json(found: re.Match[bytes]) -> bytes:
    word = found.group()
    return word if word.startswith(b'"') else _AS_JSON.get(word, b"null")
