import json
import re

import pandas as pd
import pytest

from cspine_assets.domain.cohort.midrc_tables import read_midrc_table
from cspine_assets.domain.cohort.source import find_source
from cspine_assets.domain.errors import SourceError, TableError
from cspine_assets.domain.tables.base import TEXT
from cspine_assets.domain.tables.midrc import (
    AnnotationFiles,
    Cases,
    ClinicalManifest,
    ImageManifest,
    MrSeries,
)


def test_codes_stay_text_and_numbers_become_numbers(download, tmp_path):
    source = find_source(download.write(tmp_path))
    series = read_midrc_table(source, MrSeries).frame
    assert set(series["lossy_image_compression"]) == {"00"}
    assert set(read_midrc_table(source, Cases).frame["zip"]) == {"012"}
    assert series["magnetic_field_strength"].tolist()[:2] == [3.0, 1.5]
    assert series["pixel_spacing"].tolist()[0] == 0.5


def test_a_dot_in_a_name_becomes_an_underscore(download, tmp_path):
    series = read_midrc_table(find_source(download.write(tmp_path)), MrSeries).frame
    expected = [row["imaging_studies.submitter_id"] for row in download.mr_series]
    assert series["imaging_studies_submitter_id"].tolist() == expected


def test_an_unknown_column_is_reported_and_kept(download, tmp_path):
    download.case[0]["race_ethnicity"] = 'White "x"'
    read = read_midrc_table(find_source(download.write(tmp_path)), Cases)
    assert read.drift == ("race_ethnicity",)
    assert json.loads(read.frame["extra_columns"][0]) == {"race_ethnicity": 'White "x"'}
    assert read.frame["extra_columns"].isna().sum() == len(download.case) - 1


def test_a_missing_required_column_is_named_with_table_and_file(download, tmp_path):
    for row in download.case:
        del row["sex"]
    with pytest.raises(TableError, match=r"midrc\.cases: expected column sex in .*case_RSNA_20250321\.tsv"):
        read_midrc_table(find_source(download.write(tmp_path)), Cases)


def test_a_missing_optional_column_is_empty_and_reported(download, tmp_path):
    for row in download.annotation_file:
        del row["md5sum"]
    read = read_midrc_table(find_source(download.write(tmp_path)), AnnotationFiles)
    assert "md5sum" in read.absent
    assert read.frame["md5sum"].isna().all()


def rejected(read):
    return [(row.line, row.fault) for row in read.rejected]


@pytest.mark.parametrize(
    ("column", "value", "fault"),
    [
        ("sex", "F", r"expected one of .*'Female'.* in column sex, got 'F'"),
        ("age_at_index", 120, "expected at most 89 in column age_at_index, got another value, which is not shown"),
        ("age_at_index", "old", "expected a number in column age_at_index, got another value, which is not shown"),
        ("submitter_id", "", "expected a value in column submitter_id, got none"),
        ("race", "x" * 500, r"got 'xxx.*\.\.\.'$"),
    ],
)
def test_a_bad_value_costs_its_row_alone(download, tmp_path, column, value, fault):
    everybody = read_midrc_table(find_source(download.write(tmp_path / "good")), Cases).frame
    download.case[1][column] = value
    read = read_midrc_table(find_source(download.write(tmp_path / "bad")), Cases)
    ((line, said),) = rejected(read)
    assert line == 3
    assert re.search(fault, said)
    pd.testing.assert_frame_equal(read.frame, everybody.drop(index=1).reset_index(drop=True))


def test_of_rows_with_one_key_none_is_used(download, tmp_path):
    download.case[0]["submitter_id"] = download.case[2]["submitter_id"]
    read = read_midrc_table(find_source(download.write(tmp_path)), Cases)
    assert rejected(read) == [(line, "expected one row of its submitter_id, got several") for line in (2, 4)]
    assert len(read.frame) == len(download.case) - 2


def test_a_row_with_a_field_too_many_is_counted_and_not_quoted(download, tmp_path):
    folder = download.write(tmp_path)
    path = folder / "DukeCSpineSeg_structured" / "case_RSNA_20250321.tsv"
    lines = path.read_text().splitlines()
    fields = lines[0].count("\t") + 1
    lines[2] += "\tmore"
    lines[3] = lines[3].split("\t")[0]
    path.write_text("\n".join(lines) + "\n")
    read = read_midrc_table(find_source(folder), Cases)
    assert rejected(read) == [
        (3, f"expected {fields} fields, got {fields + 1}"),
        (4, f"expected {fields} fields, got 1"),
    ]
    assert len(read.frame) == len(lines) - 3


