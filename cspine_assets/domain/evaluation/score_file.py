"""Files of scores, and what is said of them in the terminal.

Add a column or an ending here. What is measured stands elsewhere; no pandas here, see ``mask_score``.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

import numpy as np

from cspine_assets.domain.errors import CSpineError
from cspine_assets.domain.evaluation.folder_score import FAILED, CaseScore, Metrics, StructureScore
from cspine_assets.domain.evaluation.overlap import Overlap, Status
from cspine_assets.domain.files import written_aside

Value = str | float | None

OVERLAP_COLUMNS: Final = tuple(field.name for field in fields(Overlap) if field.name != "status")
SURFACE_COLUMNS: Final = ("hd95_mm", "assd_mm", "nsd_1mm", "nsd_2mm")
DISTANCES: Final = ("hd95_mm", "assd_mm")
"""Infinite where one mask is empty; a mean takes the volume's diagonal for it."""

LEVEL_COLUMNS: Final = (
    "case_id",
    "structure",
    "level",
    "view",
    "protocol",
    "dice",
    "status",
    "flags",
    "severity",
    "reason",
    "confidence",
    "named_by",
)


@dataclass(frozen=True)
class Rows:
    """A table of texts and numbers.

    Attributes:
        columns: Names.
        numbers: Those of them that hold numbers.
        values: A list per row, in the order of the columns; None is a missing value.
    """

    columns: tuple[str, ...]
    numbers: frozenset[str]
    values: list[list[Value]]


def structure_rows(scores: Sequence[CaseScore], metrics: Metrics) -> Rows:
    """Returns a row per case and structure, with the columns of what was measured."""
    overlap = OVERLAP_COLUMNS if metrics is not Metrics.SURFACE else ()
    surface = SURFACE_COLUMNS if metrics is not Metrics.DICE else ()
    values: list[list[Value]] = [
        [
            row.case_id,
            row.structure.value,
            str(row.status),
            *(getattr(row.overlap, name, None) for name in overlap),
            *(getattr(row.surface, name, None) for name in surface),
            row.diagonal_mm,
            row.reason,
        ]
        for score in scores
        for row in score.structures
    ]
    numbers = (*overlap, *surface, "diagonal_mm")
    return Rows(("case_id", "structure", "status", *numbers, "reason"), frozenset(numbers), values)


def level_rows(scores: Sequence[CaseScore]) -> Rows:
    """Returns a row per case, structure, level, view and protocol."""
    from cspine_assets.domain.evaluation.flags import flags_text  # noqa: PLC0415 - only where levels were asked for

    values: list[list[Value]] = [
        [
            score.case_id,
            level.structure.value,
            level.level,
            level.view.value,
            level.protocol.value,
            level.dice,
            level.status.value,
            flags_text(level.flags),
            level.severity.value,
            level.reason,
            level.confidence.value if level.confidence else None,
            level.named_by,
        ]
        for score in scores
        for level in score.levels
    ]
    return Rows(LEVEL_COLUMNS, frozenset({"dice"}), values)


def writer_of(path: Path) -> Callable[[Path, Rows], None]:
    """Returns what writes a file of this ending.

    Raises:
        CSpineError: Nothing does.
    """
    writers = {".csv": _write_csv, ".parquet": _write_parquet, ".json": _write_json}
    writer = writers.get(path.suffix.lower())
    if writer is None:
        raise CSpineError(f"{path}: expected a name ending in {', '.join(writers)}. Choose one of them.")
    return writer


def write_rows(path: Path, rows: Rows) -> None:
    """Writes a table as CSV, Parquet or JSON by the file's ending, whole or not at all.

    A missing value is an empty field or null. Infinite is ``inf`` in CSV, a number in Parquet, and in JSON, which has
    no word for it, the number 1e999: every reader takes that for infinity.

    Raises:
        CSpineError: The ending is none of these.
    """
    write = writer_of(path)
    with written_aside(path) as aside:
        write(aside, rows)


def _write_csv(path: Path, rows: Rows) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(rows.columns)
        writer.writerows(rows.values)


def _write_json(path: Path, rows: Rows) -> None:
    names = [json.dumps(name) for name in rows.columns]
    lines = [
        "  {" + ", ".join(f"{name}: {_as_json(value)}" for name, value in zip(names, row, strict=True)) + "}"
        for row in rows.values
    ]
    path.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")


def _as_json(value: Value) -> str:
    return "1e999" if value == math.inf else json.dumps(value)


def _write_parquet(path: Path, rows: Rows) -> None:
    import pyarrow as pa  # noqa: PLC0415 - a tenth of a second that the other endings do not need
    import pyarrow.parquet as pq  # noqa: PLC0415

    schema = pa.schema([pa.field(name, pa.float64() if name in rows.numbers else pa.string()) for name in rows.columns])
    columns = list(zip(*rows.values, strict=True)) or [()] * len(rows.columns)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    pq.write_table(pa.Table.from_arrays(arrays, schema=schema), path)


def summary_lines(scores: Sequence[CaseScore], metrics: Metrics) -> list[str]:
    """Returns the summary of all cases as lines of a table: per structure and metric counts, mean, SD and median.

    A distance that is infinite counts with the volume's diagonal, the stated worst case; failed cases have no value.
    The SD has n in the denominator, as the published one.
    """
    rows = [row for score in scores for row in score.structures]
    names = (OVERLAP_COLUMNS[:3] if metrics is not Metrics.SURFACE else ()) + (
        SURFACE_COLUMNS if metrics is not Metrics.DICE else ()
    )
    heads = ("n", "used", "missed", "spurious", "failed", "mean", "sd", "median")
    lines = [f"{'structure':<21}{'metric':<17}" + "".join(f"{head:>10}" for head in heads)]
    for structure in dict.fromkeys(row.structure for row in rows):
        chosen = [row for row in rows if row.structure is structure]
        lines += [_summary_line(structure.value, name, chosen) for name in names]
    return lines


def _summary_line(structure: str, metric: str, rows: Sequence[StructureScore]) -> str:
    values = [value for row in rows if (value := _counted(row, metric)) is not None]
    counts = [sum(row.status == status for row in rows) for status in (Status.MISSED, Status.SPURIOUS, FAILED)]
    numbers = [float(np.mean(values)), float(np.std(values)), _median(values)] if values else []
    shown = "".join(f"{count:>10}" for count in (len(rows), len(values), *counts))
    return f"{structure:<21}{metric:<17}{shown}" + "".join(f"{number:>10.4f}" for number in numbers)


def _median(values: Sequence[float]) -> float:
    """Returns the median; NumPy's own loads masked arrays for it, which take longer than all that is said here."""
    ordered, middle = sorted(values), len(values) // 2
    return ordered[middle] if len(values) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def _counted(row: StructureScore, metric: str) -> float | None:
    """Returns the value with which a row counts."""
    value: float | None = getattr(row.overlap if metric in OVERLAP_COLUMNS else row.surface, metric, None)
    return row.diagonal_mm if metric in DISTANCES and value == math.inf else value
