"""A description is all that a table needs: types, key, Parquet schema and comments come from it."""

import pandas as pd
import pyarrow as pa
import pytest

from cspine_assets.domain.errors import TableError
from cspine_assets.domain.tables.base import arrow_schema, column_names, empty_frame, typed_frame, validate
from cspine_assets.domain.tables.catalog import all_tables
from cspine_assets.domain.tables.imaging import Masks, Volumes


@pytest.mark.parametrize("table", all_tables(), ids=lambda table: table.full_name())
def test_every_table_and_column_is_described(table):
    schema, name = table.full_name().split(".")
    assert schema and name
    assert table.comment().endswith(".") or table.comment()
    for field in arrow_schema(table):
        assert field.metadata[b"description"], field.name


@pytest.mark.parametrize("table", all_tables(), ids=lambda table: table.full_name())
def test_the_empty_table_fits_its_own_description(table):
    frame = empty_frame(table)
    assert list(frame.columns) == column_names(table)
    assert validate(table, frame).empty
    assert pa.Table.from_pandas(frame, schema=arrow_schema(table), preserve_index=False).num_rows == 0


def test_names_are_unique():
    names = [table.full_name() for table in all_tables()]
    assert len(set(names)) == len(names)


def test_units_reach_the_parquet_schema():
    assert arrow_schema(Volumes).field("spacing_0_mm").metadata[b"unit"] == b"mm"


def test_all_findings_are_named_at_once():
    frame = pd.DataFrame({"exam_id": ["a", "a"], "patient_id": ["p", "p"], "status": ["ok", "fine"]})
    with pytest.raises(TableError) as caught:
        validate(Masks, frame.reindex(columns=column_names(Masks)).assign(stranger=1))
    message = str(caught.value)
    assert "imaging.masks" in message
    assert "stranger" in message
    assert "status" in message
    assert "exam_id" in message


def test_values_get_the_described_type_where_that_loses_nothing():
    frame = pd.DataFrame({"exam_id": ["a"], "patient_id": ["p"], "status": ["failed"]})
    frame = frame.reindex(columns=column_names(Masks)).assign(vertebral_body_voxels=3.0)
    assert validate(Masks, frame)["vertebral_body_voxels"].tolist() == [3]
    with pytest.raises(TableError, match="vertebral_body_voxels"):
        validate(Masks, frame.assign(vertebral_body_voxels=3.5))


def masks(**changed: object) -> pd.DataFrame:
    rows = [{"exam_id": exam, "patient_id": "p", "status": "ok", "vertebral_body_voxels": 3} for exam in ("a", "b")]
    return typed_frame(Masks, rows).assign(**changed)


def test_rows_are_given_the_described_types_and_no_rows_too():
    assert typed_frame(Masks, []).equals(empty_frame(Masks))
    assert masks().dtypes.to_dict() == empty_frame(Masks).dtypes.to_dict()
    assert masks()["reason"].isna().all()


@pytest.mark.parametrize(
    "changed",
    [{"status": "fine"}, {"exam_id": "a"}, {"exam_id": None}, {"vertebral_body_voxels": -1}, {"status": [pd.NA, "ok"]}],
)
def test_frames_that_have_their_types_are_held_against_the_same_rules(changed: dict[str, object]):
    typed = masks(**changed).astype(masks().dtypes.to_dict())
    untyped = typed.astype(object)
    found = []
    for frame in (typed, untyped):
        with pytest.raises(TableError) as caught:
            validate(Masks, frame)
        found.append(str(caught.value))
    assert found[0] == found[1]


def test_frames_with_and_without_their_types_become_the_same():
    untyped = masks().astype(object)
    assert validate(Masks, masks()).equals(validate(Masks, untyped))
    other_storage = masks().astype({"status": "string[pyarrow]"})
    assert validate(Masks, other_storage).dtypes.to_dict() == masks().dtypes.to_dict()
