"""An answer on the screen: a table where it fits, else one row below the other, as psql's expanded display does.

Add here what every printed answer shares. Asking stands in ``sql`` and ``shell``.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console
    from rich.table import Table

SHOWN_ROWS = 1000
"""Rows of an answer that are printed; the other formats hold all."""


def print_answer(console: Console, answer: pd.DataFrame) -> None:
    """Prints an answer; numbers to the right, four decimals.

    A terminal that is too narrow for the table gets a block per row; a pipe or a file gets the table in its full width,
    since nobody knows how wide its reader is.
    """
    from rich.console import Console

    shown = answer.head(SHOWN_ROWS)
    table = _table(shown)
    width = console.measure(table, options=console.options.update(width=100_000, max_width=100_000)).maximum
    if width <= console.width:
        console.print(table)
    elif console.is_terminal:
        _print_records(console, shown)
    else:
        Console(file=console.file, width=width).print(table)
    caption = f"{len(answer)} row(s)"
    if len(answer) > SHOWN_ROWS:
        caption = f"the first {SHOWN_ROWS} of {len(answer)} rows; --format csv, json or parquet gives all"
    console.print(f" {caption}", highlight=False)


def _table(answer: pd.DataFrame) -> Table:
    import pandas as pd
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for name in answer.columns:
        numeric = pd.api.types.is_numeric_dtype(answer[name])
        table.add_column(str(name), justify="right" if numeric else "left", no_wrap=True)
    for row in answer.itertuples(index=False):
        table.add_row(*(_shown(value) for value in row))
    return table


def _print_records(console: Console, answer: pd.DataFrame) -> None:
    """Prints names and values side by side, a block per row."""
    from rich import box
    from rich.table import Table

    for number, row in enumerate(answer.itertuples(index=False), start=1):
        block = Table(box=box.SIMPLE, show_header=False, title=f"row {number}", title_justify="left")
        block.add_column(style="bold", no_wrap=True)
        block.add_column(overflow="fold")
        for name, value in zip(answer.columns, row, strict=True):
            block.add_row(str(name), _shown(value))
        console.print(block)


def _shown(value: object) -> str:
    import pandas as pd
    from rich.markup import escape

    if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:.4f}" if isinstance(value, float) else escape(str(value))
