import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cspine_assets.domain.cohort.integrity import find_leaks
from cspine_assets.domain.cohort.split_files import GivenSplit, read_split_file
from cspine_assets.domain.cohort.splits import PUBLISHED, make_splits, split_fingerprint
from cspine_assets.domain.errors import SourceError, TableError
from cspine_assets_tests.domain.cohort.synthetic_exams import cohort

EXAMS, PROVENANCE = cohort([2] + [1] * 19, ["expert"] * 15 + ["model"] * 6)
NAMES = EXAMS["exam_id"].tolist()


def split(text, tmp_path, name="own.tsv"):
    path = tmp_path / name
    path.write_text(text if isinstance(text, str) else json.dumps(text))
    made = make_splits(EXAMS, PROVENANCE, settings=PUBLISHED, given=read_split_file(path))
    assert find_leaks(made).empty
    assert sorted(made["exam_id"]) == sorted(NAMES)
    return made.set_index("exam_id")


def tsv(rows):
    header = "patient_id\tseries_submitter_id\tsplit\tannotation_quality\n"
    return header + "".join("\t".join(row) + "\n" for row in rows)


def of(name, side, quality="gold"):
    return EXAMS.set_index("exam_id")["patient_id"][name], f"1.2.{NAMES.index(name)}", side, quality


def test_a_test_list_is_the_test_set_and_all_other_experts_make_the_folds(tmp_path):
    made = split(f"{NAMES[2]}_SEG.nii.gz\n{NAMES[3]}\n1.2.4\n", tmp_path)
    assert made.index[made["part"] == "test"].tolist() == NAMES[2:5]
    assert made["part"].value_counts().to_dict() == {"test": 3, "development": 12, "unannotated": 6}
    assert set(made["rule"]) == {"file:own.tsv"}


def test_the_other_exam_of_a_listed_patient_is_not_used(tmp_path):
    made = split(f"{NAMES[0]}\n", tmp_path)
    assert (made["part"][NAMES[0]], made["part"][NAMES[1]]) == ("test", "withheld")


def test_a_table_of_train_val_and_test_is_followed_whoever_drew_the_mask(tmp_path):
    rows = [of(name, "train") for name in NAMES[2:10]] + [of(NAMES[10], "val"), of(NAMES[11], "test")]
    made = split(tsv([*rows, of(NAMES[-1], "test", "silver"), of(NAMES[-2], "train", "silver")]), tmp_path)
    assert made["part"][[NAMES[10], NAMES[11], NAMES[-1], NAMES[-2]]].tolist() == [
        "development",
        "test",
        "test",
        "development",
    ]
    assert made["annotation_provenance"][NAMES[-1]] == "model"
    # an expert exam that the table does not name is not used, and none is called unannotated
    assert made["part"][NAMES[12]] == "withheld"
    assert set(made.loc[made["part"] == "unannotated", "annotation_provenance"]) == {"model"}
    assert sorted(made["fold"].dropna().unique()) == [0, 1, 2, 3, 4]


def test_the_folds_of_nnunet_are_kept_and_the_other_experts_are_tested_on(tmp_path):
    held = [NAMES[2 + 2 * fold : 4 + 2 * fold] for fold in range(5)]
    folds = [{"train": [n for other in held if other is not own for n in other], "val": own} for own in held]
    made = split(folds, tmp_path, "splits_final.json")
    assert {name: made["fold"][name] for own in held for name in own} == {
        n: f for f, own in enumerate(held) for n in own
    }
    assert made.index[made["part"] == "test"].tolist() == [*NAMES[:2], *NAMES[12:15]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (tsv([of(NAMES[0], "train"), of(NAMES[1], "test")]), "1 patients on two sides: p00000"),
        ("nobody\n", "1 unknown: nobody"),
        (tsv([("p00009", "1.2.5", "test", "gold")]), f"of another patient: {NAMES[5]}"),
        ([{"train": [NAMES[2]], "val": [NAMES[3]]}, {"train": [NAMES[3]], "val": [NAMES[2]]}], "expected 5 folds"),
    ],
)
def test_a_split_that_does_not_fit_the_cohort_is_refused_with_names(tmp_path, text, message):
    with pytest.raises(TableError, match=message):
        split(text, tmp_path)


def test_a_named_exam_without_a_mask_is_refused(tmp_path):
    exams = EXAMS.assign(mask_file_name=EXAMS["mask_file_name"].mask(EXAMS["exam_id"] == NAMES[5]))
    with pytest.raises(TableError, match=f"without one: {NAMES[5]}"):
        make_splits(exams, PROVENANCE, settings=PUBLISHED, given=GivenSplit("own", {NAMES[5]: "test"}, "development"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("[1]", "no list of folds"),
        ("{", "not whole"),
        ("exam_id\tsplit\na\tholdout\n", "expected exam_id and split"),
        ("exam_id\tcolour\na\tred\n", "expected a test list"),
        ("a\na\n", "a several times"),
        ('[{"train": ["b"], "val": ["a"]}, {"train": ["a"], "val": ["c"]}]', "fold 0 to train on all exams"),
    ],
)
def test_a_file_in_no_known_form_is_refused(tmp_path, text, message):
    path = tmp_path / "split"
    path.write_text(text)
    with pytest.raises(SourceError, match=message):
        read_split_file(path)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 19), min_size=1, max_size=8, unique=True), st.booleans())
def test_any_list_of_patients_is_tested_on_as_it_stands_and_leaks_nowhere(patients, by_series):
    named = EXAMS[EXAMS["patient_id"].isin([f"p{patient:05d}" for patient in patients])]
    keys = named["series_uid"] if by_series else named["exam_id"]
    given_split = GivenSplit("own", dict.fromkeys(keys, "test"), "development")
    made = make_splits(EXAMS, PROVENANCE, settings=PUBLISHED, given=given_split)
    assert set(made.loc[made["part"] == "test", "exam_id"]) == set(named["exam_id"])
    assert find_leaks(made).empty
    assert set(made["split_sha256"]) == {split_fingerprint(made)}
