"""Asking the published database: read only, and with nothing else of the machine in reach.

Add a way of asking here. What the tables hold is decided by ``publish``.
"""

from __future__ import annotations

from pathlib import Path

import duckdb
import pandas as pd

from cspine_assets.domain.errors import CSpineError, HomeError


def connect_read_only(database: Path) -> duckdb.DuckDBPyConnection:
    """Opens the published database for reading; SQL reaches no other file, no network, and no setting.

    Raises:
        HomeError: Nothing has been published, or the file is no DuckDB database.
    """
    if not database.exists():
        raise HomeError(
            f"{database}: expected the published database, there is none yet. "
            "Materialize the asset warehouse/database first (`cspine demo` or `cspine materialize`)."
        )
    settings = {"enable_external_access": "false", "lock_configuration": "true"}
    try:
        return duckdb.connect(str(database), read_only=True, config=settings)  # type: ignore[arg-type]
    except duckdb.Error as error:
        raise HomeError(
            f"{database}: expected a DuckDB database, it cannot be opened ({error}). "
            "Materialize the asset warehouse/database again."
        ) from error


def query(database: Path, statement: str) -> pd.DataFrame:
    """Returns the answer to one SQL statement.

    Raises:
        HomeError: As ``connect_read_only``.
        CSpineError: The statement is not valid SQL, or asks for what a reader may not do.
    """
    with connect_read_only(database) as connection:
        try:
            answer = connection.sql(statement)
            if answer is None:
                raise CSpineError("expected a statement that answers with rows, such as SELECT, SHOW or DESCRIBE.")
            frame: pd.DataFrame = answer.df()
            return frame
        except duckdb.Error as error:
            raise CSpineError(f"the database refused the statement: {error}") from error
