import re
from pathlib import Path

import pandas as pd
import pytest

from cspine_assets.domain.errors import HomeError
from cspine_assets.domain.report.page import DEMO_WARNING, write_report
from cspine_assets.domain.report.sections import SECTIONS
from cspine_assets.domain.tables.base import empty_frame
from cspine_assets.domain.tables.catalog import all_tables
from cspine_assets.domain.tables.cohort import Demographics, SplitBalance, Splits
from cspine_assets.domain.tables.evaluation import ExamMetrics, GroupMetrics, LevelMetrics, Morphometry, SummaryOnTest
from cspine_assets.domain.tables.warehouse import Database, Report
from cspine_assets.domain.warehouse.publish import publish_database
from cspine_assets.domain.warehouse.read import query

PATIENT, EXAM = "593973-000007", "593973-000007_Study-MR-1_Series-1"


def row(table, **values):
    """One row of a table: what is not said is missing, or a value of its type."""
    frame = empty_frame(table)
    usual = {"string": "x", "Int64": 1, "Float64": 0.5, "boolean": False}
    kinds = {name: str(dtype).split("[")[0] for name, dtype in frame.dtypes.items()}
    return pd.DataFrame([{name: usual[kind] for name, kind in kinds.items()} | values]).astype(frame.dtypes.to_dict())


@pytest.fixture
def database(tmp_path):
    frames = {table: empty_frame(table) for table in all_tables() if table not in (Database, Report)}
    frames[Splits] = row(
        Splits, exam_id=EXAM, patient_id=PATIENT, part="test", fold=None, annotation_provenance="expert"
    )
    same = {"set_name": "test", "structure": "vertebral_body", "predictor": "ensemble", "profile": "demo"}
    frames[SummaryOnTest] = pd.concat(
        [
            row(SummaryOnTest, **same, metric="dice_volumetric", mean=0.912, sd_sample=0.034, median=0.921),
            row(SummaryOnTest, **same, metric="dice_slice_mean", mean=0.876, sd_sample=0.021, median=0.881),
        ]
    )
    frames[ExamMetrics] = row(
        ExamMetrics, exam_id=EXAM, patient_id=PATIENT, set="test", structure="vertebral_body", predictor="ensemble"
    )
    path = tmp_path / "cspine.duckdb"
    publish_database(frames, path)
    return path


def test_the_report_shows_what_the_database_says(database, tmp_path):
    frame = write_report(database, tmp_path / "study.html", profile="full").set_index("section")
    page = (tmp_path / "study.html").read_text()
    assert "0.912 ± 0.034" in page
    assert "0.876 ± 0.021" in page
    assert frame.loc["test", "rows"] == 1
    assert frame.loc["test", "has_picture"]
    assert frame.loc["levels", "rows"] == 0
    assert not frame.loc["levels", "has_picture"]
    assert "Nothing to show" in page


def test_a_demo_report_says_so_at_its_head(database, tmp_path):
    for profile, warned in (("demo", True), ("full", False)):
        write_report(database, tmp_path / "study.html", profile=profile)
        assert (DEMO_WARNING in (tmp_path / "study.html").read_text()) is warned


def test_no_patient_and_no_exam_is_named(database, tmp_path):
    write_report(database, tmp_path / "study.html", profile="full")
    assert not re.search(r"593973-\d{6}", (tmp_path / "study.html").read_text())


def test_levels_of_two_sets_are_never_in_one_median(tmp_path):
    frames = {table: empty_frame(table) for table in all_tables() if table not in (Database, Report)}
    same = {"predictor": "ensemble", "structure": "intervertebral_disc", "protocol": "anatomical", "view": "3d"}
    frames[LevelMetrics] = pd.concat(
        [
            row(LevelMetrics, **same, level="C2/C3", set="test", exam_id="tested", dice=0.8),
            row(LevelMetrics, **same, level="C2/C3", set="cv", exam_id="developed_on", dice=0.2),
        ]
    )
    publish_database(frames, tmp_path / "cspine.duckdb")
    frame = write_report(tmp_path / "cspine.duckdb", tmp_path / "study.html", profile="full").set_index("section")
    assert frame.loc["levels", "rows"] == 2
    assert frame.loc["levels", "has_picture"]
    page = (tmp_path / "study.html").read_text()
    assert ("0.800" in page, "0.200" in page, "0.500" in page) == (True, True, False)


