"""A reader can do nothing but read: every hostile statement is refused or stopped, with one line that says why."""

import re
from pathlib import Path

import pytest

from cspine_assets.domain.home import Home
from cspine_assets.domain.warehouse.publish import publish_database
from cspine_assets.domain.warehouse.read import Limits, StatementRefusedError, ask, connect_read_only, query
from cspine_assets_tests.domain.warehouse.rows import EXAMS, frames

NO_READING = r"^refused {}: expected a statement that reads"
NO_FILES = r"^the database refused the statement: Permission Error: .* disabled by configuration"

REFUSED = {
    # writes
    "create table x (a int)": NO_READING.format("CREATE"),
    "create temp table x (a int)": NO_READING.format("CREATE"),
    "create view v as select 1": NO_READING.format("CREATE"),
    "create macro f(a) as a": NO_READING.format("CREATE"),
    "insert into imaging.masks (exam_id) values ('s')": NO_READING.format("INSERT"),
    "update cohort.exams set sex = 'Male'": NO_READING.format("UPDATE"),
    "delete from cohort.exams": NO_READING.format("DELETE"),
    "truncate cohort.exams": NO_READING.format("DELETE"),
    "merge into cohort.exams using cohort.patients on true when matched then delete": NO_READING.format("MERGE_INTO"),
    "alter table cohort.exams add column x int": NO_READING.format("ALTER"),
    "drop table imaging.masks": NO_READING.format("DROP"),
    "comment on table imaging.masks is 'mine'": NO_READING.format("ALTER"),
    "vacuum": NO_READING.format("VACUUM"),
    "checkpoint": NO_READING.format("CALL"),
    "begin": NO_READING.format("TRANSACTION"),
    # files and network
    "copy (select 1) to '{place}/stolen.csv'": NO_READING.format("COPY"),
    "copy cohort.patients to 'stolen.parquet'": NO_READING.format("COPY"),
    "copy cohort.patients from '/etc/passwd'": NO_READING.format("COPY"),
    "copy from database cspine to memory": r"^refused",
    "export database '{place}/stolen'": NO_READING.format("EXPORT"),
    "import database '{place}/stolen'": r"^refused|^this is no SQL|^the database refused",
    "explain analyze copy (select 1) to '{place}/stolen.csv'": NO_FILES,
    "select * from read_text('/etc/hostname')": NO_FILES,
    "select * from read_blob('/etc/hostname')": NO_FILES,
    "select * from read_csv('/etc/passwd', sep = ':')": NO_FILES,
    "select * from read_csv('http://127.0.0.1:9/x.csv')": NO_FILES,
    "select * from read_parquet('s3://bucket/x.parquet')": NO_FILES,
    "select * from read_json('/etc/hostname')": NO_FILES,
    "select * from 'x.csv'": NO_FILES,
    "select * from '/proc/self/environ'": r"^the database refused the statement: ",
    "select * from glob('/etc/*')": NO_FILES,
    "select * from parquet_metadata('/tmp/x.parquet')": NO_FILES,
    "select * from query('copy (select 1) to ''{place}/stolen.csv''')": r"^the database refused the statement: ",
    "attach '/tmp/other.duckdb'": NO_READING.format("ATTACH"),
    "attach ':memory:' as m": NO_READING.format("ATTACH"),
    "detach cspine": NO_READING.format("DETACH"),
    "select getenv('HOME')": r"^the database refused the statement: Catalog Error: .*getenv",
    # code and settings
    "install httpfs": NO_READING.format("LOAD"),
    "load httpfs": NO_READING.format("LOAD"),
    "load '/tmp/evil.duckdb_extension'": NO_READING.format("LOAD"),
    "force install spatial from community": NO_READING.format("LOAD"),
    "set enable_external_access = true": NO_READING.format("SET"),
    "set memory_limit = '100GB'": NO_READING.format("SET"),
    "reset lock_configuration": NO_READING.format("SET"),
    "set variable x = 1": NO_READING.format("SET"),
    "use memory": NO_READING.format("SET"),
    "pragma memory_limit = '100GB'": r"^refused (SET|PRAGMA|MULTI)",
    "pragma database_list": NO_READING.format("PRAGMA"),
    "pragma enable_logging": NO_READING.format("PRAGMA"),
    "call pragma_version()": NO_READING.format("CALL"),
    "create secret s (type s3)": r"^refused|^this is no SQL",
    "prepare q as select 1": NO_READING.format("PREPARE"),
    "execute q": NO_READING.format("EXECUTE"),
    "select * from a_python_variable": r"^the database refused the statement: Catalog Error",
    # several, none, and no SQL at all
    "select 1; drop table imaging.masks": NO_READING.format("DROP"),
    "select 1; select 2": r"^expected one statement, got 2",
    "": r"^expected an SQL statement, got none",
    "-- nothing": r"^expected an SQL statement, got none",
    "give me everything": r"^this is no SQL: Parser Error",
    "select no_such_column from imaging.masks": r"^the database refused the statement: Binder Error",
}

