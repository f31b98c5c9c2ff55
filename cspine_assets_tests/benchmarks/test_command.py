"""The command and the page, with benchmarks that do next to nothing."""

import sys
from types import ModuleType

import pytest
from typer.testing import CliRunner

from benchmarks import catalog, command
from benchmarks.catalog import BENCHMARKS, Benchmark, Size, chosen
from benchmarks.page import Machine, Outcome, markdown_page
from benchmarks.results import Column, Results, Row, Table, comparison, comparison_table

MACHINE = Machine("a processor", 2, 8.0, "Linux 6", "3.11.7", "abcdef")
SECONDS = dict.fromkeys(Size, 1)


def fake(monkeypatch, name, run):
    module = ModuleType(f"benchmarks.{name}")
    module.__spec__ = object()
    if run is not None:
        module.run = run
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return Benchmark(name, "What it measures", SECONDS)


def good(size, folder):
    row = comparison("work", 4.0, 2.0, 3.0)
    return Results((comparison_table("Title", "CPU s", [row]),), ("A note.",))


def bad(size, folder):
    raise RuntimeError("both ways differ")


@pytest.fixture
def run_command(monkeypatch):
    def start(benchmarks, *arguments):
        monkeypatch.setattr(catalog, "BENCHMARKS", benchmarks)
        monkeypatch.setattr(command, "in_a_process", lambda work, *given: work(*given))
        return CliRunner().invoke(command.app, arguments)

    return start


def test_failed_benchmark_is_named_at_the_end_and_the_others_run(run_command, monkeypatch, tmp_path):
    benchmarks = (fake(monkeypatch, "fails", bad), fake(monkeypatch, "works", good))

    done = run_command(benchmarks, "--page", str(tmp_path / "page.md"))

    assert done.exit_code == 1
    assert "FAILED: fails: RuntimeError: both ways differ" in done.output.splitlines()[-2:][0]
    page = (tmp_path / "page.md").read_text()
    assert "**Failed:** RuntimeError: both ways differ" in page
    assert "| work | 4.000 | 2.000 | 2.0 | 3.0 | MISSED |" in page


def test_command_succeeds_where_a_target_is_missed(run_command, monkeypatch):
    done = run_command((fake(monkeypatch, "works", good),))

    assert done.exit_code == 0
    assert "target missed: works: work" in done.output


@pytest.mark.parametrize("name", ["prediction_stages", "no_such"])
def test_name_of_no_benchmark_is_refused(run_command, name):
    done = run_command(BENCHMARKS, name)

    assert done.exit_code == 2
    assert name in done.output


def test_listed_module_without_run_is_an_error(monkeypatch):
    with pytest.raises(LookupError, match=r"expected a function run\(size, folder\)"):
        fake(monkeypatch, "empty", None).load()


def test_listed_module_that_is_missing_is_an_error():
    with pytest.raises(LookupError, match="there is none"):
        Benchmark("not_there", "", SECONDS).load()


def test_benchmarks_run_in_the_order_of_the_list():
    assert [one.name for one in chosen(["warehouse", "ingest"])] == ["ingest", "warehouse"]


def test_page_of_the_smallest_size_judges_nothing_and_says_so():
    outcome = Outcome(BENCHMARKS[0], good(Size.SMALLEST, None), 1.0)

    page = markdown_page([outcome], size=Size.SMALLEST, machine=MACHINE)

    assert page.startswith("# Benchmarks: smallest size, no measurement\n")
    assert "MISSED" not in page
    assert "not judged" in page


def test_page_tells_machine_commit_and_what_was_not_run():
    page = markdown_page([Outcome(BENCHMARKS[0], good(Size.USUAL, None), 1.0)], size=Size.USUAL, machine=MACHINE)

    assert "| commit | abcdef |" in page
    assert "| processor | a processor, 2 cores |" in page
    assert f"| not run | {', '.join(one.name for one in BENCHMARKS[1:])} |" in page


def test_table_without_targets_has_no_column_of_verdicts():
    table = Table("Title", (Column("ms", 1),), [Row("one", (1234.56,)), Row("none", (None,))])

    assert table.texts(judged=True) == [["what", "ms"], ["one", "1,234.6"], ["none", ""]]
