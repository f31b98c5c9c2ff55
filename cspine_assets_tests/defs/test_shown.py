"""What the page shows of a frame, and what a light says of what it looked at."""

import pandas as pd

from cspine_assets.defs.evaluation import exam_rows
from cspine_assets.defs.resources import StudyResource
from cspine_assets.defs.shown import inline_picture, markdown_table


def test_a_table_writes_numbers_as_asked_and_leaves_empty_what_is_missing():
    shown = markdown_table(pd.DataFrame({"name": ["a", None], "dice": [0.91234, 0.5]}), ".3f").value
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in str(shown).splitlines()]
    assert rows[0] == ["name", "dice"]
    assert rows[2:] == [["a", "0.912"], ["", "0.500"]]


def test_a_picture_stands_in_the_text_of_a_page():
    assert inline_picture(b"\x89PNG", "a curve") == "![a curve](data:image/png;base64,iVBORw==)"


def test_the_light_of_complete_rows_says_a_whole_sentence_where_all_are_there(home):
    result = exam_rows(study=StudyResource(home=str(home.root)))
    assert result.passed
    assert result.description == "Nothing found among 0 exams."