def test_heights_of_bodies_and_discs_are_never_in_one_median_and_c2_has_none(tmp_path):
    frames = {table: empty_frame(table) for table in all_tables() if table not in (Database, Report)}
    same = {"set": "test", "predictor": "ensemble", "measure": "height_mm", "severity": "none"}
    frames[Morphometry] = pd.concat(
        [
            row(Morphometry, **same, level="C2", value_reference=None, value_prediction=None, difference=None),
            row(Morphometry, **same, level="C4", value_reference=13.0),
            row(Morphometry, **same, level="C4/C5", value_reference=5.0),
        ]
    )
    publish_database(frames, tmp_path / "cspine.duckdb")
    frame = write_report(tmp_path / "cspine.duckdb", tmp_path / "study.html", profile="full").set_index("section")
    assert frame.loc["morphometry", "rows"] == 2
    page = (tmp_path / "study.html").read_text()
    assert ("13.000" in page, "5.000" in page, "9.000" in page) == (True, True, False)


def test_the_median_beside_measured_in_both_is_over_those_measured_in_both(tmp_path):
    frames = {table: empty_frame(table) for table in all_tables() if table not in (Database, Report)}
    same = {"set": "test", "predictor": "ensemble", "measure": "height_mm", "severity": "none"}
    frames[Morphometry] = pd.concat(
        [
            row(Morphometry, **same, level="C4", value_reference=18.0),
            row(Morphometry, **same, level="C5", value_reference=19.0),
            row(Morphometry, **same, level="C6", value_reference=8.0, value_prediction=None, difference=None),
        ]
    )
    publish_database(frames, tmp_path / "cspine.duckdb")
    (statement,) = (section.statement for section in SECTIONS if section.name == "morphometry")
    answer = query(tmp_path / "cspine.duckdb", statement).iloc[0]
    assert (answer["levels"], answer["measured_in_both"], answer["median_reference"]) == (3, 2, 18.5)


def test_where_every_name_is_in_doubt_the_counts_stand_where_the_numbers_would_be(tmp_path):
    frames = {table: empty_frame(table) for table in all_tables() if table not in (Database, Report)}
    same = {"set": "test", "predictor": "ensemble", "severity": "name_unsure", "level": "C4", "confidence": "low"}
    frames[Morphometry] = row(Morphometry, **same, measure="height_mm", value_reference=18.0)
    why = "nothing: field of view ends 9 mm above the topmost body"
    frames[LevelMetrics] = row(LevelMetrics, **same, protocol="anatomical", view="3d", named_by=why, dice=0.8)
    publish_database(frames, tmp_path / "cspine.duckdb")
    sections = {section.name: section.statement for section in SECTIONS}
    sizes = query(tmp_path / "cspine.duckdb", sections["morphometry"]).iloc[0]
    assert (sizes["levels"], sizes["unsure"], pd.isna(sizes["median_reference"])) == (0, 1, True)
    names = query(tmp_path / "cspine.duckdb", sections["names"]).iloc[0]
    assert (names["confidence"], names["exams"], names["all_in_doubt"]) == ("low", 1, 1)
    assert names["named_by"] == "nothing: field of view ends above the topmost body"
    doubts = query(tmp_path / "cspine.duckdb", "select named_by, level_count from level_doubts")
    assert doubts.to_numpy().tolist() == [[why, 1]]


