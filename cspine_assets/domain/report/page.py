"""The study's report: one HTML file that stands by itself, made from the published database.

Change it when the page is put together otherwise. What it says stands in ``sections``, how it looks in the template.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader

from cspine_assets.domain.files import fingerprint_text, write_text
from cspine_assets.domain.report.sections import SECTIONS, Section
from cspine_assets.domain.tables.base import rows_of, validate
from cspine_assets.domain.tables.warehouse import Report
from cspine_assets.domain.warehouse.read import query

TITLE: Final = "CSpineSeg: segmentation of the cervical spine in T2 MRI"
DEMO_WARNING: Final = (
    "Demo profile: small networks, trained for minutes. These numbers show that the way works and say nothing about "
    "patients."
)


@dataclass(frozen=True)
class _Shown:
    """A section with its answer, as the template takes it."""

    section: Section
    columns: list[str]
    rows: list[list[str]]
    numeric: list[bool]
    picture: str | None


def write_report(database: Path, destination: Path, *, profile: str) -> pd.DataFrame:
    """Writes the report, whole or not at all.

    Args:
        database: The published database.
        destination: The HTML file.
        profile: Of the models; a demo report says so at its head.

    Returns:
        ``warehouse.report``: one row per section.

    Raises:
        HomeError: Nothing has been published.
        CSpineError: The database lacks a table that a section asks.
    """
    shown = [_shown(database, section) for section in SECTIONS]
    template = Environment(loader=PackageLoader("cspine_assets.domain.report"), autoescape=True).get_template(
        "study.html.jinja"
    )
    page = template.render(
        title=TITLE, warning=DEMO_WARNING if profile == "demo" else None, sections=shown, origin=_origin(database)
    )
    write_text(destination, page)
    rows = [
        {
            "section": one.section.name,
            "title": one.section.title,
            "rows": len(one.rows),
            "has_picture": one.picture is not None,
            "content_sha256": fingerprint_text(*(cell for row in one.rows for cell in row), one.picture or ""),
        }
        for one in shown
    ]
    return validate(Report, pd.DataFrame(rows))


def _shown(database: Path, section: Section) -> _Shown:
    """Returns a section with its answer; one without rows has no picture."""
    answer = query(database, section.statement)
    picture = None
    if section.draw is not None and not answer.empty:
        png = section.draw(query(database, section.drawn) if section.drawn else answer)
        picture = base64.b64encode(png).decode()
    return _Shown(
        section=section,
        columns=[str(name).replace("_", " ") for name in answer.columns],
        rows=[[_text(value) for value in row] for row in answer.itertuples(index=False)],
        numeric=[pd.api.types.is_numeric_dtype(answer[name]) for name in answer.columns],
        picture=picture,
    )


def _text(value: object) -> str:
    """Returns a value as people read it; what is missing is empty."""
    if value is None or value is pd.NA or value != value:  # noqa: PLR0124 - of all values NaN alone is not itself
        return ""
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, float | np.floating):
        number = float(value)
        # a p-value of 3.8e-11 is no 0.000
        return f"{number:.3f}" if number == 0 or abs(number) >= 5e-4 else f"{number:.1e}"
    if isinstance(value, int | np.integer):
        return f"{int(value):,}"
    return str(value)


def _origin(database: Path) -> dict[str, str]:
    """Returns what the report stands on: split and data by their fingerprints."""
    known = query(
        database,
        "select 'split' as what, any_value(split_sha256) as value, count(distinct split_sha256) as n "
        "from cohort.splits union all "
        "select 'data', any_value(data_fingerprint), count(distinct data_fingerprint) from nnunet.plans",
    )
    return {str(row.what): str(row.value) for row in rows_of(known) if row.n == 1}
