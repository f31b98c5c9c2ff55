"""The database is published whole, tells what it is, and is kept and restored by its time."""

import os
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from cspine_assets.domain.cohort.strata import exam_strata
from cspine_assets.domain.errors import HomeError, TableError
from cspine_assets.domain.evaluation.group_metrics import group_metrics
from cspine_assets.domain.home import Home
from cspine_assets.domain.tables.base import column_names, empty_frame, validate
from cspine_assets.domain.tables.catalog import all_tables
from cspine_assets.domain.tables.cohort import Exams
from cspine_assets.domain.tables.evaluation import ExamMetrics
from cspine_assets.domain.tables.imaging import Masks
from cspine_assets.domain.tables.warehouse import Database, Report
from cspine_assets.domain.warehouse import publish
from cspine_assets.domain.warehouse.publications import earlier_publications, publication_file, restore_publication
from cspine_assets.domain.warehouse.publish import publish_database
from cspine_assets.domain.warehouse.read import ask, connect_read_only, query
from cspine_assets.domain.warehouse.views import VIEWS, View
from cspine_assets_tests.domain.warehouse.rows import EXAMS, frames


def masks(*exams: str) -> pd.DataFrame:
    frame = pd.DataFrame({"exam_id": list(exams), "patient_id": "p", "status": "ok"})
    return frame.reindex(columns=column_names(Masks))


def count_masks(database: Path) -> int:
    return int(query(database, "select count(*) as n from imaging.masks")["n"][0])


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def database(home: Home) -> Path:
    publish_database({Masks: masks("a", "b")}, home.database, keep=2)
    return home.database


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = Home(tmp_path_factory.mktemp("study"))
    publish_database(frames(), home.database, keep=2)
    return home


def test_rows_comments_and_keys_are_published(study: Home):
    assert count_masks(study.database) == len(EXAMS)
    comments = query(
        study.database,
        "select comment from duckdb_columns() where table_name = 'masks' and column_name = 'exam_id'",
    )
    assert comments["comment"].tolist() == ["Exam: patient, study and series number; key of cohort.exams"]
    keys = query(
        study.database,
        "select constraint_type, table_name, constraint_column_names as columns from duckdb_constraints() "
        "where table_name in ('exams', 'masks') and constraint_type in ('PRIMARY KEY', 'FOREIGN KEY')",
    )
    found = {(row.constraint_type, row.table_name, *row.columns) for row in keys.itertuples()}
    assert found == {
        ("PRIMARY KEY", "exams", "exam_id"),
        ("FOREIGN KEY", "exams", "patient_id"),
        ("PRIMARY KEY", "masks", "exam_id"),
    }


def test_every_table_and_view_and_each_of_their_columns_has_a_comment(study: Home):
    tables = query(
        study.database,
        "select table_name as name, comment from duckdb_tables() where database_name = 'cspine' union all "
        "select view_name, comment from duckdb_views() where database_name = 'cspine' and not internal",
    )
    assert len(tables) == len(all_tables()) - 1 + len(VIEWS)
    assert tables["comment"].notna().all()
    bare = query(
        study.database,
        "from duckdb_columns() where database_name = 'cspine' and not internal and coalesce(comment, '') = ''",
    )
    assert bare.empty


def test_the_manifest_says_what_was_published(study: Home):
    manifest = query(study.database, "from warehouse.database").set_index("table_name")
    assert manifest.loc["imaging.masks", "rows"] == len(EXAMS)
    assert manifest.loc["imaging.masks", "foreign_keys"] == ("exam_id -> cohort.exams, patient_id -> cohort.patients")
    assert manifest.loc["dice_by_group", "kind"] == "view"
    assert manifest["broken_keys"].isna().all()
    assert set(manifest["path"]) == {"published/cspine.duckdb"}
    assert len(set(manifest["published_at"])) == 1
    validate(Database, manifest.reset_index())


def test_a_row_that_points_to_nothing_is_published_and_named(home: Home):
    given = frames()
    stranger = given[Masks].head(1).assign(exam_id="stranger")
    given[Masks] = pd.concat([given[Masks], stranger], ignore_index=True)
    publish_database(given, home.database, keep=0)
    manifest = query(home.database, "from warehouse.database").set_index("table_name")
    assert manifest.loc["imaging.masks", "broken_keys"] == "exam_id -> cohort.exams (1 rows)"
    assert manifest.loc["imaging.masks", "foreign_keys"] == "patient_id -> cohort.patients"
    assert manifest.drop("imaging.masks")["broken_keys"].isna().all()
    assert count_masks(home.database) == len(EXAMS) + 1


