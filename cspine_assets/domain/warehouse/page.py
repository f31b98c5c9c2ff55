"""``docs/sql.md``: the page of the database, made from the descriptions of tables and views.

Change what the page looks like here. What it says of a column is changed where the column is described.
"""

from __future__ import annotations

from collections.abc import Iterator

from cspine_assets.domain.tables.base import Table, arrow_schema, column_comment
from cspine_assets.domain.tables.catalog import all_tables
from cspine_assets.domain.tables.warehouse import Report
from cspine_assets.domain.warehouse.keys import foreign_keys
from cspine_assets.domain.warehouse.questions import QUESTIONS
from cspine_assets.domain.warehouse.statements import SQL_TYPES
from cspine_assets.domain.warehouse.views import VIEWS

_HEAD = """\
# The database in SQL

*Made from the descriptions of tables and views by `make docs`; change those, not this page.*

`published/cspine.duckdb` in the home is one DuckDB file. Ask it with `cspine sql "STATEMENT"`, `cspine sql --file FILE`
or `cspine sql --shell`; `--format table|csv|json|parquet` and `--out FILE` say where the answer goes, `--timeout` and
`--memory` what a statement may take. SQL reads and does nothing else: no writes, no other file, no network, no setting.

The file is built aside, checked, and renamed into place: a session that is open keeps what it opened, the next one sees
the new. `cspine publications` lists the earlier ones that are kept, `cspine sql --publication NAME` asks one of them,
and `cspine publications --restore NAME` publishes one again; the one that stood becomes an earlier one, and the next
materialization of `warehouse/database` publishes the lake anew. `warehouse.database` says what a publication was built
from. DuckDB knows foreign keys within a schema only; those into another schema are checked at each publication and
named in the column's comment. The key of a table of more than 50,000 rows is checked in the same way and named in the
table's comment; an index behind it would be ten times as large as the table.

In a notebook, `cspine_assets.open_home(path)` gives the same as pandas frames;
[notebooks/study.ipynb](notebooks/study.ipynb) asks the published study's questions that way.
"""


def sql_page() -> str:
    """Returns the page as Markdown."""
    return "\n".join([_HEAD, *_questions(), *_views(), *_tables()]).rstrip() + "\n"


def _questions() -> Iterator[str]:
    yield "## Fifteen questions\n"
    for number, question in enumerate(QUESTIONS, start=1):
        yield f"### {number}. {question.asked}\n\n```sql\n{question.select}\n```\n\n{question.read}\n"


def _views() -> Iterator[str]:
    yield "## Views\n"
    for view in VIEWS:
        yield from _described(view.name, view.description)


def _tables() -> Iterator[str]:
    yield "## Tables\n"
    for table in all_tables():
        if table is not Report:  # made from the database, so not in it
            yield from _described(table.full_name(), table)


def _described(name: str, table: type[Table]) -> Iterator[str]:
    parents = {key.column: f"; key of `{key.parent.full_name()}`" for key in foreign_keys(table)}
    yield f"### {name}\n\n{table.comment()}\n"
    if table.key_columns():
        yield f"Key: {', '.join(f'`{column}`' for column in table.key_columns())}\n"
    yield "| column | type | what it says |\n|---|---|---|"
    for field in arrow_schema(table):
        said = column_comment(field).replace("|", "\\|")
        yield f"| `{field.name}` | {SQL_TYPES[str(field.type)]} | {said}{parents.get(field.name, '')} |"
    yield ""
