"""The lake writes whole or not at all, and knows content from content."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cspine_assets.domain import gathered
from cspine_assets.domain.errors import TableError
from cspine_assets.domain.files import fingerprint_text, write_text, written_aside
from cspine_assets.domain.lake import Lake, described_columns, fingerprint_frame, fingerprint_groups, fingerprint_rows
from cspine_assets.domain.tables.base import column_names
from cspine_assets.domain.tables.warehouse import Database


def rows(*names: str) -> pd.DataFrame:
    frame = pd.DataFrame({"table_name": list(names), "kind": "table", "rows": 1, "fingerprint": "f", "path": "p"})
    return frame.assign(foreign_keys=None, broken_keys=None, published_at="now", software="s")


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


def test_a_table_comes_back_as_it_was_written(lake: Lake):
    lake.write(Database, rows("a.b", "c.d"))
    assert lake.read(Database)["table_name"].tolist() == ["a.b", "c.d"]
    assert lake.read(Database)["rows"].dtype == "Int64"


def test_a_table_that_nobody_wrote_has_its_columns_and_no_rows(lake: Lake):
    frame = lake.read(Database)
    assert frame.empty
    assert list(frame.columns) == column_names(Database)
    assert lake.stamp(Database) is None


def test_columns_that_nobody_asks_for_are_not_read(lake: Lake):
    assert list(lake.read(Database, columns=["rows"]).columns) == ["rows"]
    lake.write(Database, rows("a.b", "c.d"))
    frame = lake.read(Database, columns=["fingerprint", "table_name"])
    assert frame.to_dict("list") == {"fingerprint": ["f", "f"], "table_name": ["a.b", "c.d"]}


def test_partitions_are_read_together_and_alone(lake: Lake):
    lake.write(Database, rows("b.b"), partition="2")
    lake.write(Database, rows("a.a"), partition="1")
    assert lake.partitions(Database) == ["1", "2"]
    assert lake.read(Database)["table_name"].tolist() == ["a.a", "b.b"]
    assert lake.read(Database, ["2", "missing"])["table_name"].tolist() == ["b.b"]


def test_a_partition_from_before_a_column_was_added_is_read_with_that_column_empty(lake: Lake):
    for key in ("a", "b", "c"):
        lake.write(Database, rows(key), partition=key)
    older = pq.read_table(lake.path(Database, "b"))
    pq.write_table(older.select(["rows", "table_name"]), lake.path(Database, "b"))
    frame = lake.read(Database)
    assert list(frame.columns) == column_names(Database)
    assert frame["table_name"].tolist() == ["a", "b", "c"]
    assert frame["software"].isna().tolist() == [False, True, False]
    assert list(lake.read(Database, columns=["software", "rows"]).columns) == ["software", "rows"]


def test_stored_columns_are_told_by_name_type_and_whether_they_may_be_missing(lake: Lake):
    written = lake.write(Database, rows("a.b"))
    stored = pq.read_table(lake.path(Database))
    kinds = stored.schema.field("rows")

    def columns(table: pa.Table, name: str) -> str:
        pq.write_table(table, lake.path(Database, name))
        return lake.stamp(Database, name).columns

    assert columns(stored.select(stored.column_names[::-1]), "reversed") == described_columns(Database)
    assert lake.stamp(Database).columns == written.columns == described_columns(Database)
    others = {
        "fewer": stored.drop_columns(["software"]),
        "more": stored.append_column("more", stored["rows"]),
        "renamed": stored.rename_columns([*stored.column_names[:-1], "other"]),
        "another type": stored.set_column(2, kinds.with_type(pa.float64()), stored["rows"].cast(pa.float64())),
        "may be missing": stored.set_column(2, kinds.with_nullable(not kinds.nullable), stored["rows"]),
    }
    assert stored.column_names[2] == "rows"
    assert len({described_columns(Database), *(columns(table, name) for name, table in others.items())}) == 6


def test_of_a_table_of_many_partitions_every_change_is_seen(lake: Lake):
    keys = [f"{n:02d}" for n in range(40)]
    for key in keys:
        lake.write(Database, rows(key), partition=key)
    assert lake.read(Database)["table_name"].tolist() == keys
    lake.write(Database, rows("new"), partition="07")
    lake.remove(Database, "39")
    assert lake.read(Database)["table_name"].tolist() == [*keys[:7], "new", *keys[8:39]]
    assert lake.read(Database, columns=["rows", "table_name"]).columns.tolist() == ["rows", "table_name"]
    assert lake.partitions(Database) == keys[:39]


def test_rows_have_one_fingerprint_however_they_are_held(lake: Lake):
    frame = pd.concat([rows("a.b", "c.d"), rows("e.f").assign(foreign_keys="x")], ignore_index=True)
    lake.write(Database, frame)
    held = lake.read_arrow(Database)
    pieces = pa.concat_tables([held.slice(0, 1), held.slice(1)])
    first = fingerprint_rows(held)
    assert first == fingerprint_rows(pieces) == fingerprint_rows(pa.Table.from_pylist(held.to_pylist(), held.schema))
    others = [
        held.slice(1),
        held.take([1, 0, 2]),
        held.set_column(0, held.schema.field(0), [["a.bc", ".d", "e.f"]]),
        held.set_column(4, held.schema.field(4), [[None, "", "x"]]),
        held.slice(0, 0),
    ]
    assert len({first, *map(fingerprint_rows, others)}) == 1 + len(others)


def test_a_damaged_partition_among_others_is_named(lake: Lake):
    for key in ("a", "b"):
        lake.write(Database, rows(key), partition=key)
    lake.path(Database, "b").write_bytes(b"PAR1 cut off")
    with pytest.raises(TableError, match=r"b\.parquet: .* Delete the file"):
        lake.read(Database)


def test_a_frame_that_does_not_fit_changes_nothing(lake: Lake):
    lake.write(Database, rows("a.b"))
    with pytest.raises(TableError, match=r"warehouse\.database.*rows"):
        lake.write(Database, rows("c.d").assign(rows=-1))
    with pytest.raises(TableError, match="stranger"):
        lake.write(Database, rows("c.d").assign(stranger=1))
    with pytest.raises(TableError):
        lake.write(Database, rows("c.d", "c.d"))
    assert lake.read(Database)["table_name"].tolist() == ["a.b"]
    assert [path.name for path in lake.folder(Database).iterdir()] == ["all.parquet"]


def test_the_fingerprint_follows_the_content_alone(lake: Lake):
    first = lake.write(Database, rows("a.b"), partition="1", inputs="x")
    same = lake.write(Database, rows("a.b")[column_names(Database)[::-1]], partition="2", inputs="y")
    other = lake.write(Database, rows("a.c"), partition="3")
    assert first.fingerprint == same.fingerprint != other.fingerprint
    assert lake.stamp(Database, "1") == first
    assert lake.stamp(Database, "2") == same


def test_groups_have_the_fingerprints_of_their_own_rows():
    frame = pd.DataFrame({"patient": ["b", "a", "b", "a"], "exam": ["1", None, "3", "4"], "mm": [1.5, 2.0, None, 4.0]})
    alone = {name: fingerprint_frame(rows.reset_index(drop=True)) for name, rows in frame.groupby("patient")}
    assert fingerprint_groups(frame, "patient") == alone
    assert len(set(alone.values())) == 2


def test_the_stamp_of_a_file_that_takes_the_place_of_another_is_its_own(lake: Lake, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gathered, "_SETTLED_NS", 0)  # remembered at once, as of an old file
    for name in ("a.b", "a.c", "a.b"):
        written = lake.write(Database, rows(name), inputs=name)
        assert lake.stamp(Database) == lake.stamp(Database) == written
    lake.remove(Database)
    assert lake.stamp(Database) is None


def test_an_incomplete_partition_says_so(lake: Lake):
    lake.write(Database, rows("a.b"), complete=False)
    stamp = lake.stamp(Database)
    assert stamp is not None
    assert not stamp.complete


def test_a_file_that_is_no_parquet_is_named(lake: Lake):
    write_text(lake.path(Database), "nonsense")
    with pytest.raises(TableError, match=r"all\.parquet"):
        lake.stamp(Database)


def test_an_error_while_writing_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path):
    path = tmp_path / "x.nii.gz"
    write_text(path, "old")
    with pytest.raises(RuntimeError), written_aside(path) as aside:
        assert aside.name.endswith(".nii.gz")
        aside.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_joined_fingerprints_do_not_run_into_one_another():
    assert fingerprint_text("ab", "c") != fingerprint_text("a", "bc")