def test_a_group_of_fewer_than_five_patients_is_left_out_with_the_one_that_would_tell_it(tmp_path):
    frames = {table: empty_frame(table) for table in all_tables() if table not in (Database, Report)}
    same = {"set_name": "cv", "predictor": "ensemble", "structure": "vertebral_body", "metric": "dice_volumetric"}
    frames[GroupMetrics] = pd.concat(
        [
            row(GroupMetrics, **same, grouping="all", group_value="everybody", n_patients=15),
            row(GroupMetrics, **same, grouping="race", group_value="alone_with_few", n_patients=11),
            row(GroupMetrics, **same, grouping="race", group_value="too_few", n_patients=4),
            row(GroupMetrics, **same, grouping="sex", group_value="shown", n_patients=5),
            row(GroupMetrics, **same, grouping="sex", group_value="shown_too", n_patients=10),
            row(GroupMetrics, **same, grouping="age_band", group_value="shown_still", n_patients=7),
            row(GroupMetrics, **same, grouping="age_band", group_value="would_tell", n_patients=5),
            row(GroupMetrics, **same, grouping="age_band", group_value="too_few", n_patients=3),
        ]
    )
    publish_database(frames, tmp_path / "cspine.duckdb")
    found = write_report(tmp_path / "cspine.duckdb", tmp_path / "study.html", profile="full").set_index("section")
    page = (tmp_path / "study.html").read_text()
    assert found.loc["groups", "rows"] == 4
    assert all(name in page for name in ("everybody", "shown", "shown_too", "shown_still"))
    assert not any(name in page for name in ("too_few", "alone_with_few", "would_tell"))


def test_the_page_stands_by_itself(database, tmp_path):
    write_report(database, tmp_path / "study.html", profile="full")
    page = (tmp_path / "study.html").read_text()
    assert not re.findall(r"(?:src|href)=\"(?!#|data:)", page)
    assert set(re.findall(r'href="#(\w+)"', page)) == {section.name for section in SECTIONS}


def test_without_a_database_nothing_is_written(tmp_path):
    with pytest.raises(HomeError):
        write_report(tmp_path / "none.duckdb", tmp_path / "study.html", profile="full")
    assert not (tmp_path / "study.html").exists()


def demographics_shown(folder: Path, counts: dict[tuple[str, str, str], int]) -> pd.DataFrame:
    """Returns the section of patients of a database with these counts by part, variable and value."""
    frames = {table: empty_frame(table) for table in all_tables() if table not in (Database, Report)}
    frames[Demographics] = pd.concat(
        [
            row(
                Demographics,
                grouped_by="all" if part == "all" else "part",
                group_value=part,
                variable=variable,
                value=value,
                patient_count=count,
                mean=None,
                sd_sample=None,
            )
            for (part, variable, value), count in counts.items()
        ]
    )
    publish_database(frames, folder / "cspine.duckdb")
    section = next(section for section in SECTIONS if section.name == "demographics")
    return query(folder / "cspine.duckdb", section.statement).set_index(["variable", "value"])


def test_small_counts_of_patients_are_not_shown_nor_those_that_would_tell_them(tmp_path):
    counts = {
        ("development", "race", "White"): 40,
        ("development", "race", "Black"): 21,
        ("development", "race", "Asian"): 6,
        ("development", "race", "Other"): 3,  # alone under five: told by the total and the other three
        ("development", "sex", "Female"): 36,
        ("development", "sex", "Male"): 34,
        ("test", "race", "White"): 17,
        ("test", "race", "Black"): 2,
        ("test", "race", "Asian"): 1,
        ("test", "sex", "Female"): 20,
        ("test", "sex", "Male"): 0,
    }
    shown = demographics_shown(tmp_path, counts)
    assert shown["development"].str.split(" ").str[0].to_dict() == {
        ("race", "Asian"): "withheld",
        ("race", "Black"): "21",
        ("race", "Other"): "<",
        ("race", "White"): "40",
        ("sex", "Female"): "36",
        ("sex", "Male"): "34",
    }
    assert shown["test"].dropna().to_dict() == {
        ("race", "Asian"): "< 5",
        ("race", "Black"): "< 5",
        ("race", "White"): "withheld",  # the two others would be all test patients less these
        ("sex", "Female"): "20 (50 %)",
        ("sex", "Male"): "0 (50 %)",
    }