def test_a_table_of_bad_rows_alone_is_refused_with_file_and_line(download, tmp_path):
    for row in download.case:
        row["sex"] = "f"
    with pytest.raises(TableError, match=r"case_RSNA_20250321\.tsv.* is rejected\. The first: line 2, .* got 'f'"):
        read_midrc_table(find_source(download.write(tmp_path)), Cases)


def test_a_line_that_is_no_text_is_named(download, tmp_path):
    folder = download.write(tmp_path)
    path = folder / "DukeCSpineSeg_structured" / "case_RSNA_20250321.tsv"
    path.write_bytes(path.read_bytes().replace(b"Female", b"Fem\xe4le"))
    with pytest.raises(TableError, match=r"case_RSNA_20250321\.tsv.*UTF-8 text, got something else at line \d"):
        read_midrc_table(find_source(folder), Cases)


def test_a_line_of_no_text_and_too_many_fields_leaves_no_traceback(download, tmp_path, capfd):
    """Found by fuzzing: Arrow cannot hand such a line on, and says so on the screen."""
    folder = download.write(tmp_path)
    path = folder / "DukeCSpineSeg_structured" / "case_RSNA_20250321.tsv"
    path.write_bytes(path.read_bytes().replace(b"Female", b"Female\t\xff", 1))
    with pytest.raises(TableError, match=r"UTF-8 text, got something else at line \d"):
        read_midrc_table(find_source(folder), Cases)
    assert capfd.readouterr() == ("", "")


def test_an_unknown_value_of_a_growing_list_only_warns(download, tmp_path):
    download.mr_series[0]["manufacturer"] = "Esaote"
    read = read_midrc_table(find_source(download.write(tmp_path)), MrSeries)
    assert len(read.warnings) == 1
    assert "'Esaote'" in read.warnings[0]
    assert read.frame["manufacturer"][0] == "Esaote"


def test_unequal_pixel_spacings_are_reported(download, tmp_path):
    download.mr_series[0]["pixel_spacing"] = "0.5\\0.6"
    read = read_midrc_table(find_source(download.write(tmp_path)), MrSeries)
    assert read.frame["pixel_spacing"][0] == 0.5
    assert any("different numbers" in warning for warning in read.warnings)


@pytest.mark.parametrize(
    "names",
    [
        ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "case_ids"),
        ("instance_uid", "mr_series.submitter_id", "imaging_studies.submitter_id", "cases.submitter_id"),
        ("submitter_id", "series_uid", "study_uid", "patient_id"),
    ],
)
def test_the_image_manifest_is_read_by_what_is_there(download, tmp_path, names):
    download.image_manifest = [dict(zip(names, row.values(), strict=True)) for row in download.image_manifest]
    read = read_midrc_table(find_source(download.write(tmp_path)), ImageManifest)
    got = read.frame[["instance_uid", "series_uid", "study_uid", "patient_id"]]
    expected = pd.DataFrame(download.image_manifest).set_axis(got.columns, axis=1).astype(TEXT)
    pd.testing.assert_frame_equal(got, expected)
    assert read.drift == ()


def test_a_table_that_was_not_downloaded_is_named(download, tmp_path):
    folder = download.write(tmp_path)
    next(folder.rglob("clinical_manifest_*.tsv")).unlink()
    with pytest.raises(SourceError, match="clinical_manifest"):
        read_midrc_table(find_source(folder), ClinicalManifest)


def test_a_table_with_a_header_alone_has_no_rows(download, tmp_path):
    folder = download.write(tmp_path)
    path = folder / "DukeCSpineSeg_structured" / "case_RSNA_20250321.tsv"
    path.write_text(path.read_text().splitlines()[0] + "\n")
    assert read_midrc_table(find_source(folder), Cases).frame.empty


@pytest.mark.parametrize("content", [b"", b"a\ta\n1\t2\n", b"submitter_id\tsex\nx\n", b"submitter_id\n\xff\xfe\n"])
def test_a_damaged_table_is_named(download, tmp_path, content):
    folder = download.write(tmp_path)
    (folder / "DukeCSpineSeg_structured" / "case_RSNA_20250321.tsv").write_bytes(content)
    with pytest.raises(TableError, match=r"case_RSNA_20250321\.tsv"):
        read_midrc_table(find_source(folder), Cases)


def test_quotes_and_windows_line_ends_are_read(download, tmp_path):
    folder = download.write(tmp_path)
    path = folder / "DukeCSpineSeg_structured" / "mr_series_RSNA_20250321.tsv"
    text = path.read_text().replace("Skyra", '"[""ORIGINAL"", ""A""]"').replace("\n", "\r\n")
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    read = read_midrc_table(find_source(folder), MrSeries)
    assert set(read.frame["manufacturer_model_name"]) == {'["ORIGINAL", "A"]'}
    assert read.drift == ()