def test_the_key_of_a_large_table_is_checked_and_told_but_has_no_index(
    home: Home, database: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(publish, "INDEXED_ROWS", 2)
    with pytest.raises(TableError, match=r"imaging\.masks: expected exam_id .* 1 of them"):
        publish_database({Masks: masks("a", "b", "a")}, home.database)
    assert count_masks(database) == 2
    publish_database({Masks: masks("a", "b", "c")}, home.database)
    assert count_masks(database) == 3
    comment = query(database, "select comment from duckdb_tables() where table_name = 'masks'")["comment"][0]
    assert comment.endswith("Key: exam_id.")
    keys = query(database, "from duckdb_constraints() where table_name = 'masks' and constraint_type = 'PRIMARY KEY'")
    assert keys.empty


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
def test_a_view_gives_what_it_describes(study: Home, view: View):
    rows = query(study.database, f"from {view.name}")
    assert len(rows)
    validate(view.description, rows)


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
def test_a_view_over_empty_tables_stands(home: Home, view: View):
    publish_database(
        {table: empty_frame(table) for table in all_tables() if table not in (Database, Report)}, home.database, keep=0
    )
    assert list(query(home.database, f"from {view.name}").columns) == column_names(view.description)


def test_the_worst_exam_is_the_one_with_the_lowest_dice(study: Home):
    worst = query(
        study.database,
        "select set, exam_id, prediction_path from worst_exams where rank_from_worst = 1 and predictor = 'ensemble' "
        "and structure = 'vertebral_body' and set like 'test%' order by set",
    )
    # the worst of all is held against the mask of a model, which makes no test score
    assert worst["set"].tolist() == ["test", "test_model"]
    assert worst["exam_id"].tolist() == EXAMS[-2:]
    assert worst["prediction_path"].tolist() == [f"predictions/test/ensemble/{exam}.nii.gz" for exam in EXAMS[-2:]]


def test_every_exam_is_in_one_group_of_each_kind(study: Home):
    groups = query(
        study.database,
        "select grouped_by, sum(exam_count) as n from dice_by_group "
        "where predictor = '2d' and structure = 'vertebral_body' group by grouped_by",
    )
    assert len(groups) == 7
    assert len(set(groups["n"])) == 1


def test_groups_have_one_name_and_one_count_in_the_view_and_in_the_table(tmp_path: Path):
    # another magnet of the same trade name is the same group, and a half is rounded alike
    strengths = [2.89, 1.494, 3.0, 2.25, 1.5, 0.25, None, 1.75]
    tables = frames()
    tables[Exams] = tables[Exams].assign(magnetic_field_strength_t=pd.array(strengths, dtype="Float64"))
    publish_database(tables, tmp_path / "cspine.duckdb")
    one = "predictor = '2d' and structure = 'vertebral_body'"
    seen = query(
        tmp_path / "cspine.duckdb",
        f"select grouped_by, group_value, sum(exam_count)::int as n from dice_by_group "
        f"where {one} and grouped_by <> 'ethnicity' group by all",
    )
    described = group_metrics(tables[ExamMetrics], exam_strata(tables[Exams]), metrics=["dice_volumetric"])
    plain = described[~described["grouping"].str.contains(" x |provenance") & (described["predictor"] == "2d")]
    counted = plain[plain["structure"] == "vertebral_body"].groupby(["grouping", "group_value"])["n"].sum()
    assert {(row.grouped_by, row.group_value): row.n for row in seen.itertuples()} == counted.to_dict()
    assert counted["field_strength"]["3 T"] == 2
    assert {"all", "sex", "race", "age_band", "manufacturer", "field_strength"} == set(seen["grouped_by"])


def test_deltas_are_first_minus_second_in_the_alphabet(study: Home):
    deltas = query(study.database, "from model_deltas where structure = 'vertebral_body'")
    assert set(zip(deltas["predictor_a"], deltas["predictor_b"], strict=True)) == {
        ("2d", "3d_fullres"),
        ("2d", "ensemble"),
        ("3d_fullres", "ensemble"),
    }
    expected = deltas["dice_volumetric_a"] - deltas["dice_volumetric_b"]
    assert (deltas["dice_volumetric_difference"] - expected).abs().max() < 1e-12


def test_the_trend_sets_each_evaluation_beside_the_one_before(study: Home):
    trend = query(study.database, "from history_trend order by evaluation_number")
    assert trend["evaluation_id"].tolist() == ["first", "second"]
    assert trend["change"].isna().tolist() == [True, False]
    assert abs(trend["change"][1] + 0.02) < 1e-12
    assert trend["same_exams"][1]


def test_the_flow_counts_exams_that_are_lost(study: Home):
    flow = query(study.database, "from cohort_flow order by step").set_index("step")
    assert flow.loc[1, "exam_count"] == len(EXAMS)
    assert flow.loc[8, "exam_count"] == 0
    assert flow.loc[4, "lost_count"] == flow.loc[3, "exam_count"] - flow.loc[4, "exam_count"] > 0


def test_a_reader_keeps_what_it_has_open_and_the_next_one_sees_the_new(home: Home, database: Path):
    with connect_read_only(database) as reader:
        publish_database({Masks: masks("a", "b", "c")}, home.database, keep=2)
        assert count_masks(database) == 3
        assert ask(reader, "select count(*) as n from imaging.masks")["n"].to_pylist() == [2]


def test_a_publication_that_fails_leaves_the_old_one(home: Home, database: Path):
    with pytest.raises(duckdb.Error):
        publish_database({Masks: masks("a", "a")}, home.database, keep=2)
    assert count_masks(database) == 2
    assert [path.name for path in database.parent.iterdir()] == ["cspine.duckdb"]


def test_a_view_that_is_not_what_it_describes_is_not_published(
    home: Home, database: Path, monkeypatch: pytest.MonkeyPatch
):
    lying = View(VIEWS[2].description, (Masks,), "select exam_id from imaging.masks")
    monkeypatch.setattr(publish, "VIEWS", (lying,))
    with pytest.raises((TableError, duckdb.Error), match=r"level_profile|does not exist"):
        publish_database({Masks: masks("a")}, home.database, keep=2)
    assert count_masks(database) == 2


def test_the_last_publications_are_kept_and_can_be_asked_and_restored(home: Home):
    for n in range(1, 6):
        publish_database({Masks: masks(*map(str, range(n)))}, home.database, keep=3)
    kept = earlier_publications(home.database)
    assert [count_masks(path) for path in kept] == [4, 3, 2]
    assert count_masks(publication_file(home.database, kept[1].stem)) == 3

    restore_publication(home.database, kept[2].stem, keep=3)
    assert count_masks(home.database) == 2
    assert [count_masks(path) for path in earlier_publications(home.database)] == [5, 4, 3]
    with pytest.raises(HomeError, match="there is none of that name"):
        restore_publication(home.database, "yesterday", keep=3)


def test_a_publication_killed_before_its_rename_does_not_stop_the_next(home: Home, database: Path):
    (home.database.parent / "earlier").mkdir()
    os.link(database, (home.database.parent / "earlier") / "x.duckdb")
    publish_database({Masks: masks("a", "b", "c")}, home.database, keep=5)
    publish_database({Masks: masks("a")}, home.database, keep=5)
    assert count_masks(home.database) == 1


def test_a_home_without_a_publication_says_what_to_do(tmp_path: Path):
    with pytest.raises(HomeError, match="cspine demo"):
        query(tmp_path / "none.duckdb", "select 1")


def test_a_file_that_is_no_database_is_named(tmp_path: Path):
    path = tmp_path / "x.duckdb"
    path.write_text("nonsense " * 1000)
    with pytest.raises(HomeError, match=r"x\.duckdb"):
        query(path, "select 1")


def test_sums_of_integers_come_back_as_integers_and_missing_ones_stay_missing(study: Home):
    answer = query(
        study.database, "select sum(rows) as s, 0.5::decimal(4, 1) as d, null::int as m from warehouse.database"
    )
    assert answer["s"].dtype == "Int64"
    assert answer["d"].tolist() == [0.5]
    assert answer["m"].isna().all()
