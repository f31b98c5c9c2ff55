"""How a table is described, and all that derives from a description.

A description is a pandera model whose columns carry their meaning and unit; validation, the Parquet schema, the
columns shown on the Dagster page and the comments in SQL come from it. The descriptions themselves stand in the
module of their schema.
"""

from __future__ import annotations

import copy
import gc
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Final, TypeAlias

import numpy as np
import pandas as pd
import pandera.pandas as pandera
import pyarrow as pa
from pandera.dtypes import immutable
from pandera.engines import pandas_engine
from pandera.errors import SchemaErrors
from pandera.typing.pandas import Series

from cspine_assets.domain.errors import TableError

TEXT: Final = pd.StringDtype("python")
"""The type of every column of text, whose missing values are ``pd.NA``.

Which type pandas means by "string" depends on its version, and so do the one that pandera means and what a comparison
with a missing value gives: name this one in ``astype`` and ``dtype=``.
"""


@pandas_engine.Engine.register_dtype
@immutable(init=True)
class Words(pandas_engine.STRING):
    """``TEXT``, for which that all is well is one answer.

    Pandera's own type answers for each cell, and of the cells that are not well, of none too, pandera writes a table
    into a message: half the time of validating one patient's rows.
    """

    def __post_init__(self) -> None:
        """Take ``TEXT``; pandera's own type follows the version of pandas."""
        object.__setattr__(self, "type", TEXT)
        object.__setattr__(self, "storage", TEXT.storage)

    def check(self, pandera_dtype: Any, data_container: Any = None) -> Any:  # noqa: ANN401
        """Returns whether a column is of this type; for each cell, where some are not."""
        if getattr(data_container, "dtype", None) == TEXT:
            return True
        answer: Any = super().check(pandera_dtype, data_container)
        return answer if isinstance(answer, bool) or not np.all(answer) else True


Text: TypeAlias = Series[Words]
Integer: TypeAlias = Series[pd.Int64Dtype]
Number: TypeAlias = Series[pd.Float64Dtype]
Truth: TypeAlias = Series[pd.BooleanDtype]

_MANY_ROWS = 100_000
"""From here on a table's memory is worth a look at Python's reference cycles, which takes some milliseconds."""

_ARROW_TYPES: dict[str, pa.DataType] = {
    "string": pa.string(),
    "Int64": pa.int64(),
    "Float64": pa.float64(),
    "boolean": pa.bool_(),
}


def column(description: str, *, unit: str | None = None, nullable: bool = False, **checks: Any) -> Any:  # noqa: ANN401
    """Describes a column.

    Args:
        description: What a value says, in one sentence.
        unit: Unit of the values, or None for a number without one.
        nullable: Whether a value may be missing.
        **checks: Pandera's own checks, such as ``isin`` or ``ge``.
    """
    return pandera.Field(description=description, nullable=nullable, metadata={"unit": unit}, **checks)


class Table(pandera.DataFrameModel):
    """The parent of every table's description.

    A description names itself in ``Config.name`` (``schema.table``) and the columns that tell its rows apart in
    ``Config.unique``; its docstring is the table's comment.
    """

    class Config:
        """Types are made to fit where that loses nothing; columns that are not described are refused."""

        coerce = True
        strict = True
        ordered = False

    @classmethod
    def full_name(cls) -> str:
        """Returns ``schema.table``."""
        return str(cls.to_schema().name)

    @classmethod
    def schema_name(cls) -> str:
        """Returns the schema, which is also the group of its asset and a folder of the lake."""
        return cls.full_name().split(".")[0]

    @classmethod
    def key_columns(cls) -> list[str]:
        """Returns the columns that tell rows apart; a table of one row may have none."""
        unique = cls.to_schema().unique
        return [unique] if isinstance(unique, str) else list(unique or [])

    @classmethod
    def comment(cls) -> str:
        """Returns what one row is: the first paragraph of the description's docstring."""
        return " ".join((cls.__doc__ or "").split("\n\n", maxsplit=1)[0].split())


def column_names(table: type[Table]) -> list[str]:
    """Returns the columns in their described order."""
    return list(table.to_schema().columns)


