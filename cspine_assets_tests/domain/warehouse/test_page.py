"""The page of the database is up to date, and each of its questions has an answer."""

from pathlib import Path

import pytest

from cspine_assets.domain.warehouse.page import sql_page
from cspine_assets.domain.warehouse.publish import publish_database
from cspine_assets.domain.warehouse.questions import QUESTIONS, Question
from cspine_assets.domain.warehouse.read import query
from cspine_assets_tests.domain.warehouse.rows import frames

PAGE = Path(__file__).parents[3] / "docs" / "sql.md"


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("home") / "published" / "cspine.duckdb"
    publish_database(frames(), path)
    return path


def test_the_page_says_what_the_descriptions_say():
    assert PAGE.read_text(encoding="utf-8") == sql_page(), "Run `make docs`."


def test_there_are_sixteen_questions():
    assert len({question.asked for question in QUESTIONS}) == len(QUESTIONS) == 16


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.asked)
def test_a_question_is_answered(database: Path, question: Question):
    assert len(query(database, question.select))
