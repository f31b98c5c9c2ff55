"""Reading the tables of a release: text first, then types, and a report of what was not as described.

Add a rule here when a release writes a value in another form. What the columns mean stands in
``tables.midrc``; joins and derived values belong to ``exams``.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import csv

from cspine_assets.domain.cohort.names import exam_ids, file_names
from cspine_assets.domain.cohort.rejected_rows import RejectedRow, value_fault
from cspine_assets.domain.cohort.source import Source
from cspine_assets.domain.cohort.source_file import SourceFile
from cspine_assets.domain.errors import SourceError, TableError
from cspine_assets.domain.tables.base import TEXT, Table, column_names, row_faults, rows_of, validate
from cspine_assets.domain.tables.midrc import NODES, AnnotationFiles, ImageManifest, MidrcNode

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
        rejected: Rows that cannot be used and are not in ``frame``.
    """

    frame: pd.DataFrame
    file: str
    drift: tuple[str, ...]
    absent: tuple[str, ...]
    warnings: tuple[str, ...]
    rejected: tuple[RejectedRow, ...] = ()


def read_midrc_table(source: Source, table: type[Table]) -> MidrcRead:
    """Reads one table of a download.

    A row is rejected where it has too many or too few fields, a value has another type or lies outside what is
    allowed, or its key stands in several rows; all others are used.

    Args:
        source: The download.
        table: A description of schema ``midrc``.

    Raises:
        SourceError: The download has no file of this table.
        TableError: The table means nothing as a whole: it cannot be read, a required column is missing, or every row
            is rejected; file and line are named.
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
    raw, lines, rejected = _read_text(node, file)
    columns = list(raw)
    names = _recognize(node, columns)
    described = [name for name in column_names(node.table) if name not in ("extra_columns", "row")]
    absent = tuple(name for name in described if name not in names)
    _require(node, file, absent, columns)
    drift = tuple(name for name in columns if name not in names.values())
    warnings: list[str] = []
    faults: list[_Fault] = []
    # first, while the rest is still as it came: joining costs several times the memory of what it gives
    extra = _extra({name: raw.pop(name) for name in drift}, len(lines))
    # Arrow keeps what it has freed for itself; pandas' objects need it now
    pa.default_memory_pool().release_unused()
    frame = pd.DataFrame(index=pd.RangeIndex(len(lines)))
    for name in described:
        # popped: of a million rows, text and its typed twin need not be held for all columns at once
        text = _series(raw.pop(names[name])) if name in names else pd.Series(pd.NA, frame.index, TEXT)
        frame[name] = _typed(node, name, text, warnings, faults)
    pa.default_memory_pool().release_unused()
    frame["extra_columns"] = extra
    if node.table is ImageManifest:
        frame["row"] = pd.Series(lines, frame.index) - 1
    checked, wrong = _usable(node, file, frame, faults)
    rejected += [_rejected(node, file, frame, fault, int(lines[fault.position])) for fault in wrong]
    if rejected and checked.empty:
        raise TableError(
            f"table {node.table.full_name()}: expected rows that can be used, every one of {file.description} is "
            f"rejected. The first: line {rejected[0].line}, {rejected[0].fault}. Download the table again."
        )
    warnings += [
        f"{node.table.full_name()}.{name}: {warning}"
        for name, values in node.expected_values.items()
        for warning in _unexpected(checked[name], values)
    ]
    return MidrcRead(checked, file.description, drift, absent, tuple(warnings), tuple(rejected))


@dataclass(frozen=True)
class _Fault:
    """What is wrong with the row at a position of the frame."""

    position: int
    message: str


def _usable(
    node: MidrcNode, file: SourceFile, frame: pd.DataFrame, faults: list[_Fault]
) -> tuple[pd.DataFrame, list[_Fault]]:
    """Returns the rows that fit the description, and what is wrong with all others."""
    key = node.table.key_columns()
    doubled: list[int] = frame.index[frame.duplicated(key, keep=False)].tolist() if key else []
    faults = faults + [_Fault(at, f"expected one row of its {', '.join(key)}, got several") for at in doubled]
    left = frame.drop(index=[fault.position for fault in faults]) if faults else frame
    try:
        return validate(node.table, left), faults
    except TableError as error:
        cases = row_faults(error)
        if cases is None:
            raise TableError(
                f"{file.description}: {error}. Compare the file with the release's data dictionary."
            ) from error
    faults += [
        _Fault(int(case.index), value_fault(case.column, case.check, case.failure_case)) for case in rows_of(cases)
    ]
    return validate(node.table, left.drop(index=cases["index"].unique().tolist())), faults


def _rejected(node: MidrcNode, file: SourceFile, frame: pd.DataFrame, fault: _Fault, line: int) -> RejectedRow:
    """Returns a faulty row with what other tables call it by."""
    row = frame.loc[fault.position]
    key = row.get("submitter_id")
    name = row["file_name"] if node.table is AnnotationFiles and pd.notna(row["file_name"]) else None
    (exam_id,) = exam_ids(file_names(pd.Series([name]))) if name else (None,)
    return RejectedRow(
        node.table.full_name(), file.name, line, fault.message, None if pd.isna(key) else str(key), exam_id
    )


def _read_text(
    node: MidrcNode, file: SourceFile
) -> tuple[dict[str, pa.ChunkedArray], NDArray[np.int64], list[RejectedRow]]:
    """Returns every column as text without surrounding blanks, the line of each row, and rows that have no columns.

    An empty cell is missing. A row with too many or too few fields cannot be told apart into columns.
    """
    rejected: list[RejectedRow] = []
    try:
        with file.open() as stream:
            header = stream.readline().decode("utf-8-sig").rstrip("\r\n")
        columns = [name.strip().strip('"') for name in header.split("\t")]
        if not header or len(set(columns)) != len(columns):
            raise TableError(
                f"{file.description}: expected table {node.table.full_name()} with a header of distinct "
                f"columns, got {header[:80]!r}. Download the file again."
            )
        table, wrong = _parsed(file, columns, threads=True)
        if wrong:  # only one thread knows at which line it is
            table, wrong = _parsed(file, columns, threads=False)
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        # without the error's own words, which may quote a patient's row
        raise TableError(
            f"{file.description}: expected table {node.table.full_name()} as tab-separated UTF-8 text, "
            f"got something else{_undecodable(file)}. Download the file again."
        ) from error
    for line, fields in wrong:
        fault = f"expected {len(columns)} fields, got {fields}"
        rejected.append(RejectedRow(node.table.full_name(), file.name, line, fault))
    lines = np.setdiff1d(np.arange(2, 2 + len(table) + len(wrong)), np.array([line for line, _ in wrong], np.int64))
    text = {}
    for name in columns:
        text[name] = _blank_to_missing(pc.utf8_trim_whitespace(table[name]))
        # of a million rows, cells as they came and as they are used need not be held for all columns at once
        table = table.drop_columns([name])
    return text, lines, rejected


def _parsed(file: SourceFile, columns: Sequence[str], *, threads: bool) -> tuple[pa.Table, list[tuple[int, int]]]:
    """Returns the rows of a file as text, and line and number of fields of those with another number of them."""
    wrong: list[tuple[int, int]] = []

    def skip(row: csv.InvalidRow) -> str:
        wrong.append((row.number or 0, row.actual_columns))
        return "skip"

    with file.open() as stream, _without_remarks():
        table = csv.read_csv(
            stream,
            read_options=csv.ReadOptions(column_names=columns, skip_rows=1, use_threads=threads),
            parse_options=csv.ParseOptions(delimiter="\t", newlines_in_values=True, invalid_row_handler=skip),
            convert_options=csv.ConvertOptions(
                column_types=dict.fromkeys(columns, pa.string()),
                strings_can_be_null=True,
                null_values=[""],
            ),
        )
    return table, wrong


@contextmanager
def _without_remarks() -> Iterator[None]:
    """Keeps a traceback off the screen: Arrow cannot hand on a wrong row of no UTF-8, and refuses the file."""
    before = sys.unraisablehook
    sys.unraisablehook = lambda _: None
    try:
        yield
    finally:
        sys.unraisablehook = before


def _undecodable(file: SourceFile) -> str:
    """Returns the place of the first line that is no UTF-8, for people; empty where there is none."""
    with file.open() as stream:
        for number, line in enumerate(stream, start=1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return f" at line {number}"
    return ""


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
    node: MidrcNode, name: str, text: pd.Series[str], warnings: list[str], faults: list[_Fault]
) -> pd.Series[str] | pd.Series[float]:
    """Gives a column of text its described type; a cell that cannot have it is missing, and a fault of its row."""
    dtype = str(node.table.to_schema().columns[name].dtype)
    if dtype.startswith("string"):
        return text
    numbers = pd.to_numeric(text, errors="coerce").astype("Float64")
    odd = text[text.notna() & numbers.isna()]
    if len(odd):
        parsed = odd.map(_list_of_numbers)
        faults += _faults(name, "a number", odd[parsed.map(len) == 0])
        mixed = odd[parsed.map(lambda values: len(set(values)) > 1)]
        if len(mixed):
            warnings.append(
                f"{node.table.full_name()}.{name}: {len(mixed)} row(s) list different numbers "
                f"(first: {mixed.iloc[0]!r}); took the first of each"
            )
        numbers[odd.index] = parsed.map(lambda values: values[0] if values else pd.NA).astype("Float64")
    if dtype == "Int64":
        broken = (numbers % 1 != 0).fillna(False)
        faults += _faults(name, "a whole number", text[broken])
        numbers = numbers.mask(broken)
    return numbers


def _faults(name: str, expected: str, cells: pd.Series[str]) -> list[_Fault]:
    """Returns a fault per cell."""
    return [_Fault(int(str(at)), value_fault(name, expected, cell)) for at, cell in cells.items()]


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
