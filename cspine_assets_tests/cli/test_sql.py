"""`cspine sql` gives answers in the form asked for, and bounds what the engine does not bound by itself."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from cspine_assets.cli.app import main
from cspine_assets.domain.home import Home
from cspine_assets.domain.warehouse.publications import earlier_publications
from cspine_assets.domain.warehouse.publish import publish_database
from cspine_assets_tests.domain.warehouse.rows import EXAMS, frames

CSPINE = str(Path(sys.executable).with_name("cspine"))
COUNT = "select sex, count(*) as n, max(age_years) as oldest from cohort.exams group by sex order by sex"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    made = Home(tmp_path_factory.mktemp("home"))
    publish_database(frames(), made.database, keep=1)
    publish_database(frames(), made.database, keep=1)
    return made


@pytest.fixture
def sql(home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Calls `cspine sql` in this process; returns status, stdout and stderr."""

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["cspine", "sql", "--home", str(home.root), *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return call


def run_sql(home: Home, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    """Calls it as a person would, in a process of its own."""
    command = [CSPINE, "sql", "--home", str(home.root), *arguments]
    return subprocess.run(command, input=given, capture_output=True, text=True, check=False)


def test_csv_and_json_keep_integers_and_missing_values(sql):
    status, said, _ = sql("--format", "csv", COUNT)
    assert status == 0
    assert said.splitlines() == ["sex,n,oldest", "Female,3,79.5", "Male,3,60.0", "Not Reported,2,82.0"]
    _, said, _ = sql("--format", "json", "select 1 as one, null::int as missing, 'ä' as text")
    assert json.loads(said) == [{"one": 1, "missing": None, "text": "ä"}]


def test_a_table_says_how_many_rows_it_has_and_shows_a_thousand_at_most(sql):
    _, said, _ = sql(COUNT)
    assert "3 row(s)" in said
    _, said, _ = sql("from range(1500)")
    assert "the first 1000 of 1500 rows" in said


@pytest.mark.parametrize(("name", "read"), [("a.parquet", pd.read_parquet), ("a.csv", pd.read_csv)])
def test_an_answer_goes_to_a_file_by_its_ending(sql, tmp_path: Path, name: str, read):
    status, said, _ = sql("--out", str(tmp_path / name), COUNT)
    assert (status, said) == (0, "")
    assert read(tmp_path / name)["n"].tolist() == [3, 3, 2]


def test_a_refused_statement_leaves_the_old_file(sql, tmp_path: Path):
    out = tmp_path / "a.csv"
    out.write_text("old")
    status, _, said = sql("--out", str(out), "drop table cohort.exams")
    assert status == 1
    assert said.startswith("cspine: refused DROP")
    assert len(said.splitlines()) == 1
    assert out.read_text() == "old"


def test_a_file_may_hold_several_statements_for_tables_and_one_for_the_rest(sql, tmp_path: Path):
    file = tmp_path / "questions.sql"
    file.write_text("-- two\nselect 11 as first;\nselect 22 as second;\n")
    _, said, _ = sql("--file", str(file))
    assert "11" in said
    assert "22" in said
    status, _, said = sql("--file", str(file), "--format", "csv")
    assert status == 1
    assert "expected one statement, got 2" in said


def test_what_is_asked_must_be_said_once(sql, tmp_path: Path):
    for arguments in ((), ("--shell", "select 1"), ("--file", "x.sql", "select 1")):
        status, _, said = sql(*arguments)
        assert status == 1
        assert "expected one of a statement, --file FILE and --shell" in said
    status, _, said = sql("--file", str(tmp_path / "none.sql"))
    assert status == 1
    assert "none.sql: expected a text file with SQL" in said
    status, _, said = sql("--format", "parquet", "select 1")
    assert status == 1
    assert "--out" in said


def test_an_earlier_publication_is_asked_by_its_name(sql, home: Home):
    (earlier,) = earlier_publications(home.database)
    status, said, _ = sql("--publication", earlier.stem, "--format", "csv", "select count(*) as n from cohort.exams")
    assert status == 0
    assert said.splitlines() == ["n", str(len(EXAMS))]
    status, _, said = sql("--publication", "never", "select 1")
    assert status == 1
    assert earlier.stem in said


def test_the_shell_answers_refuses_and_goes_on(home: Home):
    given = (
        ".tables\n.columns cohort.exams\n.help\nselect 40 +\n 2 as answer;\ndrop table cohort.exams;\n"
        "select 'still here' as it;\n.quit\nselect 'unasked' as x;\n"
    )
    result = run_sql(home, "--shell", given=given)
    assert result.returncode == 0, result.stderr
    for expected in ("evaluation.exam_metrics", "dice_by_group", "Field strength [T]", ".quit", "42", "still here"):
        assert expected in result.stdout, expected
    assert "unasked" not in result.stdout
    assert result.stderr.startswith("cspine: refused DROP")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux bounds the memory of a process")
@pytest.mark.parametrize(
    "statement",
    [
        "select length(repeat('x', 3000000000))",
        "select list_reduce(range(1000000000), lambda a, b: a + b)",
        "select repeat(repeat('x', 1000), 1000) from range(100000)",
    ],
)
def test_memory_that_the_engine_does_not_count_is_bounded(home: Home, statement: str):
    result = run_sql(home, "--memory", "200", "--timeout", "600", statement)
    print(result.stderr)
    assert result.returncode == 1
    assert result.stderr.startswith("cspine: stopped at 200 MB of memory")
    assert len(result.stderr.splitlines()) == 1


def test_what_cannot_be_interrupted_ends_with_the_process(home: Home):
    # one value, worked on for minutes without a look at the interrupt
    statement = "select list_reduce(range(30000000), lambda a, b: (a * 31 + b) % 1000003)"
    result = run_sql(home, "--timeout", "0.5", "--memory", "4000", statement)
    print(result.stderr)
    assert result.returncode == 1
    assert result.stderr.startswith("cspine: stopped after 0.5 s")


@pytest.mark.parametrize(
    "environment",
    [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}],
    ids=["ascii", "posix"],
)
def test_what_a_terminal_cannot_show_is_replaced(home: Home, environment: dict[str, str]):
    """The kind: a library's error about an encoding, on the way in or out."""
    command = [CSPINE, "sql", "--home", str(home.root), "--format", "csv", "select 'ä→' as x"]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["x", r"\xe4\u2192"]
