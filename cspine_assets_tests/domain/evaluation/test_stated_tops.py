"""A person's word on the topmost body: kept, used for its exam before the cohort's, and refused where it cannot be."""

from __future__ import annotations

import pytest

from cspine_assets.domain.errors import CSpineError
from cspine_assets.domain.evaluation.stated_tops import (
    FILE,
    StatedTops,
    read_stated_tops,
    read_top_table,
    write_stated_tops,
)
from cspine_assets.domain.evaluation.top_body import Source, StatedTop


def test_what_was_said_is_kept_and_an_exam_s_word_comes_before_the_cohort_s(tmp_path):
    assert read_stated_tops(tmp_path) == StatedTops()
    write_stated_tops(tmp_path, StatedTops("C2", {"e1": "C3"}))
    kept = read_stated_tops(tmp_path)
    assert kept.of("e1") == StatedTop("C3", Source.EXAM)
    assert kept.of("e2") == StatedTop("C2", Source.COHORT)
    assert kept.text(["e2", "e1"]) == "e1=C3,e2=C2"
    assert StatedTops().of("e1") is None
    assert StatedTops().text(["e1"]) == ""


@pytest.mark.parametrize("separator", [",", "\t"])
def test_a_table_names_exams_and_their_topmost_body(tmp_path, separator):
    table = tmp_path / "tops.csv"
    table.write_text(f"exam_id{separator}top\ne1{separator}C3\ne2{separator} C2 \n")
    assert read_top_table(table, known={"e1", "e2", "e3"}) == {"e1": "C3", "e2": "C2"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("exam_id,level\ne1,C3\n", "columns exam_id and top"),
        ("exam_id,top\n", "no rows"),
        ("exam_id,top\ne1,C1\n", "one of C2, C3"),
        ("exam_id,top\ne1,C2\ne1,C3\n", "e1 several times"),
        ("exam_id,top\nother,C2\n", "expected exams of this cohort, got other"),
    ],
)
def test_a_table_that_cannot_be_meant_is_refused(tmp_path, text, said):
    table = tmp_path / "tops.csv"
    table.write_text(text)
    with pytest.raises(CSpineError, match=said):
        read_top_table(table, known={"e1"})


@pytest.mark.parametrize("text", ["{", '{"cohort": "C9", "exams": {}}', '{"exams": {}}'])
def test_a_file_that_cannot_be_understood_is_named(tmp_path, text):
    (tmp_path / FILE).write_text(text)
    with pytest.raises(CSpineError, match=FILE):
        read_stated_tops(tmp_path)
