import pandas as pd
import pytest

from cspine_assets.domain.cohort.published import (
    PUBLISHED_COUNTS,
    compare_with_published,
    count_release,
    recognize_release,
)
from cspine_assets.domain.tables.base import TEXT


def spread(counts, total):
    values = [value for value, count in counts.items() for _ in range(count)]
    return values + [None] * (total - len(values))


def counts_of(column):
    return {name.partition(" ")[2]: n for name, n in PUBLISHED_COUNTS.items() if name.startswith(f"{column} ")}


@pytest.fixture
def release():
    """Tables with the published counts, and the marks of the real release."""
    numbers = [1216, *(n for n in range(1, 1233) if n != 1216)]
    cases = pd.DataFrame({"submitter_id": [f"593973-{n:06d}" for n in numbers]})
    for column in ("sex", "race", "ethnicity"):
        cases[column] = pd.array(spread(counts_of(column), 1232), dtype=TEXT)
    cases["age_at_index"] = pd.array([54.0] * 1220 + [None] * 12, dtype="Float64")
    cases["age_at_index_gt89"] = pd.array(["No"] * 1220 + ["Yes"] * 12, dtype=TEXT)
    series = pd.DataFrame({"case_ids": ["593973-001216"] + ["593973-000001"] * 1254})
    series["number_of_instances"] = pd.array([56] + [15] * 1253 + [19133 - 56 - 15 * 1253], dtype="Int64")
    series["manufacturer"] = ["SIEMENS"] * 400 + ["Siemens"] * 389 + ["GE MEDICAL SYSTEMS"] * 466
    series["magnetic_field_strength"] = [1.494] * 747 + [2.89] * 508
    return {
        "cases": cases,
        "studies": pd.DataFrame(index=range(1255)),
        "series": series,
        "annotation_files": pd.DataFrame({"object_id": ["dg.MD1R/1"] * 2510}),
        "image_manifest": pd.DataFrame(index=range(19133)),
        "files": pd.DataFrame({"kind": ["table"], "name": ["case_RSNA_20250321.tsv"]}),
        "provenance": pd.DataFrame({"provenance": ["expert"] * 491 + ["model"] * 764}),
    }


def recognized(tables):
    return recognize_release(tables["cases"], tables["series"], tables["annotation_files"], tables["files"])


def test_the_release_is_known_by_its_contents_and_has_the_published_counts(release):
    seen = recognized(release)
    assert seen.is_published
    assert "20250321" in seen.description
    counted = count_release(*(release[name] for name in list(release)[:5]))
    assert counted == PUBLISHED_COUNTS


def test_a_count_that_differs_is_the_one_found(release):
    release["cases"].loc[0, "sex"] = "Male"
    found = {finding.subject for finding in compare_with_published(**release)}
    # the ages of this release are made up
    assert found == {"sex Female", "sex Male", "age, mean", "age, SD (n-1)"}


def test_masks_that_nobody_can_tell_apart_are_not_counted(release):
    release["cases"]["age_at_index"] = pd.array([None] * 1232, dtype="Float64")
    release["provenance"] = pd.DataFrame({"provenance": ["unknown"] * 1255})
    found = {finding.subject for finding in compare_with_published(**release)}
    assert not found & {"expert masks", "model masks"}


def test_a_list_that_lacks_an_expert_mask_is_found(release):
    release["provenance"].loc[0, "provenance"] = "model"
    found = {finding.subject: finding.message for finding in compare_with_published(**release)}
    assert "expected 491 as published, got 490" in found["expert masks"]
    assert "expected 764 as published, got 765" in found["model masks"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda t: t["annotation_files"].update(pd.DataFrame({"object_id": ["dg.PHANTOM/1"]})),
        lambda t: t.update(cases=t["cases"].iloc[200:]),
        lambda t: t["cases"].update(pd.DataFrame({"submitter_id": ["other-1"]})),
        lambda t: t["series"].update(pd.DataFrame({"number_of_instances": [15]})),
    ],
)
def test_any_other_cohort_is_held_to_no_count(release, spoil):
    spoil(release)
    assert not recognized(release).is_published
    assert compare_with_published(**release) == []
