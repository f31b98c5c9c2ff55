"""Answers in every format are what DuckDB says, for every type, and infinity stays infinity.

The kind: an answer turned into another library's types on its way out. Also found to belong to it: lists and structs
with an infinity inside, a text that holds the word Infinity, NaN, hugeint, a comment behind the semicolon, EXPLAIN.
"""

from __future__ import annotations

import csv
import json
import math

import pyarrow.parquet as pq
import pytest

from cspine_assets.domain.home import Home
from cspine_assets.domain.warehouse.publish import publish_database
from cspine_assets.domain.warehouse.read import DEFAULT_LIMITS, Limits, ask, connect_read_only, to_frame
from cspine_assets.domain.warehouse.written import COPY_OPTIONS, write_answer
from cspine_assets_tests.domain.warehouse.rows import frames

EVERY_TYPE = r"""
select 1::tinyint i1, 1::ubigint u8, 1::hugeint h, 1::uhugeint uh, 1.5::decimal(9, 2) de, 1.5::float f, true b,
  'ä' v, '\xAA\x00'::blob bl, '101'::bit bi, date 'infinity' d, time '12:00' t, timestamp 'infinity' ts,
  timestamptz '2020-01-01 00:00:00+00' tz, interval 3 days iv, '00000000-0000-0000-0000-000000000001'::uuid u,
  'a'::enum('a', 'b') e, [1, 2] l, [1, 2]::int[2] a, {'x': 1} s, map {'k': 1} m, union_value(n := 2) un, null n
"""


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory):
    home = Home(tmp_path_factory.mktemp("home"))
    publish_database(frames(), home.database, keep=1)
    return home.database


@pytest.fixture
def written(database, tmp_path):
    def write(statement: str, answer_format: str, limits: Limits = DEFAULT_LIMITS):
        path = tmp_path / f"answer.{answer_format}"
        with connect_read_only(database, limits, answer_file=path) as connection:
            write_answer(connection, statement, path, answer_format, limits)
        return path

    return write


@pytest.mark.parametrize("answer_format", COPY_OPTIONS)
@pytest.mark.parametrize(
    "statement",
    [
        EVERY_TYPE,
        "select 1 as a, 2 as a, 3 as b",
        "select * from (select 1 as k, 'x' as v) a join (select 1 as k, 'y' as v) b on a.k = b.k",
        "select 1 as a where false",
        "select 1 as a; -- the end",
        "describe cohort.exams",
        "show tables",
        "summarize cohort.exams",
        "explain select 1",
        "select max(t) - min(t) as i from (select timestamp '2020-01-01' t union all select timestamp '2020-01-03')",
    ],
)
def test_every_answer_is_written_in_every_format_and_shown(database, written, statement, answer_format):
    assert written(statement, answer_format).stat().st_size > 0
    with connect_read_only(database) as connection:
        assert len(to_frame(ask(connection, statement, readable=True)).columns) > 0


def test_infinity_is_infinity_in_every_format(written):
    asked = """select 'inf'::double as d, '-inf'::double as m, 'nan'::double as n, ['inf'::double, 1] as l,
      'say "Infinity", NaN' as text, '-Infinity' as "NaN" """
    (row,) = json.loads(written(asked, "json").read_text("utf-8"), parse_constant=pytest.fail)
    assert row == {
        "d": math.inf,
        "m": -math.inf,
        "n": None,
        "l": [math.inf, 1],
        "text": 'say "Infinity", NaN',
        "NaN": "-Infinity",
    }
    with written(asked, "csv").open(newline="") as stream:
        (said,) = csv.DictReader(stream)
    assert (float(said["d"]), float(said["m"])) == (math.inf, -math.inf)
    assert math.isnan(float(said["n"]))
    assert pq.read_table(written(asked, "parquet")).to_pylist()[0]["d"] == math.inf


def test_an_answer_larger_than_the_memory_is_streamed(written):
    path = written("select range as i, hash(range)::varchar as t from range(4000000)", "csv", Limits(memory_mb=100))
    assert path.stat().st_size > 100e6


def test_no_other_file_can_be_written(database, written, tmp_path):
    (tmp_path / "secret.csv").write_text("a\n1\n")
    with pytest.raises(Exception, match="refused"):
        written(f"from read_csv('{tmp_path}/secret.csv')", "csv")