@pytest.mark.parametrize("elsewhere", [0, 2, 100])
def test_a_small_count_is_not_told_by_all_patients_and_the_other_part(tmp_path, elsewhere):
    parts = {"development": {"Female": 25, "Male": 20, "Other": 7}, "test": {"Female": 15, "Male": 10, "Other": 2}}
    values = ("Female", "Male", "Other")
    parts["unannotated"] = dict.fromkeys(values, elsewhere) if elsewhere else {}
    parts["all"] = {value: sum(part.get(value, 0) for part in parts.values()) for value in values}
    counts = {(part, "sex", value): count for part, of_part in parts.items() for value, count in of_part.items()}
    shown = demographics_shown(tmp_path, counts).droplevel("variable").map(lambda text: text.split(" (")[0])
    assert shown["test"].to_dict() == {"Female": "15", "Male": "withheld", "Other": "< 5"}
    # as in the section of groups, which shows the same patients by the same rule
    assert shown["development"].to_dict() == {"Female": "25", "Male": "20", "Other": "7"}
    told = {value: str(count) for value, count in parts["all"].items()}
    assert shown["all_patients"].to_dict() == (told if elsewhere == 100 else dict.fromkeys(values, "withheld"))


def test_a_count_withheld_of_all_patients_is_not_told_by_both_parts(tmp_path):
    race = {"A": (3, 0), "B": (6, 0), "C": (5, 2), "D": (20, 20)}
    parts = {"development": {value: one for value, (one, _) in race.items()}}
    parts["test"] = {value: other for value, (_, other) in race.items() if other}
    parts["all"] = {value: one + other for value, (one, other) in race.items()}
    counts = {(part, "race", value): count for part, of_part in parts.items() for value, count in of_part.items()}
    shown = demographics_shown(tmp_path, counts).droplevel("variable").map(str)
    assert shown.loc["B", "development"] == "6 (50 %)"
    assert shown["all_patients"].str.fullmatch("< 5|withheld").all()


def test_the_picture_of_the_balance_leaves_out_what_few_persons_have(tmp_path):
    frames = {table: empty_frame(table) for table in all_tables() if table not in (Database, Report)}
    of_parts = {
        ("age_band", "40-49"): (30, 6),
        ("age_band", "under 40"): (20, 4),  # too few in the test set
        ("age_band", "50-59"): (12, 5),  # the smallest other one: its share would tell theirs
        ("age_band", "60-69"): (15, 8),
        ("sex", "Female"): (40, 10),
        ("sex", "Male"): (37, 13),
        ("manufacturer", "GE"): (75, 22),
        ("manufacturer", "Other"): (2, 1),
    }
    frames[SplitBalance] = pd.concat(
        [
            row(SplitBalance, variable=variable, value=value, part=part, patient_count=count)
            for (variable, value), counts in of_parts.items()
            for part, count in zip(("development", "test"), counts, strict=True)
        ]
    )
    publish_database(frames, tmp_path / "cspine.duckdb")
    section = next(section for section in SECTIONS if section.name == "balance")
    drawn = query(tmp_path / "cspine.duckdb", section.drawn)
    assert set(zip(drawn["variable"], drawn["value"], strict=True)) == {
        ("age_band", "40-49"),
        ("age_band", "60-69"),
        ("sex", "Female"),
        ("sex", "Male"),
        ("manufacturer", "GE"),
        ("manufacturer", "Other"),
    }
    assert query(tmp_path / "cspine.duckdb", section.statement)["strata"].tolist() == [8, 8]
