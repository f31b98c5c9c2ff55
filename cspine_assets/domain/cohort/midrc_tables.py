"""Reading the tables of a release: text first, then types, and a report of what was not as described.

Add a rule here when a release writes a value in another form. What the columns mean stands in
``tables.midrc``; joins and derived values belong to ``exams``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from cspine_assets.domain.cohort.source import Source
from cspine_assets.domain.cohort.source_file import SourceFile
from cspine_assets.domain.errors import SourceError, TableError
from cspine_assets.domain.tables.base import TEXT, Table, column_names, validate
from cspine_assets.domain.tables.midrc import NODES, ImageManifest, MidrcNode

_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_LIST_MARKS = re.compile(r"[\[\]{}()'\",;\\\s]+")


@dataclass(frozen=True)
class MidrcRead:
    """A table of the release and how it differed from its description.

    Attributes:
        frame: Validated rows, in the file's order.
        file: Where the table lies.
        drift: Columns that the description does not know; their values are in ``extra_columns``.
        absent: Described columns that the file does not have; they are empty.
        warnings: Values that are kept and that a person should look at, one sentence each.
    """

    frame: pd.DataFrame
    file: str
    drift: tuple[str, ...]
    absent: tuple[str, ...]
    warnings: tuple[str, ...]


def read_midrc_table(source: Source, table: type[Table]) -> MidrcRead:
    """Reads one table of a download.

    Args:
        source: The download.
        table: A description of schema ``midrc``.

    Raises:
        SourceError: The download has no file of this table.
        TableError: A required column is missing, a value has another type or lies outside what is allowed, or
            a key stands twice; table, column, value, count and file are named.
    """
    node = next(node for node in NODES if node.table is table)
    file = source.table_files.get(node.name)
    if file is None:
        raise SourceError(
            f"{source.folder}: expected a table {node.name}_*.tsv, found only "
            f"{', '.join(sorted(source.table_files))}. Download the part structured again."
        )
    return _read(node, file)


def _read(node: MidrcNode, file: SourceFile) -> MidrcRead:
    """Reads a file as a node's table."""
    raw = _read_text(node, file)
    columns = list(raw)
    names = _recognize(node, columns)
    described = [name for name in column_names(node.table) if name not in ("extra_columns", "row")]
    absent = tuple(name for name in described if name not in names)
    _require(node, file, absent, columns)
    drift = tuple(name for name in columns if name not in names.values())
    warnings: list[str] = []
    count = len(raw[columns[0]])
    # first, while the rest is still as it came: joining costs several times the memory of what it gives
    extra = _extra({name: raw.pop(name) for name in drift}, count)
    # Arrow keeps what it has freed for itself; pandas' objects need it now
    pa.default_memory_pool().release_unused()
    frame = pd.DataFrame(index=pd.RangeIndex(count))
    for name in described:
        # popped: of a million rows, text and its typed twin need not be held for all columns at once
        text = _series(raw.pop(names[name])) if name in names else pd.Series(pd.NA, frame.index, TEXT)
        frame[name] = _typed(node, file, name, text, warnings)
    pa.default_memory_pool().release_unused()
    frame["extra_columns"] = extra
    if node.table is ImageManifest:
        frame["row"] = pd.RangeIndex(1, count + 1)
    warnings += [
        f"{node.table.full_name()}.{name}: {warning}"
        for name, values in node.expected_values.items()
        for warning in _unexpected(frame[name], values)
    ]
    try:
        checked = validate(node.table, frame)
    except TableError as error:
        raise TableError(
            f"{file.description}: {error}. Compare the file with the release's data dictionary."
        ) from error
    return MidrcRead(checked, file.description, drift, absent, tuple(warnings))


def _read_text(node: MidrcNode, file: SourceFile) -> dict[str, pa.ChunkedArray]:
    """Returns every column as text without surrounding blanks; an empty cell is missing."""
    try:
        with file.open() as stream:
            header = stream.readline().decode("utf-8-sig").rstrip("\r\n")
        columns = [name.strip().strip('"') for name in header.split("\t")]
        if not header or len(set(columns)) != len(columns):
            raise TableError(
                f"{file.description}: expected table {node.table.full_name()} with a header of distinct "
                f"columns, got {header[:80]!r}. Download the file again."
            )
        with file.open() as stream:
            table = csv.read_csv(
                stream,
                read_options=csv.ReadOptions(column_names=columns, skip_rows=1),
                parse_options=csv.ParseOptions(delimiter="\t", newlines_in_values=True),
                convert_options=csv.ConvertOptions(
                    column_types=dict.fromkeys(columns, pa.string()),
                    strings_can_be_null=True,
                    null_values=[""],
                ),
            )
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise TableError(
            f"{file.description}: expected table {node.table.full_name()} as tab-separated UTF-8 text, "
            f"got something else ({error}). Download the file again."
        ) from error
    text = {}
    for name in columns:
        text[name] = _blank_to_missing(pc.utf8_trim_whitespace(table[name]))
        # of a million rows, cells as they came and as they are used need not be held for all columns at once
        table = table.drop_columns([name])
    return text


