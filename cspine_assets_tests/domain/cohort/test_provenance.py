import json

import pytest

from cspine_assets.domain.cohort.evidence import read_evidence
from cspine_assets.domain.cohort.provenance import build_annotation_provenance
from cspine_assets.domain.errors import SourceError
from cspine_assets.domain.tables.midrc import AnnotationFiles

FIRST = "593973-000001_Study-MR-1_Series-1"
SECOND = "593973-000002_Study-MR-1_Series-1"


@pytest.fixture
def decide(build, frames, download):
    def run(*paths):
        evidences = [read_evidence(path) for path in paths]
        return build_annotation_provenance(build(download).frame, frames(download)[AnnotationFiles], evidences)

    return run


def by_exam(built):
    return built.frame.set_index("exam_id")["provenance"].to_dict()


def test_a_guppy_answer_names_the_experts_and_leaves_the_model(decide, experts):
    found = by_exam(decide(experts(FIRST)))
    assert found.pop(FIRST) == "expert"
    assert set(found.values()) == {"model"}


def test_a_guppy_answer_that_repeats_the_method_is_as_complete(decide, tmp_path):
    path = tmp_path / "guppy.json"
    record = {"file_name": f"{FIRST}_SEG.nii.gz", "annotation_method": "Retrospective_expert"}
    path.write_text(json.dumps({"data": {"data_file": [record]}}))
    found = by_exam(decide(path))
    assert found.pop(FIRST) == "expert"
    assert set(found.values()) == {"model"}


def test_a_table_that_calls_every_mask_automatic_says_nothing(decide):
    built = decide()
    assert set(built.frame["provenance"]) == {"unknown"}
    assert built.frame["reason"].str.contains("2025-03-21").all()
    assert len(built.findings) == 1


def test_a_table_that_tells_masks_apart_is_believed(decide, download):
    download.annotation_file[1]["annotation_method"] = "Retrospective_expert"
    built = decide()
    assert by_exam(built)[FIRST] == "expert"
    assert by_exam(built)[SECOND] == "model"
    assert set(built.frame["source"]) == {"annotation_method"}


def test_a_file_at_odds_with_the_table_counts_and_is_listed(decide, download, experts):
    download.annotation_file[1]["annotation_method"] = "Retrospective_expert"
    built = decide(experts(SECOND))
    assert by_exam(built)[SECOND] == "expert"
    assert sorted(built.findings["exam_id"]) == [FIRST, SECOND]


def test_a_name_of_no_exam_is_listed(decide, experts):
    built = decide(experts(FIRST, "593973-009999_Study-MR-1_Series-1"))
    assert built.findings["subject"].tolist() == ["593973-009999_Study-MR-1_Series-1"]


def test_a_list_of_every_mask_is_doubted(decide, experts, build, download):
    built = decide(experts(*build(download).frame["exam_id"]))
    assert "left out?" in built.findings["message"][0]


def test_an_exam_without_a_mask_is_unknown(decide, download, experts):
    download.annotation_file.pop(1)
    built = decide(experts(SECOND))
    assert by_exam(built)[FIRST] == "unknown"


def test_a_public_split_file_tells_gold_from_silver_and_nothing_of_others(decide, download, tmp_path):
    path = tmp_path / "split.tsv"
    series = [row["submitter_id"] for row in download.mr_series]
    path.write_text(
        "patient_id\tseries_submitter_id\tsplit\tannotation_quality\n"
        f"593973-000001\t{series[0]}\ttest\tgold\n593973-000002\t{series[1]}\ttrain\tsilver\n"
    )
    found = by_exam(decide(path))
    assert (found.pop(FIRST), found.pop(SECOND)) == ("expert", "model")
    assert set(found.values()) == {"unknown"}


def test_of_two_files_the_first_counts_and_the_other_is_held_against_it(decide, download, experts, tmp_path):
    path = tmp_path / "split.tsv"
    path.write_text(
        "series_submitter_id\tannotation_quality\n"
        + "".join(
            f"{row['submitter_id']}\t{'gold' if n < 2 else 'silver'}\n" for n, row in enumerate(download.mr_series)
        )
    )
    built = decide(experts(FIRST), path)
    assert by_exam(built)[SECOND] == "model"
    assert built.findings["exam_id"].tolist() == [SECOND]
    assert "guppy.json says model, split.tsv says expert" in built.findings["message"][0]


def test_what_the_first_file_leaves_open_the_second_may_say(decide, download, tmp_path):
    first, second = tmp_path / "first.tsv", tmp_path / "second.tsv"
    first.write_text(f"exam_id\tprovenance\n{FIRST}\texpert\n")
    second.write_text(f"exam_id\tprovenance\n{SECOND}\tmodel\n")
    found = by_exam(decide(first, second))
    assert (found.pop(FIRST), found.pop(SECOND)) == ("expert", "model")
    assert set(found.values()) == {"unknown"}


def test_an_exam_left_out_for_another_fault_is_still_one_of_the_release(decide, download, experts):
    download.imaging_study[0]["case_ids"] = "593973-000002"
    assert decide(experts(FIRST, SECOND)).findings.empty


@pytest.mark.parametrize(
    "text", [f"{FIRST}_SEG.nii.gz\n", f"file_name\n{FIRST}_SEG.nii.gz\n", f'["{FIRST}_SEG.nii.gz"]']
)
def test_a_plain_list_of_names_is_enough(decide, tmp_path, text):
    path = tmp_path / "list.csv"
    path.write_text(text)
    assert by_exam(decide(path))[FIRST] == "expert"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("{", "the JSON is not whole"),
        (json.dumps({"errors": ["denied"]}), "denied"),
        ("colour\nred\n", "found colour"),
        (f"file_name,provenance\n{FIRST},expert\n{FIRST},model\n", "one provenance"),
    ],
)
def test_a_file_in_no_known_form_is_refused(tmp_path, text, message):
    path = tmp_path / "evidence"
    path.write_text(text)
    with pytest.raises(SourceError, match=message):
        read_evidence(path)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SourceError, match="there is no such file"):
        read_evidence(tmp_path / "none.json")
