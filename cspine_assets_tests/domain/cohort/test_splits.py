from dataclasses import replace

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cspine_assets.domain.cohort.integrity import find_leaks
from cspine_assets.domain.cohort.splits import (
    ALL_EXPERT,
    ALL_MASKS,
    PUBLISHED,
    build_split_balance,
    make_splits,
    split_fingerprint,
)
from cspine_assets.domain.errors import TableError
from cspine_assets_tests.domain.cohort.synthetic_exams import cohort

SMALL = replace(PUBLISHED, test_fraction=0.3, fold_count=3)


@st.composite
def cohorts(draw):
    counts = draw(st.lists(st.sampled_from([1, 1, 1, 2, 3]), min_size=8, max_size=40))
    kinds = draw(st.lists(st.sampled_from(["expert", "model"]), min_size=sum(counts), max_size=sum(counts)))
    kinds[: sum(counts[:8])] = ["expert"] * sum(counts[:8])
    return counts, kinds, draw(st.integers(0, 1000))


@settings(max_examples=60, deadline=None)
@given(cohorts())
def test_no_random_cohort_leaks_or_loses_an_exam(drawn):
    counts, kinds, seed = drawn
    exams, provenance = cohort(counts, kinds, seed)
    split = make_splits(exams, provenance, settings=SMALL)
    assert sorted(split["exam_id"]) == sorted(exams["exam_id"])
    assert find_leaks(split).empty
    assert (split["fold"].notna() == (split["part"] == "development")).all()
    expert = split["annotation_provenance"] == "expert"
    assert (split["part"].isin(["development", "test"]) == expert).all()
    patients = split[split["part"] == "development"].groupby("fold")["patient_id"].nunique()
    assert len(patients) == 3
    assert patients.max() - patients.min() <= 1


@settings(max_examples=20, deadline=None)
@given(cohorts(), st.integers(0, 10_000))
def test_the_same_seed_is_the_same_split_and_carries_its_hash(drawn, seed):
    counts, kinds, cohort_seed = drawn
    exams, provenance = cohort(counts, kinds, cohort_seed)
    one, again = (make_splits(exams, provenance, settings=replace(SMALL, seed=seed)) for _ in range(2))
    pd.testing.assert_frame_equal(one, again)
    assert set(one["split_sha256"]) == {split_fingerprint(one)}


def test_an_exam_that_no_model_learns_from_does_not_change_the_hash():
    exams, provenance = cohort([1] * 20, ["expert"] * 20)
    more, more_provenance = cohort([1] * 5, ["model"] * 5, first=500)
    before = make_splits(exams, provenance, settings=SMALL)
    after = make_splits(
        pd.concat([exams, more]), pd.concat([provenance, more_provenance]), settings=SMALL, standing=before
    )
    assert split_fingerprint(after) == split_fingerprint(before)


@settings(max_examples=30, deadline=None)
@given(cohorts(), st.randoms(use_true_random=False))
def test_row_order_does_not_move_anybody(drawn, random):
    counts, kinds, seed = drawn
    exams, provenance = cohort(counts, kinds, seed)
    order = list(range(len(exams)))
    random.shuffle(order)
    shuffled = make_splits(exams.iloc[order], provenance.iloc[order[::-1]], settings=SMALL)
    assert split_fingerprint(shuffled) == split_fingerprint(make_splits(exams, provenance, settings=SMALL))


@settings(max_examples=30, deadline=None)
@given(cohorts(), st.integers(1, 20))
def test_a_superset_keeps_the_test_set_and_tests_on_no_developed_patient(drawn, added):
    counts, kinds, seed = drawn
    exams, provenance = cohort(counts, kinds, seed)
    before = make_splits(exams, provenance, settings=SMALL)
    more, more_provenance = cohort([1] * added, ["expert"] * added, seed + 1, first=500)
    after = make_splits(
        pd.concat([exams, more]), pd.concat([provenance, more_provenance]), settings=SMALL, standing=before
    )
    sides = after.set_index("exam_id")["part"]
    assert (sides[before["exam_id"]].to_numpy() == before["part"].to_numpy()).all()


def test_another_seed_is_another_split():
    exams, provenance = cohort([1] * 60, ["expert"] * 60)
    one, other = (make_splits(exams, provenance, settings=replace(PUBLISHED, seed=seed)) for seed in (1, 2))
    assert split_fingerprint(one) != split_fingerprint(other)


def test_a_patient_with_both_kinds_of_masks_has_the_models_withheld():
    exams, provenance = cohort([2] + [1] * 9, ["expert", "model"] + ["expert"] * 8 + ["model"])
    split = make_splits(exams, provenance, settings=SMALL).set_index("exam_id")["part"]
    assert split["p00000_0"] in ("development", "test")
    assert split["p00000_1"] == "withheld"
    assert split["p00009_0"] == "unannotated"


def test_the_published_sizes_are_met_and_the_parts_are_alike():
    counts = [2] * 10 + [1] * 471 + [1] * 764
    exams, provenance = cohort(counts, ["expert"] * 491 + ["model"] * 764)
    split = make_splits(exams, provenance, settings=PUBLISHED)
    assert split["part"].value_counts().to_dict() == {"unannotated": 764, "development": 391, "test": 100}
    balance = build_split_balance(exams, split)
    assert balance["standardized_difference"].abs().max() < 0.1
    assert balance.loc[balance["part"] == "test", "patient_count"].sum() % len(set(balance["variable"])) == 0


def test_all_expert_tests_on_nobody():
    exams, provenance = cohort([1] * 12, ["expert"] * 10 + ["model"] * 2)
    split = make_splits(exams, provenance, settings=ALL_EXPERT)
    assert split["part"].value_counts().to_dict() == {"development": 10, "unannotated": 2}


def test_an_expert_without_a_mask_file_is_no_reference():
    exams, provenance = cohort([1] * 12, ["expert"] * 12)
    exams.loc[0, "mask_file_name"] = None
    split = make_splits(exams, provenance, settings=SMALL).set_index("exam_id")["part"]
    assert split["p00000_0"] == "unannotated"


def test_a_cohort_without_reference_masks_is_told_what_to_give():
    exams, provenance = cohort([1] * 12, ["unknown"] * 12)
    with pytest.raises(TableError, match=r"12 unknown.*CSPINE_PROVENANCE"):
        make_splits(exams, provenance, settings=SMALL)


def test_all_masks_serves_a_cohort_of_which_nobody_can_say_who_drew_them():
    exams, provenance = cohort([1] * 20, ["unknown"] * 20)
    split = make_splits(exams, provenance, settings=ALL_MASKS)
    assert split["part"].value_counts().to_dict() == {"development": 16, "test": 4}
    assert set(split["annotation_provenance"]) == {"unknown"}


def test_too_few_patients_for_the_folds_are_refused():
    exams, provenance = cohort([1] * 5, ["expert"] * 5)
    with pytest.raises(TableError, match="at least 5 development patients"):
        make_splits(exams, provenance, settings=PUBLISHED)


@pytest.mark.parametrize(("part", "fold"), [("test", pd.NA), ("development", 1), ("unannotated", pd.NA)])
def test_a_planted_leak_is_found(part, fold):
    exams, provenance = cohort([2] + [1] * 11, ["expert"] * 13)
    split = make_splits(exams, provenance, settings=SMALL)
    split.loc[0, ["part", "fold"]] = ["development", 0]
    split.loc[1, ["part", "fold"]] = [part, fold]
    assert find_leaks(split)["subject"].tolist() == ["p00000"]