def _blank_to_missing(text: pa.ChunkedArray) -> pa.ChunkedArray:
    """Returns the text with empty cells missing."""
    blank = pc.equal(text, "")
    return pc.if_else(blank, pa.scalar(None, pa.string()), text) if pc.any(blank).as_py() else text


def _recognize(node: MidrcNode, columns: Sequence[str]) -> dict[str, str]:
    """Returns the file's name of each described column that it has: by name, else by synonym."""
    by_name = {name.replace(".", "_"): name for name in columns}
    names = {name: by_name[name] for name in column_names(node.table) if name in by_name}
    by_letters = {re.sub(r"[^a-z0-9]", "", name.lower()): name for name in columns if name not in names.values()}
    for described, synonyms in node.synonyms.items():
        found = next((by_letters[s] for s in synonyms if s in by_letters), None)
        if described not in names and found is not None and found not in names.values():
            names[described] = found
    return names


def _require(node: MidrcNode, file: SourceFile, absent: Sequence[str], columns: Sequence[str]) -> None:
    """Refuses a file without a column that all else is built on."""
    missing = [name for name in node.required if name in absent]
    if missing:
        raise TableError(
            f"table {node.table.full_name()}: expected column {', '.join(missing)} in {file.description}, "
            f"got {', '.join(columns)}. Download it again, or check that the file is a {node.name} table."
        )


def _series(cells: pa.ChunkedArray) -> pd.Series[str]:
    """Returns a column as pandas text."""
    series: pd.Series[str] = cells.to_pandas(types_mapper={pa.string(): TEXT}.get)
    return series


def _typed(
    node: MidrcNode, file: SourceFile, name: str, text: pd.Series[str], warnings: list[str]
) -> pd.Series[str] | pd.Series[float]:
    """Gives a column of text its described type."""
    dtype = str(node.table.to_schema().columns[name].dtype)
    if dtype.startswith("string"):
        return text
    numbers = pd.to_numeric(text, errors="coerce").astype("Float64")
    odd = text[text.notna() & numbers.isna()]
    if len(odd):
        parsed = odd.map(_list_of_numbers)
        _refuse(node, file, name, "numbers", odd[parsed.map(len) == 0])
        mixed = odd[parsed.map(lambda values: len(set(values)) > 1)]
        if len(mixed):
            warnings.append(
                f"{node.table.full_name()}.{name}: {len(mixed)} row(s) list different numbers "
                f"(first: {mixed.iloc[0]!r}); took the first of each"
            )
        numbers[odd.index] = parsed.map(lambda values: values[0]).astype("Float64")
    if dtype == "Int64":
        _refuse(node, file, name, "whole numbers", text[(numbers % 1 != 0).fillna(False)])
    return numbers


def _refuse(node: MidrcNode, file: SourceFile, name: str, expected: str, cells: pd.Series[str]) -> None:
    """Refuses a column where any cell is given here."""
    if len(cells):
        raise TableError(
            f"table {node.table.full_name()}: expected {expected} in column {name} of {file.description}, "
            f"got {cells.iloc[0]!r} ({len(cells)} row(s)). Download the table again."
        )


def _list_of_numbers(text: str) -> list[float]:
    r"""Returns the numbers of a cell such as ``[0.5, 0.5]`` or ``0.5\0.5``; none of any other cell."""
    parts = [part for part in _LIST_MARKS.split(text) if part]
    return [float(part) for part in parts] if all(_NUMBER.fullmatch(part) for part in parts) else []


def _extra(unknown: dict[str, pa.ChunkedArray], count: int) -> pd.Series[str]:
    """Returns the unknown columns, which it uses up, as one JSON object a row; missing where a row has none of them."""
    if not unknown:
        return pd.Series(pd.NA, pd.RangeIndex(count), TEXT)
    # joined by column: of a million rows, an encoder called for each costs more than all the rest of the reading
    parts = []
    for name in list(unknown):
        quoted = _as_json(unknown.pop(name))
        parts.append(pc.binary_join_element_wise(f"{json.dumps(name, ensure_ascii=False)}: ", quoted, ""))
    joined = parts[0] if len(parts) == 1 else pc.binary_join_element_wise(*parts, ", ", null_handling="skip")
    parts.clear()
    return _series(pc.binary_join_element_wise("{", _blank_to_missing(joined), "}", ""))


def _as_json(cells: pa.ChunkedArray) -> pa.ChunkedArray:
    """Returns text as JSON strings; a missing cell stays missing."""
    if pc.any(pc.match_substring_regex(cells, r"[\x00-\x1f]")).as_py():
        encoded = [None if cell is None else json.dumps(cell, ensure_ascii=False) for cell in cells.to_pylist()]
        return pa.chunked_array([pa.array(encoded, pa.string())])
    escaped = pc.replace_substring(pc.replace_substring(cells, "\\", "\\\\"), '"', '\\"')
    return pc.binary_join_element_wise('"', escaped, '"', "")


def _unexpected(values: pd.Series[str], expected: Sequence[str]) -> list[str]:
    """Returns a sentence per value that is not known so far."""
    counts = values[values.notna() & ~values.isin(list(expected))].value_counts().sort_index()
    return [
        f"{count} row(s) have {value!r}, known so far are {', '.join(expected)}; kept"
        for value, count in counts.items()
    ]