def column_comment(field: pa.Field) -> str:
    """Returns what a column of ``arrow_schema`` says, with its unit."""
    described = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
    unit = described.get("unit")
    return str(described.get("description", "")) + (f" [{unit}]" if unit else "")


def rows_of(frame: pd.DataFrame) -> Iterator[Any]:
    """Yields rows as named tuples, columns as attributes; pandas' stubs do not know what type each column has."""
    yield from frame.itertuples(index=False)


def validate(table: type[Table], frame: pd.DataFrame) -> pd.DataFrame:
    """Returns the frame with the described types and column order.

    Args:
        table: The description.
        frame: Rows to check.

    Raises:
        TableError: Columns are missing or unknown, a value has another type or lies outside what is allowed, or a
            key stands twice. All findings are named at once, without the values of other columns.
    """
    typed = frame.dtypes.to_dict() == _dtypes(table)
    try:
        checked = (_typed_schema(table) if typed else table.to_schema()).validate(frame, lazy=True)
    except SchemaErrors as errors:
        raise TableError(_findings(table, errors.failure_cases)) from errors
    ordered: pd.DataFrame = checked[column_names(table)].reset_index(drop=True)
    if len(ordered) > _MANY_ROWS:
        # pandera's accessor and its frame refer to each other: a million rows would stay until Python looks for cycles
        del checked
        gc.collect()
    return ordered


def row_faults(error: TableError) -> pd.DataFrame | None:
    """Returns the rows that ``validate`` refused: ``index``, ``column``, ``check`` and ``failure_case`` of each fault.

    None where not a row but the table as a whole does not fit, such as by a missing column.
    """
    if not isinstance(error.__cause__, SchemaErrors):
        return None
    cases = error.__cause__.failure_cases
    if cases["index"].isna().any():
        return None
    found: pd.DataFrame = cases[["index", "column", "check", "failure_case"]]
    return found


def typed_frame(table: type[Table], rows: Sequence[Mapping[str, object]]) -> pd.DataFrame:
    """Returns rows with the described types and column order, not validated yet; what a row does not name, it lacks."""
    dtypes = _dtypes(table)
    return pd.DataFrame(list(rows), columns=list(dtypes)).astype(dtypes)


@cache
def _typed_schema(table: type[Table]) -> pandera.DataFrameSchema:
    """Returns a table's description for frames that have its types: to make them fit takes half of the time."""
    schema = copy.deepcopy(table.to_schema())
    schema.coerce = False
    return schema


@cache
def _dtypes(table: type[Table]) -> dict[str, Any]:
    return {str(name): spec.dtype.type for name, spec in table.to_schema().columns.items()}


def _findings(table: type[Table], cases: pd.DataFrame) -> str:
    """Sums up pandera's failure cases: one part per column and check, with its count and an example."""
    parts = []
    for (name, check), group in cases.groupby(["column", "check"], dropna=False, sort=False):
        subject = (
            str(group["failure_case"].iloc[0]) if not isinstance(name, str) or name == table.full_name() else str(name)
        )
        parts.append(f"{subject}: {check} ({len(group)} case(s), first: {group['failure_case'].iloc[0]!r})")
    return f"table {table.full_name()} does not fit its description: " + "; ".join(parts)


def empty_frame(table: type[Table]) -> pd.DataFrame:
    """Returns the table without rows, its columns typed as described."""
    return pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in _dtypes(table).items()})


def arrow_schema(table: type[Table]) -> pa.Schema:
    """Returns the Parquet schema; each field carries its description and unit."""
    fields = []
    for name, spec in table.to_schema().columns.items():
        metadata = {"description": spec.description or "", "unit": (spec.metadata or {}).get("unit") or ""}
        dtype = _ARROW_TYPES[_dtype_name(str(spec.dtype))]
        fields.append(pa.field(str(name), dtype, nullable=spec.nullable, metadata=metadata))
    return pa.schema(fields, metadata={"table": table.full_name(), "comment": table.comment()})


def _dtype_name(dtype: str) -> str:
    """Returns pandas' plain name of a type; a string's storage is no matter of the description."""
    return "string" if dtype.startswith("string") else dtype
