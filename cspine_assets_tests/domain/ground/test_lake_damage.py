"""Damaged files of tables are found by their footers and by the rows themselves."""

from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from cspine_assets.domain.errors import TableError
from cspine_assets.domain.lake import Lake
from cspine_assets.domain.lake_damage import damaged_files
from cspine_assets.domain.tables.cohort import Findings
from cspine_assets.domain.tables.imaging import HeaderFindings

ROW = {"check_name": "c", "severity": "warns", "table_name": "t", "exam_id": None, "subject": "s", "message": "m"}


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake(tmp_path / "lake")
    lake.write(Findings, pd.DataFrame([ROW] * 40), notes="what was left out")
    return lake


def damage(lake: Lake) -> list[str]:
    return [what for _, what in damaged_files(lake, Findings)]


def test_what_was_written_is_intact_and_its_notes_are_kept(lake: Lake):
    assert damage(lake) == list(damaged_files(lake, HeaderFindings)) == []
    assert lake.notes(Findings) == "what was left out"
    assert lake.notes(HeaderFindings) == ""
    other = lake.write(Findings, lake.read(Findings), notes="something else").fingerprint
    assert other != lake.write(Findings, lake.read(Findings)).fingerprint


def test_rows_of_another_writer_are_found(lake: Lake):
    path = lake.path(Findings)
    stored = pq.read_table(path)
    pq.write_table(stored.slice(1), path)
    assert damage(lake) == ["its rows are not those that were written"]


@pytest.mark.parametrize("cut", [slice(0, 100), slice(0, 0), slice(8, None)])
def test_a_file_that_cannot_be_read_is_found_and_told_when_it_is_read(lake: Lake, cut: slice):
    path = lake.path(Findings)
    path.write_bytes(path.read_bytes()[cut])
    (what,) = damage(lake)
    assert "cannot be read" in what or "not those" in what
    if "cannot" in what:
        with pytest.raises(TableError, match=r"all\.parquet: expected a Parquet file.*materialize"):
            lake.read(Findings)
