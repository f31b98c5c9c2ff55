"""`cspine sql`: a question to the published database, read only."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from cspine_assets.cli.options import HomeOption

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table


class AnswerFormat(StrEnum):
    """How an answer is printed."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


def sql(
    statement: Annotated[str, typer.Argument(help="One SQL statement, such as: from evaluation.test_summary")],
    home: HomeOption = None,
    answer_format: Annotated[
        AnswerFormat, typer.Option("--format", help="How to print the answer.")
    ] = AnswerFormat.TABLE,
) -> None:
    """Ask the published database; SQL reaches no other file, no network and no setting."""
    from rich.console import Console

    from cspine_assets.defs.resources import home_root
    from cspine_assets.domain.home import Home
    from cspine_assets.domain.warehouse.read import query

    answer = query(Home(home_root(str(home) if home else None)).database, statement)
    if answer_format is AnswerFormat.CSV:
        typer.echo(answer.to_csv(index=False), nl=False)
    elif answer_format is AnswerFormat.JSON:
        typer.echo(answer.to_json(orient="records", indent=2, date_format="iso"))
    else:
        Console().print(answer_table(answer))


def answer_table(answer: pd.DataFrame) -> Table:
    """Returns an answer as a table for the terminal; numbers to the right, four decimals."""
    import pandas as pd
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, caption=f"{len(answer)} row(s)", caption_justify="left")
    numeric = {name for name in answer.columns if pd.api.types.is_numeric_dtype(answer[name])}
    for name in answer.columns:
        table.add_column(str(name), justify="right" if name in numeric else "left", overflow="fold")
    for row in answer.itertuples(index=False):
        table.add_row(*(_shown(value) for value in row))
    return table


def _shown(value: object) -> str:
    import math

    import pandas as pd
    from rich.markup import escape

    if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:.4f}" if isinstance(value, float) else escape(str(value))
