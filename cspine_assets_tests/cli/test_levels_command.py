"""`cspine levels`: shows and sets a person's word on the topmost body."""

import sys

import pytest

from cspine_assets.cli.app import main
from cspine_assets.domain.evaluation.stated_tops import StatedTops, read_stated_tops


@pytest.fixture
def cspine(monkeypatch, capsys, tmp_path):
    """Calls the command on a home and returns its status and all it said."""
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["cspine", "levels", *arguments, "--home", str(tmp_path)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out + said.err

    return call


def test_the_topmost_body_is_shown_set_and_taken_back(cspine, tmp_path):
    assert "by each mask's own evidence" in cspine()[1]
    (tmp_path / "tops.csv").write_text("exam_id,top\ne1,C3\n")
    status, said = cspine("top=C2", f"table={tmp_path / 'tops.csv'}")
    assert (status, "C2 in every exam" in said) == (0, True)
    assert read_stated_tops(tmp_path) == StatedTops("C2", {"e1": "C3"})
    cspine("top=", "table=")
    assert read_stated_tops(tmp_path) == StatedTops()


@pytest.mark.parametrize("choice", ["top=C1", "bottom=T1", "C2"])
def test_what_cannot_be_meant_is_refused_and_nothing_is_kept(cspine, tmp_path, choice):
    status, said = cspine(choice)
    assert (status, "expected" in said) == (1, True)
    assert read_stated_tops(tmp_path) == StatedTops()
