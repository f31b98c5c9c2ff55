"""The database is published whole, tells what it is, and lets a reader do nothing but read."""

from pathlib import Path

import duckdb
import pandas as pd
import pytest

from cspine_assets.domain.errors import CSpineError, HomeError
from cspine_assets.domain.tables.base import column_names
from cspine_assets.domain.tables.imaging import Masks
from cspine_assets.domain.warehouse.publish import publish_database
from cspine_assets.domain.warehouse.read import connect_read_only, query


def masks(*exams: str) -> pd.DataFrame:
    frame = pd.DataFrame({"exam_id": list(exams), "patient_id": "p", "status": "ok"})
    return frame.reindex(columns=column_names(Masks))


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "published" / "cspine.duckdb"
    publish_database({Masks: masks("a", "b")}, path)
    return path


def test_rows_comments_and_keys_are_published(database: Path):
    assert query(database, "select count(*) as n from imaging.masks")["n"].tolist() == [2]
    comments = query(
        database,
        "select comment from duckdb_columns() where table_name = 'masks' and column_name = 'exam_id'",
    )
    assert comments["comment"].tolist() == ["Exam: patient, study and series number"]
    keys = query(
        database,
        "select constraint_column_names from duckdb_constraints() where constraint_type = 'PRIMARY KEY'",
    )
    assert sorted(map(list, keys["constraint_column_names"])) == [["exam_id"], ["table_name"]]


def test_the_manifest_says_what_was_published(database: Path):
    manifest = query(database, "from warehouse.database")
    assert manifest[["table_name", "rows"]].to_numpy().tolist() == [["imaging.masks", 2]]


def test_a_reader_keeps_what_it_has_open_and_the_next_one_sees_the_new(database: Path):
    with connect_read_only(database) as reader:
        publish_database({Masks: masks("a", "b", "c")}, database)
        assert reader.execute("select count(*) from imaging.masks").fetchone() == (2,)
    assert query(database, "select count(*) as n from imaging.masks")["n"].tolist() == [3]


def test_a_publication_that_fails_leaves_the_old_one(database: Path):
    with pytest.raises(duckdb.Error):
        publish_database({Masks: masks("a", "a")}, database)
    assert query(database, "select count(*) as n from imaging.masks")["n"].tolist() == [2]
    assert [path.name for path in database.parent.iterdir()] == ["cspine.duckdb"]


@pytest.mark.parametrize(
    "statement",
    [
        "create table x (a int)",
        "insert into imaging.masks (exam_id) values ('s')",
        "drop table imaging.masks",
        "select * from read_text('/etc/hostname')",
        "attach '/tmp/other.duckdb'",
        "copy (select 1) to '/tmp/stolen.csv'",
        "set enable_external_access = true",
        "install httpfs",
        "select no_such_column from imaging.masks",
    ],
)
def test_a_reader_can_do_nothing_but_read(database: Path, statement: str):
    with pytest.raises(CSpineError, match="refused"):
        query(database, statement)


def test_a_home_without_a_publication_says_what_to_do(tmp_path: Path):
    with pytest.raises(HomeError, match="cspine demo"):
        query(tmp_path / "none.duckdb", "select 1")


def test_a_file_that_is_no_database_is_named(tmp_path: Path):
    path = tmp_path / "x.duckdb"
    path.write_text("nonsense " * 1000)
    with pytest.raises(HomeError, match=r"x\.duckdb"):
        query(path, "select 1")