RECURSION = "with recursive t as (select 1 as a union all select a + 1 from t) select {} from t"
ENDLESS = [
    RECURSION.format("count(*)"),
    RECURSION.format("*"),
    "with recursive t as (select 1 as a union select a + 1 from t) select max(a) from t",
    "select sum(a.range * b.range) from range(1000000) a, range(1000000) b",
]
HUGE = {
    "select * from range(10000000000)": r"^stopped at 200 MB of memory",
    "select list(range) from range(3000000000)": r"^stopped at 200 MB of memory",
    "select string_agg(range::varchar, ',') from range(3000000000)": r"^stopped at 200 MB of memory",
    "select * from range(1000000000) order by hash(range)": r"^stopped at 200 MB of memory",
    "select repeat('x', 10000000000)": r"^the database refused the statement: Out of Range Error",
}
STOPPED = [
    *((statement, Limits(seconds=0.5), r"^stopped after 0\.5 s") for statement in ENDLESS),
    *((statement, Limits(memory_mb=200), why) for statement, why in HUGE.items()),
]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = Home(tmp_path_factory.mktemp("home"))
    publish_database(frames(), home.database, keep=0)
    return home.database


@pytest.mark.parametrize(("statement", "why"), REFUSED.items(), ids=REFUSED.keys())
def test_it_is_refused(database: Path, statement: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.chdir(place)
    a_python_variable = frames()
    before = database.read_bytes()
    with pytest.raises(StatementRefusedError) as refused:
        query(database, statement.replace("{place}", str(place)))
    said = str(refused.value)
    print(f"{statement} -> {said}")
    assert re.search(why, said)
    assert "\n" not in said
    assert database.read_bytes() == before
    assert a_python_variable
    assert not list(place.iterdir())


@pytest.mark.parametrize(("statement", "limits", "why"), STOPPED, ids=[row[0] for row in STOPPED])
def test_it_is_stopped_and_the_session_goes_on(database: Path, statement: str, limits: Limits, why: str):
    with connect_read_only(database, limits) as connection:
        with pytest.raises(StatementRefusedError) as stopped:
            ask(connection, statement, limits)
        print(f"{statement} -> {stopped.value}")
        assert re.search(why, str(stopped.value))
        assert "\n" not in str(stopped.value)
        assert ask(connection, "select count(*) as n from cohort.exams")["n"].to_pylist() == [len(EXAMS)]


@pytest.mark.parametrize(
    "statement",
    [
        "from cohort.exams",
        "with a as (select 1 as b) select b from a",
        "show all tables",
        "describe cohort.exams",
        "summarize cohort.exams",
        "explain select * from cohort.exams",
        "explain analyze select * from cohort.exams",
        "pivot cohort.exams on sex in ('Female', 'Male') using count(*) group by manufacturer",
        "select comment from duckdb_columns()",
        "select 1;",
    ],
)
def test_reading_is_answered(database: Path, statement: str):
    assert len(query(database, statement))
