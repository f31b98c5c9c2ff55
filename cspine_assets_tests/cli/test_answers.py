import io

import pandas as pd
from rich.console import Console

from cspine_assets.cli.answers import print_answer

WIDE = pd.DataFrame({f"column_{n}": ["a value of some length", "another"] for n in range(6)} | {"dice": [0.5, None]})


def printed(answer, *, terminal, width=60):
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal, no_color=True, _environ={})
    print_answer(console, answer)
    return console.file.getvalue()


def test_what_fits_is_a_table():
    text = printed(WIDE[["column_0", "dice"]], terminal=True)
    assert len([line for line in text.splitlines() if "column_0" in line]) == 1
    assert "0.5000" in text
    assert "2 row(s)" in text


def test_a_narrow_terminal_shows_a_block_per_row():
    lines = printed(WIDE, terminal=True).splitlines()
    assert sum("column_3" in line for line in lines) == 2
    assert max(len(line.rstrip()) for line in lines) <= 60


def test_a_pipe_gets_the_whole_width():
    lines = [line for line in printed(WIDE, terminal=False).splitlines() if line.strip()]
    assert len(lines) == 1 + 1 + len(WIDE) + 1  # names, rule, rows, caption
    assert sum(line.count("a value of some length") for line in lines) == 6


def test_more_rows_than_a_screen_is_for_are_counted():
    text = printed(pd.DataFrame({"n": range(1001)}), terminal=True)
    assert "the first 1000 of 1001 rows" in text
